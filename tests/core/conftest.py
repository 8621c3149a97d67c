"""A small bundle with untrained networks, and a recipe that uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_amil.core.anomaly.calibration import Calibration
from napari_amil.core.anomaly.channels import MORPH
from napari_amil.core.anomaly.model import AnomalyModel
from napari_amil.core.anomaly.morphology.channel import MorphDistance
from napari_amil.core.anomaly.morphology.statistics import ControlMorphology
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import DetectionSettings, ModelSettings, RunSettings, SelectionSettings
from napari_amil.core.detection.network import build_detector
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.mil.model import AmilModel
from napari_amil.core.model.bundle import Bundle
from napari_amil.core.model.scorer import Scorer


def random_scorer(settings: ModelSettings, classes: tuple[str, ...], in_channels: int = 3) -> Scorer:
    """Return a scorer with random weights and all that is fitted, to random latents of 10 patients."""
    model = AmilModel(settings, len(classes), in_channels).eval()
    k = settings.embedding_dim
    patients = np.repeat(np.arange(10), 20)
    latents = torch.randn(200, k) + 0.2 * torch.randn(10, k)[torch.from_numpy(patients)]
    run = RunSettings(model=settings)
    controls = CellInputs(latents, patients=patients)
    anomaly = drain(AnomalyModel.fit(controls, run, torch.device("cpu")))
    d = anomaly.pooling_distance(latents)
    bags = latents, d, torch.full((20,), 10)
    anomaly.fit_novelty(latents, bags, torch.arange(20) % len(classes), len(classes))
    assert anomaly.novelty is not None
    anomaly.novelty.calibration = Calibration(anomaly.novelty.score(*bags), np.repeat(np.arange(10), 2))
    anomaly.calibrations = {"anomaly": Calibration(d, patients, float(d.mean()))}
    return Scorer(model, anomaly, classes, in_channels)


@pytest.fixture
def with_morphology() -> Callable[[Scorer, ControlMorphology], Scorer]:
    """A function that gives a scorer the channel of named measurements with these statistics."""

    def changed(scorer: Scorer, statistics: ControlMorphology) -> Scorer:
        channel = MorphDistance(scorer.anomaly.settings)
        channel.statistics = statistics
        channels = scorer.anomaly.channels | {MORPH: channel}
        return replace(scorer, anomaly=replace(scorer.anomaly, channels=channels))

    return changed


@pytest.fixture
def small_bundle() -> Bundle:
    """A bundle with random networks of 8 embedding dimensions; every proposal is a candidate."""
    torch.manual_seed(0)
    settings = RunSettings(
        detection=DetectionSettings(candidate_score=0.0, max_cells=60),
        selection=SelectionSettings(min_score=0.0, min_diameter=0.0, max_diameter=10.0),
        model=ModelSettings(latent_dim=8, measurement_columns=0, attention_dim=4, width=4),
    )
    scorer = random_scorer(settings.model, ("control", "ill"))
    return Bundle(settings, build_detector().eval(), "light", scorer, {"intended_use": "tests"})


@pytest.fixture
def recipe(small_bundle: Bundle) -> Recipe:
    """The small bundle on the CPU with its own settings."""
    return Recipe.from_bundle(small_bundle, None, torch.device("cpu"))

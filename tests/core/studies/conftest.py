"""A made-up cohort of three classes in two folds, and settings that train in a moment."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from napari_amil.core.base.settings import ModelSettings, RunSettings, TrainingSettings
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source, open_source
from napari_amil.core.model.bundle import Bundle

TINY = RunSettings(
    model=ModelSettings(
        latent_dim=4, attention_dim=4, width=4, orientations=1, measurement_columns=1, bag_heads=1
    ),
    training=TrainingSettings(cell_epochs=1, max_epochs=2, views=1, calibration_folds=2),
)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SynthCohortSettings(patients=4, samples=1, folds=2)
    return write_synthetic_cohort(tmp_path_factory.mktemp("studies") / "cohort", settings)


@pytest.fixture(scope="session")
def source(cohort: Path) -> Source:
    return open_source([cohort], "control")


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe(Bundle(TINY), TINY, torch.device("cpu"))


@pytest.fixture(scope="session")
def tiny() -> RunSettings:
    return TINY

"""A scorer that reads pixels joins training, scoring, calibration and export through its registry alone."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from napari_amil.core.anomaly.channels import SCORERS
from napari_amil.core.anomaly.pooled import distance_in
from napari_amil.core.anomaly.scorer import CellInputs, CellScorer
from napari_amil.core.base.events import Event, drain
from napari_amil.core.base.settings import ModelSettings, RunSettings
from napari_amil.core.base.types import Floats
from napari_amil.core.cohort.control_folder import read_controls
from napari_amil.core.cohort.synth import SynthCohortSettings, synthetic_smear, write_synthetic_cohort
from napari_amil.core.exchange.project import Project
from napari_amil.core.instances.extract import Recipe, measured_instances
from napari_amil.core.instances.sources import cohort_source, open_source
from napari_amil.core.mil.instances import crops_of
from napari_amil.core.model.bundle import Bundle, load_bundle, save_bundle
from napari_amil.core.pipeline.export import export_project
from napari_amil.core.pipeline.recalibrate import calibrate
from napari_amil.core.pipeline.train import train_scorer
from napari_amil.core.scoring.score import score_source

CPU = torch.device("cpu")
COLUMNS = ["anomaly_area", "anomaly_area_percentile", "anomaly_area_p", "anomaly_area_q"]
FITTED: list[int] = []
"""Number of cells of each fit."""


class MaskArea(CellScorer):
    """Distance of the area of a cell's mask from that of control cells, in their deviations."""

    reads = "pixels"

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__(settings)
        self.register_buffer("area", torch.zeros(2, dtype=torch.float64))

    def fit(self, controls: CellInputs, seed: int, device: torch.device) -> Generator[Event, None, None]:
        areas = areas_of(controls)
        self.area.copy_(torch.tensor([areas.mean(), areas.std()]))
        FITTED.append(len(areas))
        yield from ()

    def score(self, cells: CellInputs) -> Floats:
        center, spread = self.area.tolist()
        return np.abs(areas_of(cells) - center) / spread + 1e-3


def areas_of(cells: CellInputs) -> Floats:
    assert cells.pixels is not None
    return np.asarray((cells.pixels[:, 3] > 0).sum(axis=(1, 2)), dtype=np.float64)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> RunSettings:
    """Settings of a small training with the toy scorer in the registry."""
    monkeypatch.setitem(SCORERS, "area", MaskArea)
    FITTED.clear()
    model = {"latent_dim": 6, "measurement_columns": 0, "width": 4, "attention_dim": 4, "orientations": 1}
    channels = ["latent_distance", "morph_distance", "area"]
    training = {"cell_epochs": 1, "max_epochs": 1, "calibration_folds": 0}
    return RunSettings.parse({"model": model | {"channels": channels}, "training": training})


def test_a_scorer_of_pixels_passes_the_whole_path(settings: RunSettings, tmp_path: Path) -> None:
    wanted = SynthCohortSettings(patients=3, samples=1, diseases={"ill": {"spherocyte": 0.3}})
    listed = write_synthetic_cohort(tmp_path / "cohort", wanted)
    source = open_source([listed], "control")
    bundle = drain(train_scorer(source, Recipe.for_training(Bundle(settings), settings, CPU)))
    whole, *parts = FITTED
    assert len(parts) == 3
    assert sum(parts) == 2 * whole  # every control cell is held out of one of three fits

    save_bundle(bundle, tmp_path / "bundle.safetensors")
    loaded = load_bundle(tmp_path / "bundle.safetensors")
    assert loaded.need_scorer().anomaly.joined == ("latent_distance", "morph_distance", "area")
    assert loaded.need_scorer().anomaly.joint is not None
    assert loaded.need_scorer().anomaly.joint.weights.tolist() == [0.125, 0.75, 0.125]
    recipes = [Recipe.from_bundle(one, None, CPU) for one in (bundle, loaded)]
    before, scored = (drain(score_source(source, recipe)) for recipe in recipes)
    pd.testing.assert_frame_equal(scored.cells[COLUMNS], before.cells[COLUMNS])
    known = scored.cells.dropna(subset="anomaly")
    assert known[COLUMNS].notna().all(axis=None)
    assert known["anomaly_area_percentile"].between(0, 100).all()
    large = known.sort_values("anomaly_area")
    assert large["anomaly_area_percentile"].is_monotonic_increasing
    assert large["anomaly_area_p"].is_monotonic_decreasing

    controls = cohort_source(read_controls(listed, "control"))
    renewed = drain(calibrate(controls, Recipe.from_bundle(loaded, None, CPU))).bundle.need_scorer().anomaly
    assert len(renewed.calibrations["anomaly_area"]) == len(renewed.calibration)
    assert renewed.calibrations["anomaly_area"].n_patients == 3

    images = {name: (str(path), page) for name, (path, page) in source.files.items()}
    assert scored.embeddings is not None
    project = Project(scored.cells, scored.bags, scored.embeddings, scored.outlines, {"images": images})
    drain(export_project(project, "csv", tmp_path / "exported"))
    (table,) = (tmp_path / "exported").glob("*cells*.csv")
    np.testing.assert_allclose(pd.read_csv(table)["anomaly_area"], scored.cells["anomaly_area"])


def test_crops_with_masks_are_kept_for_a_scorer_of_pixels_alone(
    settings: RunSettings, small_bundle: Bundle
) -> None:
    smear = synthetic_smear(0)
    without = replace(small_bundle, detector=None)
    plain = measured_instances(smear.image, smear.cells, Recipe.for_training(without, without.settings, CPU))
    assert crops_of(plain) is None
    found = measured_instances(smear.image, smear.cells, Recipe.for_training(without, settings, CPU))
    crops = crops_of(found)
    assert crops is not None
    assert crops.shape == (len(smear.cells), 4, 64, 64)
    np.testing.assert_array_equal(crops[:, :3], found["pixels"])
    inside, outside = crops[:, 3] == 255, crops[:, 3] == 0
    assert (inside | outside).all()
    seen = inside.any(axis=(1, 2))
    assert seen.mean() > 0.8
    green = crops[:, 1].astype(np.float64)
    assert np.median(green[inside]) < np.median(green[outside]) - 30  # the mask is the dark cell
    assert inside[seen, 32, 32].mean() > 0.9  # in the middle of its crop


def test_a_score_of_pixels_may_weigh_the_cells_of_a_bag(settings: RunSettings, tmp_path: Path) -> None:
    wanted = SynthCohortSettings(patients=3, samples=1, diseases={"ill": {"spherocyte": 0.3}})
    listed = write_synthetic_cohort(tmp_path / "cohort", wanted)
    source = open_source([listed], "control")
    settings = settings.changed({"model": {"pooled": ["area"], "bag_profile": False}})
    bundle = drain(train_scorer(source, Recipe.for_training(Bundle(settings), settings, CPU)))
    whole, *parts = FITTED[:4]
    assert sum(parts) == 2 * whole  # those that weigh the cells of the training had not seen them
    save_bundle(bundle, tmp_path / "bundle.safetensors")
    loaded = load_bundle(tmp_path / "bundle.safetensors")
    recipe = Recipe.from_bundle(loaded, None, CPU)
    scored = drain(score_source(source, recipe))
    scorer, known = loaded.need_scorer(), (scored.cells["status"] == "scored").to_numpy()
    pooled, cells = scorer.anomaly.pooled, scored.cells[known]
    assert pooled is not None
    d = distance_in(cells, pooled).numpy()
    np.testing.assert_array_equal(np.argsort(d), np.argsort(cells["anomaly_area"].to_numpy().astype("f4")))
    for bag, own in cells.assign(d=d).groupby("bag"):
        z = torch.from_numpy(np.asarray(scored.embeddings)[known][(cells["bag"] == bag).to_numpy()])
        output = scorer.model.aggregate(z, torch.tensor([len(own)]), torch.from_numpy(own["d"].to_numpy()))
        np.testing.assert_allclose(own["pool_weight"], output.pool_weight.detach(), atol=1e-4)
        total = output.contribution.sum(dim=0) + output.bias
        torch.testing.assert_close(total, output.image_logits[0], rtol=1e-4, atol=1e-5)
    controls = cohort_source(read_controls(listed, "control"))
    renewed = drain(calibrate(controls, Recipe.from_bundle(loaded, None, CPU))).bundle.need_scorer().anomaly
    assert renewed.pooled is not None
    assert renewed.pooled.others == ("area",)

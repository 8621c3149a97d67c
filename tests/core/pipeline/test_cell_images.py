"""A cohort of cell images goes the whole path: training, bundle and scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_amil.core.base.events import drain
from napari_amil.core.base.presets import preset
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.cohort.cell_image_synth import CellImageCohortSettings, writing_cell_image_cohort
from napari_amil.core.cohort.layouts.registry import read_cohort
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source, cohort_source
from napari_amil.core.model.bundle import Bundle, load_bundle, save_bundle
from napari_amil.core.pipeline.score import score_source
from napari_amil.core.pipeline.train import train_scorer

CPU = torch.device("cpu")


def small(name: str) -> RunSettings:
    """Return a preset with a network that trains in seconds."""
    changes = {
        "model": {"width": 4, "latent_dim": 4, "orientations": 1, "measurement_columns": 1, "bag_heads": 1},
        "training": {"cell_epochs": 1, "max_epochs": 3, "calibration_folds": 0, "views": 0},
        "crop": {"size_px": 32},
        "control": "0",
    }
    return preset(name).changed(changes)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Eight synthetic patients of 6 to 9 cells."""
    folder = tmp_path_factory.mktemp("white") / "cohort"
    settings = CellImageCohortSettings(patients=8, cells=(6, 9), size_px=48, carrier="images")
    drain(writing_cell_image_cohort(folder, settings))
    return cohort_source(read_cohort(folder, "reactive"))


@pytest.fixture(scope="module")
def bundle(source: Source) -> Bundle:
    """A model of images alone."""
    return drain(
        train_scorer(source, Recipe.for_training(Bundle(RunSettings()), small("lympho-images"), CPU))
    )


def test_images_are_scored_as_single_cells(source: Source, bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(bundle, tmp_path / "bundle.safetensors")
    recipe = Recipe.from_bundle(load_bundle(tmp_path / "bundle.safetensors"), None, CPU)
    scored = drain(score_source(source, recipe))
    assert scored.bags["bag"].tolist() == [bag.bag for bag in source.cohort]
    assert len(scored.cells) == sum(len(bag.images) for bag in source.cohort)
    assert (scored.cells["status"] == "scored").all()
    assert (scored.cells[["y0", "x0", "y1", "x1"]] == [0, 0, 48, 48]).all(axis=None)
    assert scored.cells["morph_nucleus_share"].between(0.3, 1.0).mean() > 0.9
    assert "morph_pallor_area" not in scored.cells
    of_bag = scored.cells.groupby("bag")["contribution_1"].sum()
    assert of_bag.nunique() == len(scored.bags)


def test_a_bag_scored_alone_has_the_scores_it_has_among_others(source: Source, bundle: Bundle) -> None:
    recipe = Recipe.from_bundle(bundle, None, CPU)
    together = drain(score_source(source, recipe)).bags.set_index("bag")["probability_1"]
    name = source.cohort.bags[3].bag
    one = Source(source.cohort.where(lambda bag: bag.bag == name), source.files)
    alone = drain(score_source(one, recipe)).bags["probability_1"].item()
    assert alone == pytest.approx(float(together[name]), abs=1e-6)
    assert np.isfinite(together).all()

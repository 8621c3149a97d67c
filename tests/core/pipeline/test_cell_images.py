"""A cohort of cell images goes the whole path: training, bundle and scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from napari_amil.core.base.events import drain
from napari_amil.core.base.presets import preset
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.cohort.cell_image_synth import CellImageCohortSettings, writing_cell_image_cohort
from napari_amil.core.cohort.folds import assign_folds
from napari_amil.core.cohort.layouts.registry import read_cohort
from napari_amil.core.instances import gather
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source, cohort_source, sources_by_fold
from napari_amil.core.model.bundle import Bundle, load_bundle, save_bundle
from napari_amil.core.pipeline.estimate import estimating
from napari_amil.core.pipeline.train import train_scorer
from napari_amil.core.scoring.score import score_source

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


def test_white_cells_found_in_a_field_are_scored_each(
    source: Source, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = np.array([[2, 2, 30, 28], [18, 20, 46, 46]], np.float32)

    def found(field: Any, recipe: Recipe) -> Any:
        yield from ()
        return Cells(boxes)

    monkeypatch.setattr(gather, "white_cells_of", found)
    wanted = bundle.settings.changed({"detection": {"cells": "white"}})
    bags = tuple(replace(bag, cells={}) for bag in source.cohort)  # a cell image says where its cell is
    bare = replace(source, cohort=replace(source.cohort, bags=bags))
    scored = drain(score_source(bare, Recipe.from_bundle(bundle, wanted, CPU)))
    assert len(scored.cells) == 2 * sum(len(bag.images) for bag in source.cohort)
    assert scored.cells[["y0", "x0", "y1", "x1"]].drop_duplicates().to_numpy().tolist() == boxes.tolist()
    assert scored.cells["anomaly"].notna().any()
    assert "morph_nucleus_share" in scored.cells


def test_a_mixture_says_how_much_the_pictures_count(source: Source, tmp_path: Path) -> None:
    settings = small("lympho-moe").changed({"training": {"calibration_folds": 2}})
    trained = drain(train_scorer(source, Recipe.for_training(Bundle(RunSettings()), settings, CPU)))
    save_bundle(trained, tmp_path / "bundle.safetensors")
    recipe = Recipe.from_bundle(load_bundle(tmp_path / "bundle.safetensors"), None, CPU)
    before = drain(score_source(source, Recipe.from_bundle(trained, None, CPU))).bags
    bags = drain(score_source(source, recipe)).bags
    pd.testing.assert_frame_equal(bags, before)
    assert bags["image_weight"].between(0, 1, inclusive="neither").all()
    assert {"clinical_AGE", "clinical_GENDER", "clinical_LYMPH_COUNT"} <= set(bags)
    assert bags["clinical_LYMPH_COUNT"].nunique() > 4
    scorer = recipe.bundle.need_scorer()
    assert 0.0 < scorer.threshold < 1.0
    codes = scorer.clinical
    assert codes is not None
    counts = [bag.clinical["LYMPH_COUNT"] for bag in source.cohort if "LYMPH_COUNT" in bag.clinical]
    (count,) = [number for number in codes.numbers if number.name == "LYMPH_COUNT"]
    assert count.mean == pytest.approx(np.mean(np.array(counts, dtype=float)))


def test_test_bags_have_no_part_in_what_is_fitted(source: Source) -> None:
    """Other values and images of the test fold change neither z-scores nor threshold nor the model."""
    settings = small("lympho-moe").changed({"training": {"calibration_folds": 2}})
    recipe = Recipe.for_training(Bundle(RunSettings()), settings, CPU)
    folds = Source(assign_folds(source.cohort, 4, 0), source.files)
    train, test = sources_by_fold(folds, 0)
    wild = {bag.bag: replace(bag, clinical={"LYMPH_COUNT": 1e6}) for bag in test.cohort}
    bags = tuple(wild.get(bag.bag, bag) for bag in folds.cohort)
    other = sources_by_fold(replace(folds, cohort=replace(folds.cohort, bags=bags)), 0)[0]
    scorers = [drain(train_scorer(part, recipe)).need_scorer() for part in (train, other)]
    first, second = (scorer.model.state_dict() for scorer in scorers)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert scorers[0].clinical == scorers[1].clinical
    assert scorers[0].threshold == scorers[1].threshold
    assert not {bag.bag for bag in train.cohort} & set(wild)


def test_a_mixture_is_estimated_from_a_few_patients(source: Source) -> None:
    recipe = Recipe.for_training(Bundle(RunSettings()), small("lympho-moe"), CPU)
    found = drain(estimating(source, recipe, 3))
    assert found.n_cells == sum(bag.n_cells for bag in source.cohort)
    assert 12 <= found.n_measured < found.n_cells
    assert found.seconds > 0


def test_a_bag_scored_alone_has_the_scores_it_has_among_others(source: Source, bundle: Bundle) -> None:
    recipe = Recipe.from_bundle(bundle, None, CPU)
    together = drain(score_source(source, recipe)).bags.set_index("bag")["probability_1"]
    name = source.cohort.bags[3].bag
    one = Source(source.cohort.where(lambda bag: bag.bag == name), source.files)
    alone = drain(score_source(one, recipe)).bags["probability_1"].item()
    assert alone == pytest.approx(float(together[name]), abs=1e-6)
    assert np.isfinite(together).all()

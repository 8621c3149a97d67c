"""What is known of control cells reaches the tables, the bundle and the neighbours of a cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_amil.core.anomaly.morphology.statistics import ControlMorphology
from napari_amil.core.base.events import drain
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.instances.control_cells import (
    control_sample,
    morphology_columns,
    nearest_controls,
)
from napari_amil.core.instances.extract import Recipe, measured_instances
from napari_amil.core.instances.gather import Gathered, gather
from napari_amil.core.instances.sources import cohort_source, open_source
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.model.bundle import Bundle, load_bundle, save_bundle
from napari_amil.core.model.scorer import Scorer
from napari_amil.core.morphology.measures import NAMES
from napari_amil.core.pipeline.evaluate import delete_cells
from napari_amil.core.scoring.score import score_source

Changed = Callable[[Scorer, ControlMorphology], Scorer]


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of two small samples of one patient per class."""
    folder = tmp_path_factory.mktemp("controls") / "cohort"
    return write_synthetic_cohort(folder, SynthCohortSettings(patients=1, samples=2))


@pytest.fixture
def recipe(small_bundle: Bundle) -> Recipe:
    """The small bundle without its detector, which has learned nothing: boxes stay boxes."""
    return Recipe.from_bundle(replace(small_bundle, detector=None), None, torch.device("cpu"))


@pytest.fixture
def gathered(recipe: Recipe, listed: Path) -> Gathered:
    source = open_source([listed], "control")
    control = source.cohort.where(lambda bag: bag.label == "control")
    return drain(gather(cohort_source(control), recipe, measured_instances))


def test_measurements_and_deviations_stand_in_the_table_of_cells(
    recipe: Recipe, gathered: Gathered, listed: Path, with_morphology: Changed
) -> None:
    measured = gathered.values["measurements"].astype(np.float64)
    usual = ControlMorphology.fit(measured)
    scorer = with_morphology(recipe.bundle.need_scorer(), usual)
    recipe = replace(recipe, bundle=replace(recipe.bundle, scorer=scorer))
    scored = drain(score_source(open_source([listed], "control"), recipe))
    control = scored.cells[scored.cells["bag"] == gathered.cohort.bags[0].bag]
    shown = control[[f"morph_{name}" for name in NAMES]].to_numpy()
    np.testing.assert_allclose(shown, measured[gathered.rows[0]], rtol=1e-6)
    z = control[[f"morph_{name}_z" for name in NAMES]].to_numpy()
    np.testing.assert_allclose(z, usual.deviations(shown), rtol=1e-4, atol=1e-6)
    long = scored.cells[scored.cells["cell_type"] == "elliptocyte"]
    assert long["morph_aspect_ratio_z"].median() > 3
    assert scored.embeddings.shape == (len(scored.cells), 8)
    old = morphology_columns(measured, None)
    assert old[["morph_diameter_z", "morph_distance"]].isna().all(axis=None)
    assert old["morph_diameter"].notna().any()


def test_contributions_in_the_tables_add_up_to_the_logits(recipe: Recipe, listed: Path) -> None:
    scored = drain(score_source(open_source([listed], "control"), recipe))
    model, classes = recipe.bundle.need_scorer().model, ("control", "ill")
    with torch.no_grad():
        bias = model.aggregate(torch.zeros(1, 8), torch.tensor([1]), torch.zeros(1)).bias.double().numpy()
    summed = scored.cells.groupby("bag", sort=False)[[f"contribution_{name}" for name in classes]].sum()
    logits = summed.to_numpy(np.float64) + bias
    probability = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    np.testing.assert_allclose(
        scored.bags[[f"probability_{name}" for name in classes]].to_numpy(), probability, rtol=0, atol=1e-5
    )


def test_the_sample_of_controls_knows_where_its_cells_are(recipe: Recipe, gathered: Gathered) -> None:
    n = len(gathered.cohort)
    patients = tuple(bag.patient for bag in gathered.cohort)
    labels = np.zeros(n, np.int64)
    bags = BagArrays(gathered.values, gathered.rows, labels, patients, ("control",), "control")
    model = recipe.bundle.need_scorer().model
    sample = control_sample(gathered, bags, model, recipe.device)
    known = {(image, *box) for image, box in zip(gathered.images, gathered.boxes.tolist(), strict=True)}
    assert {(i, *b) for i, b in zip(sample.images, sample.boxes.tolist(), strict=True)} <= known
    assert sample.thumbnails([0])[0].shape == (64, 64, 3)
    emptied = replace(gathered, values=gathered.values.copy())
    emptied.values["measurements"][0] = np.nan
    without = control_sample(emptied, bags, model, recipe.device)
    assert {(i, *b) for i, b in zip(sample.images, sample.boxes.tolist(), strict=True)} - {
        (i, *b) for i, b in zip(without.images, without.boxes.tolist(), strict=True)
    } == {(gathered.images[0], *gathered.boxes[0].tolist())}
    emptied.values["measurements"] = np.nan  # where nothing could be measured, every box counts
    assert control_sample(emptied, bags, model, recipe.device).images == sample.images
    found = nearest_controls(sample.z[[4, 2]].numpy(), sample, 3)
    assert list(found["cell"]) == [0, 0, 0, 1, 1, 1]
    assert list(found["rank"]) == [1, 2, 3, 1, 2, 3]
    first = found[found["rank"] == 1]
    assert list(first["control"]) == [4, 2]
    assert first["distance"].max() < 1e-6
    assert first[["y0", "x0", "y1", "x1"]].to_numpy().tolist() == sample.boxes[[4, 2]].tolist()


def test_they_travel_in_the_bundle_and_old_bundles_still_load(
    small_bundle: Bundle, gathered: Gathered, tmp_path: Path, with_morphology: Changed
) -> None:
    usual = ControlMorphology.fit(gathered.values["measurements"])
    scorer = with_morphology(small_bundle.need_scorer(), usual)
    save_bundle(replace(small_bundle, detector=None, scorer=scorer), tmp_path / "with.safetensors")
    loaded = load_bundle(tmp_path / "with.safetensors").need_scorer()
    assert torch.equal(loaded.anomaly.morphology.quantiles, usual.quantiles)
    assert loaded.controls is None
    save_bundle(replace(small_bundle, detector=None), tmp_path / "without.safetensors")
    assert load_bundle(tmp_path / "without.safetensors").need_scorer().anomaly.morphology is None


def test_cells_are_deleted_from_every_bag(recipe: Recipe, listed: Path) -> None:
    scored = drain(score_source(open_source([listed], "control"), recipe))
    deleted = drain(delete_cells(scored, recipe))
    assert list(deleted.table["bag"]) == list(scored.bags["bag"])
    assert list(deleted.table["predicted"]) == list(scored.bags["predicted"])
    ill = deleted.table["predicted"] != "control"
    assert (deleted.figure is None) == (not ill.any())
    for name in ("anomaly", "attention", "pool_weight", "contribution"):
        expected = deleted.table.loc[ill, f"logit_area_{name}"].mean()
        assert deleted.metrics[f"deletion_logit_area_{name}"] == pytest.approx(expected, nan_ok=True)

"""An ablation from a cohort to a table: repeatable, resumable, the same in several processes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from napari_amil.core.base.events import Event, Step, drain
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.evaluation.ablation import BASELINE, ROWS, ablation_rows, encoder_stage, study_reference
from napari_amil.core.evaluation.measurement_baseline import bag_features, regression
from napari_amil.core.evaluation.predictions import predict
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source
from napari_amil.core.studies.ablate import Ablation, ablate
from napari_amil.core.studies.cells import open_cells
from napari_amil.core.studies.plan import StudyPlan, StudyProtocol
from napari_amil.core.studies.trials import work_on
from napari_amil.core.training.cross_fitting import fit_anomaly_to_seen_cells
from napari_amil.core.training.loop import fit_encoder, fit_model
from napari_amil.core.training.profile_fit import fit_profile
from napari_amil.core.training.state import TrainedEncoder
from napari_amil.core.training.units import independent_units

CPU = torch.device("cpu")
NAMES = ("recommended", "distance raw", "no instance pre-training", "measurements in the Gaussian")


def _ablate(
    source: Source, recipe: Recipe, out: Path, protocol: StudyProtocol
) -> tuple[Ablation, list[Event]]:
    said: list[Event] = []
    rows = ablation_rows({name: ROWS[name] for name in NAMES}, recipe.settings, None)
    return drain(ablate(source, recipe, out, rows, protocol), said.append), said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ablation")


@pytest.fixture(scope="module")
def first(source: Source, recipe: Recipe, folder: Path) -> tuple[Ablation, list[Event]]:
    """Return what the first of several calls said; its results lie in ``folder``."""
    return _ablate(source, recipe, folder, StudyProtocol(runs=1))


def test_a_table_is_written(first: tuple[Ablation, list[Event]], folder: Path) -> None:
    table = pd.read_csv(folder / "table.csv").set_index("row")
    assert tuple(table.index) == NAMES
    assert (table["n_bags"] == 12).all()
    assert (table["n_folds"] == 2).all()
    assert table["accuracy"].between(0, 1).all()
    assert table.loc["distance raw", "accuracy_difference"] == pytest.approx(
        table.loc["distance raw", "accuracy"] - table.loc["recommended", "accuracy"]
    )
    assert len(list((folder / "work").glob("encoder-*"))) == 2  # one per fold, for three rows
    drawn = {path.name for path in (folder / "figures").glob("*.svg")}
    assert drawn == {"rows.svg", "auprc.svg", "confusion.svg"}
    assert max(event.total for event in first[1] if isinstance(event, Step) and event.stage == "study") == 10


def test_a_second_call_trains_nothing(
    source: Source, recipe: Recipe, first: tuple[Ablation, list[Event]], folder: Path
) -> None:
    again, said = _ablate(source, recipe, folder, StudyProtocol(runs=1))
    assert [event for event in said if isinstance(event, Step)] == [Step("study", 0, 0, "")]
    pd.testing.assert_frame_equal(again.table, first[0].table)


def test_the_row_without_a_network_equals_scikit_learn(
    source: Source, recipe: Recipe, first: tuple[Ablation, list[Event]], folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folder, tmp_path / "copy"))  # other tests read its table
    rows = dict.fromkeys(("recommended", BASELINE), recipe.settings)
    said: list[Event] = []
    found = drain(ablate(source, recipe, folder, rows, StudyProtocol(runs=1)), said.append)
    assert max(event.total for event in said if isinstance(event, Step) and event.stage == "study") == 2
    (network,), (alone,) = (found.rows[name].values() for name in rows)
    np.testing.assert_array_equal(network.bags, alone.bags)
    (cells,) = (folder / "work").glob("cells-*")
    stored = open_cells(cells, source.cohort.classes, source.cohort.control)
    x = bag_features(stored.inputs.measurements, stored.bags.rows)
    for test, predictions in zip(alone.bags, alone.predictions, strict=True):
        train = np.setdiff1d(np.arange(len(x)), test)
        model = regression().fit(x[train], stored.bags.labels[train])
        np.testing.assert_allclose(predictions.probabilities, model.predict_proba(x[test]), atol=1e-9)
    table = found.table.set_index("row")
    assert pd.isna(table.loc[BASELINE, "epochs"])
    assert table.loc[BASELINE, "accuracy_difference"] == pytest.approx(
        table.loc[BASELINE, "accuracy"] - table.loc["recommended", "accuracy"]
    )


def test_another_process_gives_the_same_results(
    source: Source, recipe: Recipe, first: tuple[Ablation, list[Event]], tmp_path: Path
) -> None:
    rows = {"recommended": recipe.settings}
    protocol = StudyProtocol(runs=1, hold_out_fold=0, jobs=2)
    said: list[Event] = []
    beside = drain(ablate(source, recipe, tmp_path, rows, protocol), said.append)
    (kept,), (again,) = (found.rows["recommended"].values() for found in (first[0], beside))
    np.testing.assert_array_equal(kept.predictions[0].probabilities, again.predictions[0].probabilities)
    assert said[-1] == Step("study", 2, 2, "recommended, fold 0, run 1")


def test_a_row_that_measures_no_cell_is_tested(
    source: Source, recipe: Recipe, tiny: RunSettings, tmp_path: Path
) -> None:
    alone = {"channels": ["latent_distance"], "measurement_columns": 0, "bag_profile": False}
    rows = {"alone": tiny.changed({"model": alone | {"morphology_weight": 0.0}})}
    found = drain(ablate(source, recipe, tmp_path, rows, StudyProtocol(runs=1, hold_out_fold=0)))
    (predictions,) = next(iter(found.rows["alone"].values())).predictions
    assert set(predictions.cells) >= {"anomaly", "latent_distance"}
    assert "morph_distance" not in predictions.cells
    np.testing.assert_array_equal(predictions.cells["anomaly"], predictions.cells["latent_distance"])


def test_a_trial_is_an_ordinary_training_and_its_test(
    source: Source, recipe: Recipe, tiny: RunSettings, tmp_path: Path
) -> None:
    protocol = StudyProtocol(runs=1, hold_out_fold=0)
    plan = StudyPlan(protocol.source(source), protocol, tmp_path)
    drain(plan.add("one", tiny, recipe))
    (group,) = plan.groups()
    for _ in work_on(group, "cpu"):
        pass
    (trial,) = group.trials
    cells = open_cells(trial.cells, group.classes, group.control)
    train, test = group.sides(cells)
    stage = encoder_stage(trial.settings)
    assert stage is not None
    encoder = TrainedEncoder(drain(fit_encoder(train, stage, CPU)))
    fitted = drain(fit_model(train, trial.settings, CPU, encoder=encoder))
    inputs = cells.inputs
    anomaly = drain(fit_anomaly_to_seen_cells(train, fitted, trial.settings, CPU, inputs))
    fit_profile(fitted.model, train, inputs.measurements, independent_units(train, cells.images))
    said = predict(fitted, anomaly, test, CPU, inputs.take(np.concatenate(test.rows)))
    kept = trial.read()
    np.testing.assert_array_equal(said.p, kept.p)
    assert {"anomaly", "latent_distance", "morph_distance"} <= set(said.cells)
    np.testing.assert_array_equal(said.probabilities, kept.probabilities)
    for name, values in said.cells.items():
        np.testing.assert_array_equal(values, kept.cells[name])
    assert plan.groups() == []


def test_a_settings_file_changes_the_reference(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("model: {width: 8}\n")
    reference = study_reference(tmp_path / "s.yaml", "healthy")
    assert (reference.model.width, reference.control) == (8, "healthy")
    rows = ablation_rows({name: ROWS[name] for name in ("Att", "distance raw")}, reference, 30)
    assert rows["distance raw"].model.width == 8
    assert rows["Att"].control == "healthy"
    assert rows["Att"].training.max_epochs == 30

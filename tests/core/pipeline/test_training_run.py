"""A training from a cohort to a run folder whose bundle scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from napari_amil.core.base.errors import CohortError, SettingsError
from napari_amil.core.base.events import EpochReport, Failed, Step, TrainingBegan, Warned, drain
from napari_amil.core.base.settings import (
    DetectorTrainingSettings,
    ModelSettings,
    RunSettings,
    TrainingSettings,
)
from napari_amil.core.base.types import Cells
from napari_amil.core.cohort.layouts.registry import read_cohort
from napari_amil.core.cohort.smear import SynthSettings
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.detection.annotated_field import annotated_field
from napari_amil.core.detection.network import WHITE, kinds_of
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import cohort_source, open_source
from napari_amil.core.model.bundle import Bundle, load_bundle
from napari_amil.core.pipeline.train_detector import start_detector, train_detector_on, training_images
from napari_amil.core.pipeline.training_run import Protocol, train_run

TINY = RunSettings(
    model=ModelSettings(latent_dim=8, attention_dim=4, width=4),
    training=TrainingSettings(cell_epochs=1, max_epochs=1, views=1, calibration_folds=0),
)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    smear = SynthSettings(height=160, width=200, n_cells=10, n_platelets=1)
    settings = SynthCohortSettings(patients=4, samples=1, smear=smear)
    return write_synthetic_cohort(tmp_path_factory.mktemp("runs") / "cohort", settings)


def _run(
    cohort: Path, out: Path, protocol: Protocol, settings: RunSettings = TINY
) -> tuple[dict[str, float], list[object]]:
    out.mkdir(exist_ok=True)
    events: list[object] = []
    start = Bundle(settings, card={"name": "starter", "held_out": "other smears"})
    recipe = Recipe(start, settings, torch.device("cpu"))
    source = cohort_source(read_cohort(cohort, settings.control))
    metrics = drain(train_run(source, recipe, out, protocol), events.append)
    return metrics, events


def _changed(cohort: Path, file: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """Write another list of the same cells beside a cell list."""
    table = change(pd.read_csv(cohort, dtype=str, keep_default_na=False))
    table.to_csv(cohort.with_name(file.name), index=False)
    return cohort.with_name(file.name)


def test_a_held_out_fold_is_tested_and_the_folder_is_complete(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    metrics, events = _run(cohort, out, Protocol(hold_out_fold=2))
    folds = pd.read_csv(out / "folds.csv")
    assert metrics["n_bags"] == (folds["fold"] == 2).sum()
    assert json.loads((out / "metrics.json").read_text())["n_bags"] == metrics["n_bags"]
    epochs = [event for event in events if isinstance(event, EpochReport)]
    logged = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    of_epochs = [line["epoch"] for line in logged if line["event"] == "EpochReport"]
    assert of_epochs == [report.epoch for report in epochs] == [0, 1]
    assert logged[-1]["event"] == "Ended"
    assert {figure.name for figure in (out / "figures").glob("*.png")} >= {"confusion.png", "curves.png"}
    assert RunSettings.from_yaml(out / "run.yaml") == TINY
    bundle = load_bundle(out / "bundle.safetensors")
    assert bundle.settings == TINY
    assert bundle.card["results"]["n_bags"] == metrics["n_bags"]
    assert bundle.card["data"] == "the cohort 'cohort'"
    assert bundle.card["held_out"] == "3 patients who were left out of the training"
    assert "name" not in bundle.card  # of the bundle whose detector it has
    assert bundle.card["scorer"]["n_patients"] == {"control": 3, "elliptocytosis": 3, "spherocytosis": 3}
    tested = pd.read_csv(out / "bags.csv")
    assert set(tested["patient"]) == set(folds.loc[folds["fold"] == 2, "patient"])


def test_every_fold_is_held_out_in_turn_and_classes_may_be_numbers(cohort: Path, tmp_path: Path) -> None:
    numbers = {"control": "0", "elliptocytosis": "1", "spherocytosis": "2"}
    listed = _changed(cohort, tmp_path / "numbers.csv", lambda table: table.replace({"label": numbers}))
    out, settings = tmp_path / "run", TINY.changed({"control": "0"})
    metrics, _ = _run(listed, out, Protocol(n_folds=3), settings)
    each = [json.loads((out / f"fold-{fold}" / "metrics.json").read_text()) for fold in (0, 1, 2)]
    assert metrics["accuracy"] == pytest.approx(sum(fold["accuracy"] for fold in each) / 3)
    bundle = load_bundle(out / "bundle.safetensors")
    assert bundle.card["scorer"]["n_bags"]["0"] == 4
    assert bundle.settings == settings
    seeds = [RunSettings.from_yaml(out / f"fold-{fold}" / "run.yaml").training.seed for fold in (0, 1, 2)]
    assert seeds == [TINY.for_run(fold, 0).training.seed for fold in (0, 1, 2)]


def test_several_runs_share_the_fold_and_differ_in_the_seed(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    metrics, _ = _run(cohort, out, Protocol(hold_out_fold=2, n_runs=2))
    folders = [out / f"run-{run}" / "fold-2" for run in (0, 1)]
    each = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    assert metrics["macro_auroc"] == pytest.approx(sum(one["macro_auroc"] for one in each) / 2)
    half = abs(each[0]["macro_auroc"] - each[1]["macro_auroc"]) / 2
    assert metrics["macro_auroc_std"] == pytest.approx(half)
    tested = [set(pd.read_csv(folder / "bags.csv")["bag"]) for folder in folders]
    assert tested[0] == tested[1]
    bundles = [load_bundle(folder / "bundle.safetensors") for folder in (*folders, out)]
    assert len({bundle.settings.training.seed for bundle in bundles}) == 3
    assert [bundle.card["scorer"]["n_bags"]["control"] for bundle in bundles] == [3, 3, 3]
    assert pd.read_csv(out / "runs.csv")["run"].tolist() == [0, 1]


def test_a_finished_training_is_taken_over(cohort: Path, tmp_path: Path) -> None:
    out, settings = tmp_path / "run", TINY.changed({"training": {"calibration_folds": 2}})
    metrics, _ = _run(cohort, out, Protocol(n_folds=3), settings)
    (out / "bundle.safetensors").unlink()  # as if it had been stopped in the last of four trainings
    again, events = _run(cohort, out, Protocol(n_folds=3), settings)
    assert again == pytest.approx(metrics, nan_ok=True)
    said = [event.message for event in events if isinstance(event, Warned | Step)]
    told = [message for message in said if "finished before" in message]
    assert told == [f"The training in 'fold-{n}' was finished before and is taken over." for n in range(3)]
    assert any("Network 1 of 2" in message for message in said)  # of the last training
    assert load_bundle(out / "bundle.safetensors").card["results"]["accuracy"] == metrics["accuracy"]
    events = _run(cohort, out, Protocol(n_folds=3), settings)[1]
    assert not any(isinstance(event, Step) for event in events)


def test_what_failed_is_said_again_where_a_training_is_taken_over(cohort: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(cohort.parent, tmp_path / "cohort"))
    broken = sorted(copied.rglob("*.png"))[0]
    broken.write_text("no image")
    told = []
    for _ in range(2):
        events = _run(copied / cohort.name, tmp_path / "run", Protocol(hold_out_fold=2))[1]
        told.append([event for event in events if isinstance(event, Failed)])
    assert broken.relative_to(copied).as_posix() in {failed.source for failed in told[0]}
    assert told[1] == told[0]


def test_a_run_of_other_settings_is_left_alone(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    _run(cohort, out, Protocol(hold_out_fold=2))
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    with pytest.raises(SettingsError, match="was made with other settings"):
        _run(cohort, out, Protocol(hold_out_fold=2), TINY.changed({"training": {"max_epochs": 2}}))
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_folds_that_the_cohort_brings_along_count(cohort: Path, tmp_path: Path) -> None:
    def without_labels(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(label=table["label"].where(table["fold"] != "2", ""))

    listed = _changed(cohort, tmp_path / "unlabelled.csv", without_labels)
    _, events = _run(listed, tmp_path / "run", Protocol(n_folds=5))
    told = [event.message for event in events if isinstance(event, Warned)]
    assert any("brings 3 folds along" in message and "not 5" in message for message in told)
    assert [folder.name for folder in sorted((tmp_path / "run").glob("fold-*"))] == ["fold-0", "fold-1"]


def test_one_of_the_folds_into_which_patients_are_dealt_is_the_test(cohort: Path, tmp_path: Path) -> None:
    listed = _changed(cohort, tmp_path / "undealt.csv", lambda table: table.drop(columns="fold"))
    out = tmp_path / "run"
    metrics, events = _run(listed, out, Protocol(hold_out_fold=0, n_folds=3))
    folds = pd.read_csv(out / "folds.csv")
    assert set(folds["fold"]) == {0, 1, 2}
    assert (folds.groupby("patient")["fold"].nunique() == 1).all()
    tested = pd.read_csv(out / "bags.csv")
    assert set(tested["patient"]) == set(folds.loc[folds["fold"] == 0, "patient"])
    assert metrics["n_bags"] == len(tested)
    assert not list(out.glob("fold-*"))
    assert sum(isinstance(event, TrainingBegan) for event in events) == 1


def test_impossible_protocols_are_refused(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no test that could be made 5 times"):
        Protocol(n_runs=5)
    with pytest.raises(CohortError):
        _run(cohort, tmp_path / "run", Protocol(hold_out_fold=9))


def test_a_detector_is_trained_from_images_alone(cohort: Path, tmp_path: Path) -> None:
    source = open_source([cohort], "control")
    files = training_images(source, held_out_fold=2)
    assert {bag.fold for bag in source.cohort for image in bag.images if image in files} == {0, 1}
    settings = DetectorTrainingSettings(steps=2, batch_size=1, crop_px=128)
    recipe = Recipe(start_detector("nothing", TINY), TINY, torch.device("cpu"))
    few = dict(list(files.items())[:2])
    boxes = np.array([[20, 20, 60, 60], [70, 70, 120, 120]], np.float32)
    blank = np.ones((160, 200, 3), np.float32)
    other = annotated_field(blank, Cells(boxes), complete=True, diameter_px=40, white=[1])
    work = train_detector_on(few, recipe, settings, tmp_path / "checkpoint.safetensors", [other])
    bundle = drain(work)
    assert kinds_of(bundle.need_detector().state_dict()) == WHITE
    assert bundle.card["detector"]["n_further_fields"] == 1
    assert bundle.card["detector"]["n_images"] == 3
    assert bundle.card["detector"]["n_cells"] > 10
    assert bundle.scorer is None
    begun = start_detector("starter", TINY)
    recipe = Recipe.from_bundle(begun, None, torch.device("cpu"))
    kept = drain(train_detector_on(few, recipe, settings, tmp_path / "further.safetensors"))
    assert kept.scorer is begun.scorer
    assert kept.card["detector"]["settings"]["steps"] == 2

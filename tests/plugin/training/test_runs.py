"""The state of a run folder, its command, and the list of runs; no training runs here."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Ended, EpochReport, Step, TrainingBegan, to_dict
from napari_amil.core.base.settings import DetectorTrainingSettings, RunSettings
from napari_amil.plugin.training import runs as _runs
from napari_amil.plugin.training.run_commands import AblationCommand, DetectorCommand, TrainingCommand
from napari_amil.plugin.training.run_folders import RunRegistry, fresh_folder
from napari_amil.plugin.training.run_list import RunList
from napari_amil.plugin.training.runs import Run


def plan(out: Path, **more: object) -> TrainingCommand:
    return TrainingCommand(Path("/data/my smears/bags.csv"), out, RunSettings(control="healthy"), **more)  # type: ignore[arg-type]


def occupy(folder: Path) -> None:
    """Let this process stand for the training."""
    record = {"pid": os.getpid(), "created": psutil.Process().create_time()}
    (folder / "process.json").write_text(json.dumps(record))


def say(folder: Path, *events: object) -> Run:
    with (folder / "events.jsonl").open("a") as log:
        log.writelines(json.dumps({"time": 1.0, **to_dict(event)}) + "\n" for event in events)  # type: ignore[arg-type]
    run = Run(folder)
    run.log.poll_all()
    return run


def test_the_command_says_everything_that_was_chosen(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run = Run.from_command(plan(out, folds=3, device="cuda", bundle="/m.safetensors", allow=("confounding",)))
    assert run.arguments() == [
        *("train", "/data/my smears/bags.csv", "--out", str(out), "--settings", str(out / "run.yaml")),
        *("--device", "cuda", "--bundle", "/m.safetensors", "--folds", "3", "--allow", "confounding"),
    ]
    assert run.command().startswith("napari-amil train '/data/my smears/bags.csv' --out ")
    assert RunSettings.from_yaml(out / "run.yaml") == RunSettings(control="healthy")


def test_settings_that_were_written_to_copy_the_command_do_not_block_the_folder(tmp_path: Path) -> None:
    wanted = plan(tmp_path / "run", hold_out_fold=0)
    wanted.write_settings()
    assert "--hold-out-fold 0" in wanted.command()
    assert Run.from_command(wanted).can_resume()
    with pytest.raises(AmilError, match="not an empty folder"):
        Run.from_command(wanted)


def test_a_run_is_starting_running_paused_and_stopping(tmp_path: Path) -> None:
    occupy(tmp_path)
    run = Run(tmp_path)
    assert run.status().state == "starting"
    run = say(tmp_path, TrainingBegan("the model of the run", 1, 1), EpochReport(0, 9, 0.5))
    assert run.status().state == "running"
    run.pause(True)
    assert run.status().state == "paused"
    run.stop()
    assert run.status().state == "stopping"
    run.pause(False)
    assert not (tmp_path / "pause").exists()
    with pytest.raises(AmilError, match="running already"):
        run.start()


@pytest.mark.parametrize(
    ("ended", "state", "words"),
    [
        (Ended(), "finished", "the model is ready"),
        (Ended("failed", "The disk is full."), "failed", "The disk is full."),
        (Ended("cancelled"), "cancelled", "Resume goes on"),
    ],
)
def test_a_run_that_ended_says_how(tmp_path: Path, ended: Ended, state: str, words: str) -> None:
    status = say(tmp_path, EpochReport(0, 9, 0.5), ended).status()
    assert status.state == state
    assert words in status.sentence
    assert not status.is_alive


def test_a_process_that_vanished_is_told_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "process.json").write_text(json.dumps({"pid": os.getpid(), "created": 1.0}))
    (tmp_path / "output.txt").write_text("a library warns\nTerminated by the queue\n")
    status = say(tmp_path, EpochReport(3, 9, 0.5)).status()
    assert status.state == "interrupted"
    assert status.sentence.endswith("Its last output: Terminated by the queue")


def test_what_a_process_would_not_hear_yet_is_not_offered(runs: RunList, qtbot: QtBot) -> None:
    run, buttons = runs.chosen(), runs.view.buttons
    assert run is not None
    run._time_before_start = run.log.time  # as `start` has it
    occupy(run.folder)
    qtbot.waitUntil(lambda: runs.view.sentence.text() == "Starting …", timeout=30_000)
    assert [name for name, button in buttons.items() if button.isVisible()] == ["cancel", "open"]
    with (run.folder / "events.jsonl").open("a") as log:
        log.write(json.dumps({"time": 2.0, **to_dict(EpochReport(5, 9, 0.5))}) + "\n")
    qtbot.waitUntil(buttons["stop"].isVisible, timeout=30_000)
    assert run.status().state == "running"


def test_the_last_word_of_a_process_is_heard_although_it_came_after_the_log_was_read(tmp_path: Path) -> None:
    run = say(tmp_path, EpochReport(3, 9, 0.5))
    say(tmp_path, Ended())
    assert run.status().state == "finished"


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    status = Run(tmp_path / "drive" / "run").status()
    assert status.state == "missing"
    assert str(tmp_path / "drive") in status.sentence


def test_a_new_folder_lies_beside_the_cohort_and_never_inside(tmp_path: Path) -> None:
    cohort = tmp_path / "smears"
    cohort.mkdir()
    first = fresh_folder(cohort)
    assert first.parent == tmp_path / "smears-runs"
    assert fresh_folder(cohort / "bags.csv") == first
    first.mkdir(parents=True)
    assert fresh_folder(cohort).name == first.name.removesuffix("1") + "2"


def test_windows_share_the_list_of_runs(tmp_path: Path) -> None:
    one, other = RunRegistry(tmp_path), RunRegistry(tmp_path)
    one.add(tmp_path / "a")
    other.add(tmp_path / "b")
    one.add(tmp_path / "a")
    assert other.folders() == [tmp_path / "a", tmp_path / "b"]
    other.remove(tmp_path / "a")
    assert one.folders() == [tmp_path / "b"]
    (tmp_path / "runs.json").write_text("{damaged")
    assert one.folders() == []


@pytest.fixture
def runs(qtbot: QtBot, tmp_path: Path) -> RunList:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        say(tmp_path / name, TrainingBegan("the model of the run", 1, 1), EpochReport(4, 9, 0.5), Ended())
    registry = RunRegistry(tmp_path / "state")
    for name in ("a", "b"):
        registry.add(tmp_path / name)
    runs = RunList(ViewerModel(), registry)
    qtbot.addWidget(runs)
    runs.show()
    return runs


def test_the_list_shows_every_run_and_the_chosen_one_in_view(
    runs: RunList, tmp_path: Path, qtbot: QtBot
) -> None:
    qtbot.waitUntil(lambda: "done" in runs.list.item(0).text(), timeout=30_000)
    assert runs.chosen() is runs.runs[tmp_path / "b"]
    runs.choose(tmp_path / "a")
    assert runs.view.run is runs.runs[tmp_path / "a"]
    qtbot.waitUntil(lambda: runs.view.sentence.text() == "Done: the model is ready.", timeout=30_000)
    qtbot.waitUntil(lambda: list(runs.view.curves.losses.lines[0].get_xdata()) == [5], timeout=30_000)
    assert "training loss 0.5" in runs.view.curves.canvas.accessibleDescription()


def test_trainings_end_with_the_application_only_if_that_is_wanted(runs: RunList, tmp_path: Path) -> None:
    cancelled: list[Path] = []
    for folder, run in runs.runs.items():
        run.cancel = lambda folder=folder: cancelled.append(folder)  # type: ignore[method-assign]
    runs._quit_choice.apply()
    assert cancelled == []
    runs.leave.click()
    runs._quit_choice.apply()
    assert sorted(cancelled) == [tmp_path / "a", tmp_path / "b"]


def test_a_theme_recolours_the_curves(runs: RunList) -> None:
    before = runs.view.curves.canvas.figure.get_facecolor()
    runs.view.curves.set_theme("light")
    assert runs.view.curves.canvas.figure.get_facecolor() != before


def test_a_deleted_run_leaves_the_list(
    runs: RunList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    thrown: list[str] = []
    monkeypatch.setattr(_runs.QFile, "moveToTrash", lambda path: thrown.append(path) or True)
    qtbot.waitUntil(lambda: runs.view.buttons["delete"].isVisible(), timeout=30_000)
    runs.view.buttons["delete"].click()
    assert thrown == [str(tmp_path / "b")]
    assert runs.list.count() == 1
    assert runs.chosen() is runs.runs[tmp_path / "a"]


def test_the_row_of_a_training_has_its_folds_and_cells(tmp_path: Path) -> None:
    folder, out = tmp_path / "run", tmp_path / "run-row-1"
    wanted = plan(folder, hold_out_fold=0, bundle="/m.safetensors", device="cpu", allow=("confounding",))
    training = Run.from_command(wanted)
    row = Run.from_command(AblationCommand(folder, tuple(training.arguments()), out))
    assert row.arguments() == [
        *("ablate", "/data/my smears/bags.csv", "--out", str(out), "--rows", "recommended"),
        *("--settings", str(out / "run.yaml"), "--runs", "3", "--device", "cpu"),
        *("--bundle", "/m.safetensors", "--hold-out-fold", "0", "--allow", "confounding"),
    ]
    assert (out / "run.yaml").read_text() == (folder / "run.yaml").read_text()
    assert (training.kind, row.kind) == ("train", "ablate")


def test_a_row_is_shown_with_its_spread(tmp_path: Path, qtbot: QtBot) -> None:
    header = "row,accuracy,accuracy_sd,accuracy_low,accuracy_high,macro_auroc,n_runs"
    (tmp_path / "table.csv").write_text(f"{header}\nrecommended,0.8125,0.0312,0.7,0.9,0.95,3\n")
    say(tmp_path, Step("study", 3, 3), Ended())
    runs = RunList(ViewerModel(), RunRegistry(tmp_path / "state"))
    qtbot.addWidget(runs)
    runs.show()
    runs.add(Run(tmp_path))
    table = runs.view.results.table
    qtbot.waitUntil(lambda: table.rowCount() == 2, timeout=30_000)
    texts = [[table.item(row, column).text() for column in range(2)] for row in range(2)]
    assert texts == [["0.812 ± 0.031", "0.70 to 0.90"], ["0.950", ""]]
    qtbot.waitUntil(
        lambda: runs.view.sentence.text() == "Done: how far the results vary is below.", timeout=30_000
    )
    assert runs.view.curves is None


def test_each_list_shows_runs_of_its_kinds(tmp_path: Path, qtbot: QtBot) -> None:
    registry = RunRegistry(tmp_path / "state")
    for name in ("detector", "training"):
        (tmp_path / name).mkdir()
        say(tmp_path / name, EpochReport(0, 9, 0.5), Ended())
        registry.add(tmp_path / name)
    (tmp_path / "detector" / "images.csv").write_text("image\n")
    trainings = RunList(ViewerModel(), registry)
    detectors = RunList(ViewerModel(), registry, frozenset({"train-detector"}), "None yet.")
    for runs, name in ((trainings, "training"), (detectors, "detector")):
        qtbot.addWidget(runs)
        assert list(runs.runs) == [tmp_path / name]
    detectors._open(str(tmp_path / "training"))
    assert "which another panel shows" in detectors.notice.text()


@pytest.mark.parametrize("kind", [TrainingCommand, DetectorCommand])
def test_a_full_disk_is_one_sentence_and_the_folder_stays_free(
    tmp_path: Path, kind: type, small_files: Callable[[int], AbstractContextManager[None]]
) -> None:
    settings = RunSettings() if kind is TrainingCommand else DetectorTrainingSettings()
    wanted = kind(tmp_path / "cohort", tmp_path / "run", settings)
    with small_files(64), pytest.raises(AmilError) as refused:
        Run.from_command(wanted)
    folder = tmp_path / "run"
    told = f"The run folder '{folder}' cannot be written (File too large); choose another one."
    assert str(refused.value) == told
    assert Run.from_command(wanted).arguments() == wanted.arguments()


def test_a_run_that_died_on_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = say(tmp_path, EpochReport(3, 9, 0.5))
    assert run.status().sentence == "It is not running. Resume goes on where it was."
    full = shutil.disk_usage(tmp_path)._replace(free=4096)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    status = run.status()
    assert status.state == "interrupted"
    assert status.sentence.startswith(
        f"The disk that holds '{tmp_path}' is full: free some space, then press"
    )


@pytest.mark.skipif(os.name == "nt", reason="drives vanish otherwise on Windows")
def test_a_drive_that_vanishes_while_a_run_lives_is_one_sentence(runs: RunList, tmp_path: Path) -> None:
    run = runs.chosen()
    assert run is not None
    occupy(run.folder)
    runs.poll()
    run.folder.rename(tmp_path / "elsewhere")
    runs.poll()
    assert runs.view.sentence.text() == f"The folder '{run.folder}' cannot be found; was a drive unplugged?"
    runs.view.buttons["pause"].click()
    assert "cannot be written (No such file or directory); is the drive still there?" in (
        runs.view.sentence.text()
    )

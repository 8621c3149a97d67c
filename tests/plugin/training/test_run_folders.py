"""Commands and processes that a run folder names are trusted only if they are this user's trainings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.process import find_process, write_process
from napari_amil.core.base.settings import DetectorTrainingSettings, RunSettings
from napari_amil.plugin.training import run_folders as _run_folders
from napari_amil.plugin.training.run_commands import (
    AblationCommand,
    DetectorCommand,
    TrainingCommand,
    check_arguments,
)
from napari_amil.plugin.training.runs import PROGRAM, Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    command = TrainingCommand(tmp_path / "cohort", tmp_path / "run", RunSettings(), allow=("confounding",))
    return Run.from_command(command)


def test_every_command_has_arguments_that_are_accepted(run: Run, tmp_path: Path) -> None:
    detector = DetectorCommand(tmp_path / "a", tmp_path / "run", DetectorTrainingSettings(), partial=True)
    row = AblationCommand(run.folder, tuple(run.arguments()), tmp_path / "row")
    for arguments, out in (
        (run.arguments(), run.folder),
        (detector.arguments(), detector.out),
        (row.arguments(), row.out),
    ):
        check_arguments(arguments, out)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda given: [], "is no training ('')"),
        (lambda given: ["demo", "a"], "is no training ('demo')"),
        (lambda given: ["train", "--help"], "is no training ('train')"),
        (lambda given: [*given, "--events", "x"], "the unknown option '--events'"),
        (lambda given: [*given, "--folds"], "the unknown option '--folds'"),
        (lambda given: [*given, "more"], "the unknown option 'more'"),
        (lambda given: [*given, "--out", "/elsewhere"], "writes into another folder, '/elsewhere'"),
    ],
)
def test_a_foreign_command_is_not_started(
    run: Run, change: Callable[[list[str]], list[str]], reason: str
) -> None:
    record = {"arguments": change(run.arguments())}
    (run.folder / "command.json").write_text(json.dumps(record))
    with pytest.raises(AmilError) as refused:
        run.start()
    assert reason in str(refused.value)
    assert not (run.folder / "process.json").exists()


@pytest.mark.skipif(os.name == "nt", reason="files have no such owner on Windows")
def test_a_run_of_another_user_is_neither_started_nor_cancelled(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(
        [*PROGRAM[:2], "-c", "input()", "napari_amil", "train"], stdin=subprocess.PIPE
    ) as child:
        write_process(run.folder / "process.json", psutil.Process(child.pid))
        monkeypatch.setattr(_run_folders.os, "getuid", lambda: 4321)
        with pytest.raises(AmilError, match="is no training of yours and was not ended"):
            run.cancel()
        assert child.poll() is None
        child.kill()
    with pytest.raises(AmilError, match=r"command\.json' belongs to another user and is not run"):
        run.start()


def test_only_a_training_of_this_program_is_ended(run: Run) -> None:
    file = run.folder / "process.json"
    in_folder = [str(run.folder / "napari-amil" / "other.py"), "train"]
    cases = (
        ([PROGRAM[-1], "train"], True),
        (["/usr/bin/napari-amil", "train"], True),
        (["napari_amil"], False),
        (["train"], False),
        (in_folder, False),
    )
    for words, is_ended in cases:
        command = [sys.executable, "-P", "-c", "input()", *words]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
            write_process(file, psutil.Process(child.pid))
            if is_ended:
                run.cancel()
                assert child.wait(30) != 0
                continue
            with pytest.raises(AmilError, match=f"Process {child.pid}, which '.*' names, is no training"):
                run.cancel()
            assert child.poll() is None
            child.kill()


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"pid": 1e999, "created": 1}', '{"pid": "a"}', '{"pid": -1, "created": 0}', "[" * 100_000],
)
def test_a_damaged_note_names_no_process(tmp_path: Path, text: str) -> None:
    (tmp_path / "process.json").write_text(text)
    assert find_process(tmp_path / "process.json") is None


@pytest.mark.skipif(os.name == "nt", reason="named pipes have no path on Windows")
def test_named_pipes_in_a_run_folder_are_not_opened(tmp_path: Path) -> None:
    for name in ("process.json", "command.json", "events.jsonl", "output.txt"):
        os.mkfifo(tmp_path / name)
    run = Run(tmp_path)
    assert run.arguments() == []
    assert not run.log.poll()
    assert run.status().state == "interrupted"


def test_a_training_imports_nothing_from_the_working_folder(tmp_path: Path) -> None:
    for name in ("torch", "json", "typer"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)")
    done = subprocess.run([*PROGRAM, "--help"], cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0

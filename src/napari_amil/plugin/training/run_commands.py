"""Command lines of runs: a training, a detector's fine-tuning, a row of the ablation table."""

from __future__ import annotations

import os
import shlex
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import DetectorTrainingSettings, RunSettings

ABLATION_RUNS = 3
"""Number of trainings of each fold for a row of the ablation, with different seeds."""
_SETTINGS = "run.yaml"


TRAINING, DETECTOR, ABLATION, NETWORKS = "train", "train-detector", "ablate", "train-anomaly"
"""Kinds of runs, called like their commands."""
KINDS = frozenset({TRAINING, DETECTOR, ABLATION, NETWORKS})
_COHORT_OPTIONS = {"--out", "--settings", "--device", "--bundle", "--hold-out-fold", "--folds", "--allow"}
_DETECTOR_OPTIONS = {"--out", "--start", "--device", "--steps", "--learning-rate", "--validation-share"}
_OPTIONS = {
    TRAINING: _COHORT_OPTIONS,
    ABLATION: _COHORT_OPTIONS | {"--rows", "--runs"},
    DETECTOR: _DETECTOR_OPTIONS | {"--freeze", "--seed"},
    NETWORKS: {"--out", "--model", "--device", "--bundle", "--steps", "--control"},
}
"""Options with a value that plans write; `check_arguments` refuses others."""


class RunCommand(ABC):
    """A command with a run folder."""

    out: Path
    """The run folder."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """Return the arguments of ``napari-amil``."""

    def command(self) -> str:
        """Return the line for a terminal that does the same."""
        return command_line(self.arguments())

    def write_settings(self) -> None:
        """Make the run folder, with ``run.yaml`` where the command needs one.

        Raises
        ------
        AmilError
            If the folder holds something else or cannot be written, or the settings cannot be read.
        """
        lay_out(self.out)


@dataclass(frozen=True)
class TrainingCommand(RunCommand):
    """The command of a training.

    Parameters
    ----------
    cohort
        Folder or cell list.
    out
        The run folder.
    settings
        Everything else that decides the result.
    bundle
        Model whose detector finds the cells; None for the starter.
    hold_out_fold, folds
        Kind of test: none, on one fold, on each of so many in turn, or on one of so many.
    allow
        Kinds of problems that do not refuse the cohort.
    """

    cohort: Path
    out: Path
    settings: RunSettings
    bundle: str | None = None
    device: str = "auto"
    hold_out_fold: int | None = None
    folds: int | None = None
    allow: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Return the arguments of ``napari-amil``."""
        given = ["train", str(self.cohort), "--out", str(self.out)]
        given += ["--settings", str(self.out / _SETTINGS), "--device", self.device]
        options = {"bundle": self.bundle, "hold-out-fold": self.hold_out_fold, "folds": self.folds}
        for name, value in options.items():
            given += [] if value is None else [f"--{name}", str(value)]
        for kind in self.allow:
            given += ["--allow", kind]
        return given

    def write_settings(self) -> None:
        """Make the run folder and write ``run.yaml``."""
        lay_out(self.out, self.settings.to_yaml())


@dataclass(frozen=True)
class DetectorCommand(RunCommand):
    """The command of the fine-tuning of a detector.

    Parameters
    ----------
    annotated
        Folder with annotated images, or a COCO file or table above them.
    out
        The run folder.
    settings
        Steps, step size, seed, share that judges; the rest is as the command line has it.
    start
        The bundle to start from; None for the starter.
    partial
        Whether some cells of the images carry no annotation.
    """

    annotated: Path
    out: Path
    settings: DetectorTrainingSettings
    start: str | None = None
    device: str = "auto"
    partial: bool = False

    def arguments(self) -> list[str]:
        """Return the arguments of ``napari-amil``."""
        chosen = self.settings
        given = ["train-detector", str(self.annotated), "--out", str(self.out)]
        given += ["--start", self.start or "starter", "--device", self.device]
        given += ["--steps", str(chosen.steps), "--learning-rate", str(chosen.learning_rate)]
        given += ["--validation-share", str(chosen.validation_share), "--freeze", chosen.freeze]
        given += ["--seed", str(chosen.seed)]
        return [*given, "--partial"] if self.partial else given


@dataclass(frozen=True)
class NetworksCommand(RunCommand):
    """The command that trains networks which redraw control cells, and adds their scores to a model.

    Parameters
    ----------
    cohort
        Cohort whose control samples the networks learn from.
    out
        The run folder.
    names
        Scores of the networks.
    bundle
        The model that gets them; None for the starter.
    steps
        Most optimiser steps of each training.
    """

    cohort: Path
    out: Path
    names: tuple[str, ...]
    bundle: str | None = None
    device: str = "auto"
    steps: int = 2000
    control: str = "control"

    def arguments(self) -> list[str]:
        """Return the arguments of ``napari-amil``."""
        given = ["train-anomaly", str(self.cohort), "--out", str(self.out), "--model", ",".join(self.names)]
        given += ["--control", self.control, "--steps", str(self.steps), "--device", self.device]
        return given if self.bundle is None else [*given, "--bundle", self.bundle]


@dataclass(frozen=True)
class AblationCommand(RunCommand):
    """The command of a training's row in the ablation table.

    Parameters
    ----------
    training
        Folder of the training, whose ``run.yaml`` says what the row is.
    given
        The arguments with which it was started.
    out
        Run folder of the row.
    """

    training: Path
    given: tuple[str, ...]
    out: Path

    def arguments(self) -> list[str]:
        """Return the arguments of ``napari-amil``: one row, with the folds and cells of the training."""
        parts = ["ablate", self.given[1], "--out", str(self.out), "--rows", "recommended"]
        parts += ["--settings", str(self.out / _SETTINGS), "--runs", str(ABLATION_RUNS)]
        for name, value in zip(self.given, self.given[1:], strict=False):
            if name in {"--device", "--bundle", "--hold-out-fold", "--folds", "--allow"}:
                parts += [name, value]
        return parts

    def write_settings(self) -> None:
        """Make the run folder with the ``run.yaml`` of the training."""
        settings = RunSettings.from_yaml(self.training / _SETTINGS)
        lay_out(self.out, settings.to_yaml())


def check_arguments(arguments: Sequence[str], out: Path) -> None:
    """Refuse arguments that no plan for the run folder ``out`` writes.

    Raises
    ------
    AmilError
        Naming the first argument that does not belong there.
    """
    kind, rest = (arguments[0] if arguments else ""), list(arguments[2:])
    if kind not in _OPTIONS or len(arguments) < 2 or arguments[1].startswith("-"):
        raise AmilError(f"The command of '{out}' is no training ('{kind}'); start a new one.")
    while rest:
        name = rest.pop(0)
        if kind == DETECTOR and name == "--partial":
            continue
        if name not in _OPTIONS[kind] or not rest:
            raise AmilError(f"The command of '{out}' has the unknown option '{name}'; start a new training.")
        value = rest.pop(0)
        if name == "--out" and Path(value).resolve() != out.resolve():
            raise AmilError(
                f"The command of '{out}' writes into another folder, '{value}'; start a new training."
            )


def command_line(arguments: list[str]) -> str:
    """Return a command as it is typed here."""
    words = ["napari-amil", *arguments]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def lay_out(out: Path, settings: str = "") -> None:
    """Make a run folder with ``run.yaml``, where there is something to write there.

    Raises
    ------
    AmilError
        If the folder holds something else, or cannot be written.
    """
    try:
        if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - {_SETTINGS}):
            raise AmilError(f"'{out}' exists and is not an empty folder; name another one for the run.")
        out.mkdir(parents=True, exist_ok=True)
        if settings:
            (out / _SETTINGS).write_text(settings, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise AmilError(
            f"The run folder '{out}' cannot be written ({reason}); choose another one."
        ) from error

"""Plan of a study: its trainings, their result files, and those that share an encoder."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_amil.core.base.errors import AmilError, CohortError, SettingsError
from napari_amil.core.base.events import Event, Warned
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Cohort
from napari_amil.core.cohort.bag_level import at_level
from napari_amil.core.cohort.checks import fold_of
from napari_amil.core.cohort.copies import leave_out_copies
from napari_amil.core.cohort.folds import assign_folds, split
from napari_amil.core.cohort.problems import enumerate_names
from napari_amil.core.evaluation.ablation import BASELINE, digest, encoder_stage
from napari_amil.core.evaluation.comparison import Truth
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.leak_guard import guarding
from napari_amil.core.instances.sources import Source
from napari_amil.core.studies.cells import StudyCells, cells_folder, gather_cells, open_cells
from napari_amil.core.studies.trials import Group, Trial

DEALT_FOLDS = 3
"""Folds into which patients are dealt where the cohort brings none along."""


@dataclass(frozen=True)
class StudyProtocol:
    """Folds to hold out, and number of runs.

    Parameters
    ----------
    runs
        Trainings of every row and fold, each with a seed of its own.
    hold_out_fold
        Test on this fold alone; without it on every fold in turn.
    inner
        Never touch ``hold_out_fold``: hold out every fold of the others in turn.
    n_folds
        Deal the patients into this many folds, whatever the cohort brings along.
    seed
        Seed of the folds that are dealt, and of all others.
    jobs
        Processes that train at the same time.
    allowed
        Kinds of problems of the cohort that do not refuse it (`guarding`).
    """

    runs: int = 5
    hold_out_fold: int | None = None
    inner: bool = False
    n_folds: int | None = None
    seed: int = 0
    jobs: int = 1
    allowed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.inner and self.hold_out_fold is None:
            raise SettingsError("--inner needs --hold-out-fold: name the fold that nobody may look at.")

    def source(self, source: Source) -> Source:
        """Return the bags that the study may use, each with a label and a fold."""
        cohort = source.cohort.where(lambda bag: bag.label is not None)
        cohort = self._dealt(cohort, self.n_folds or DEALT_FOLDS, anew=self.n_folds is not None)
        if self.hold_out_fold is not None:
            known = sorted({bag.fold for bag in cohort if bag.fold is not None})
            if self.hold_out_fold not in known:
                listed = ", ".join(map(str, known))
                raise CohortError(
                    f"There is no fold {self.hold_out_fold} to hold out; the folds are {listed}."
                )
        if self.inner:
            cohort = cohort.where(lambda bag: bag.fold != self.hold_out_fold)
            cohort = self._dealt(cohort, DEALT_FOLDS, anew=len({bag.fold for bag in cohort}) < 2)
        names = {image for bag in cohort for image in bag.images}
        return Source(cohort, {name: place for name, place in source.files.items() if name in names})

    def tested(self, cohort: Cohort) -> list[int]:
        """Return the folds that are held out in turn."""
        folds = sorted({bag.fold for bag in cohort if bag.fold is not None})
        one = self.hold_out_fold is not None and not self.inner
        return [fold for fold in folds if not one or fold == self.hold_out_fold]

    def _dealt(self, cohort: Cohort, n_folds: int, *, anew: bool) -> Cohort:
        if anew:
            cohort = replace(cohort, bags=tuple(replace(bag, fold=None) for bag in cohort))
        if all(bag.fold is not None for bag in cohort):
            return cohort
        return assign_folds(cohort, n_folds, self.seed)


class StudyPlan:
    """Trainings of a study, their folders, and the encoders that they share.

    Parameters
    ----------
    source
        Bags with folds.
    protocol
        Folds and runs.
    work
        Folder of everything that is kept.
    """

    def __init__(self, source: Source, protocol: StudyProtocol, work: Path) -> None:
        self.source = source
        self.protocol = protocol
        self.work = work
        self.trials: dict[str, list[Trial]] = {}
        self._copies: dict[int, tuple[str, ...]] = {}
        self._opened: dict[Path, StudyCells] = {}
        self._folds: dict[Path, NDArray[Any]] = {}
        self._level = ""

    def guard(self, settings: RunSettings) -> Generator[Event, None, None]:
        """Refuse a cohort with errors, and find images that are in training and test.

        Raises
        ------
        CohortError
            As `guarding`.
        """
        cohort = self.source.cohort
        yield from guarding(cohort, settings, fold_of, self.protocol.allowed)
        for fold in self.protocol.tested(cohort):
            _, copies, _ = leave_out_copies(*split(cohort, fold), self.source.files)
            self._copies[fold] = copies
            if copies:
                yield Warned(
                    f"{len(copies)} image(s) of other folds are also in fold {fold}, under this or another "
                    f"name, and leave the training for it: {enumerate_names(copies)}."
                )

    def add(
        self, row: str, settings: RunSettings, recipe: Recipe, unseen: str | None = None
    ) -> Generator[Event, None, None]:
        """StudyPlan a row; read the images if no row before has seen the cells in the same way.

        Parameters
        ----------
        unseen
            A class that is left out of every training of this row.

        Raises
        ------
        SettingsError
            If the bags of this row are others than those of the rows before.
        """
        if self._level not in {"", settings.bag_level}:
            raise SettingsError(
                f"The bags of row '{row}' ('{settings.bag_level}') are not those of the rows before it "
                f"('{self._level}'); compare rows with the same 'bag_level'."
            )
        self._level = settings.bag_level
        measured = unseen is not None or settings.model.measured or settings.model.morphology_weight > 0
        measured = measured or row == BASELINE
        recipe = replace(recipe, settings=settings)
        folder = cells_folder(self.source, recipe, self.work, measured=measured)
        yield from gather_cells(self.source, recipe, folder, measured=measured)
        cohort = self.source.cohort
        if folder not in self._opened:
            bags = at_level(cohort, settings.bag_level)
            self._opened[folder] = cells = open_cells(folder, cohort.classes, cohort.control).of_types(bags)
            self._folds[folder] = cells.table["bag"].map({bag.bag: bag.fold for bag in bags}).to_numpy()
        seeded = settings.changed({"training": {"seed": self.protocol.seed}})
        self.trials[row] = [
            self._trial(Trial(row, fold, run, seeded.for_run(fold, run), folder, self.work, None, unseen))
            for run in range(self.protocol.runs)
            for fold in self.protocol.tested(cohort)
        ]

    def groups(self) -> list[Group]:
        """Return the work that is left, the first run of all rows before the second."""
        together: dict[tuple[int, int, Path], dict[Path, Trial]] = {}
        for trial in (trial for trials in self.trials.values() for trial in trials):
            if not trial.result.exists():
                key = trial.run, trial.fold, trial.encoder or trial.result
                together.setdefault(key, {}).setdefault(trial.result, trial)
        return [self._group(tuple(trials.values())) for _, trials in sorted(together.items())]

    def complete(self) -> dict[str, dict[int, list[Trial]]]:
        """Return the trials of each row and run of which all folds are done."""
        found: dict[str, dict[int, list[Trial]]] = {row: {} for row in self.trials}
        for row, trials in self.trials.items():
            for run in range(self.protocol.runs):
                folds = [trial for trial in trials if trial.run == run]
                if all(trial.result.exists() for trial in folds):
                    found[row][run] = folds
        return found

    def missing(self) -> Generator[Event, None, None]:
        """Warn of rows of which not all runs are done.

        Raises
        ------
        AmilError
            If no run of any row is.
        """
        found = self.complete()
        if not any(found.values()):
            raise AmilError("No row could be trained in every fold; the reasons are listed above.")
        for row, runs in found.items():
            if len(runs) < self.protocol.runs:
                yield Warned(f"Row '{row}': {len(runs)} of {self.protocol.runs} runs are complete.")

    def opened(self, trial: Trial) -> tuple[StudyCells, NDArray[np.int64]]:
        """Return the cells of a trial, and the numbers of the bags that it tests."""
        return self._opened[trial.cells], self._sides(trial.cells, trial.fold)[1]

    def controls(self, trial: Trial) -> NDArray[np.int64]:
        """Return the numbers of the control bags that are a trial's reference."""
        train = self._sides(trial.cells, trial.fold)[0]
        bags = self._opened[trial.cells].bags
        return train[bags.roles[train] == bags.control_label]

    def truth(self) -> Truth:
        """Return labels, patients and cell types: the same for every row."""
        return next(iter(self._opened.values())).truth()

    def _trial(self, trial: Trial) -> Trial:
        """Return the trial with its files, named after all that they depend on."""
        train, test = self._sides(trial.cells, trial.fold)
        bags = self._opened[trial.cells].bags
        learned = [trial.cells.name, bags.take(train).fingerprint()]
        learned += [] if trial.unseen is None else [trial.unseen]
        learned += self._copies.get(trial.fold, ())
        learned += [BASELINE] if trial.row == BASELINE else []
        stage = None if trial.row == BASELINE else encoder_stage(trial.settings)
        encoder = self.work / f"encoder-{digest(stage, learned)}.safetensors" if stage else None
        result = self.work / f"{digest(trial.settings, learned, bags.take(test).fingerprint())}.safetensors"
        return replace(trial, result=result, encoder=encoder)

    def _group(self, trials: tuple[Trial, ...]) -> Group:
        cohort = self.source.cohort
        train, test = self._sides(trials[0].cells, trials[0].fold)
        copies = self._copies.get(trials[0].fold, ())
        return Group(trials, cohort.classes, cohort.control, train, test, copies)

    def _sides(self, folder: Path, fold: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the numbers of the training and of the test bags."""
        folds = self._folds[folder]
        return np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)

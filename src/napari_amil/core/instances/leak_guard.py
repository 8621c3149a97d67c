"""Refuse leaking or confounded cohorts before a training starts; drop copies of test images."""

from __future__ import annotations

from collections.abc import Collection, Generator
from dataclasses import replace
from typing import get_args

from napari_amil.core.base.errors import CohortError, SettingsError
from napari_amil.core.base.events import Event, Warned
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Cohort
from napari_amil.core.cohort.checks import PartOf, leaking_patients, quick_problems
from napari_amil.core.cohort.copies import leave_out_copies
from napari_amil.core.cohort.problems import Kind, enumerate_names
from napari_amil.core.instances.sources import Source, sources_by_fold


def guarding(
    cohort: Cohort, settings: RunSettings, part_of: PartOf | None = None, allowed: Collection[str] = ()
) -> Generator[Event, None, None]:
    """Yield the warnings of a cohort and refuse its errors, without reading an image.

    Parameters
    ----------
    part_of
        Names the part that a bag is in, where a training on some parts is tested on others: no patient
        may be in two.
    allowed
        Kinds of errors (`Kind`) that only warn.

    Raises
    ------
    CohortError
        With the first error that is not allowed, and the option that allows it.
    SettingsError
        If a name in ``allowed`` is of no kind of problem.
    """
    unknown = sorted(set(allowed) - set(get_args(Kind)))
    if unknown:
        raise SettingsError(
            f"There is no problem called {enumerate_names(unknown)} to allow; known are "
            f"{', '.join(get_args(Kind))}."
        )
    labelled = cohort.where(lambda bag: bag.label is not None)
    problems = list(quick_problems(labelled, settings.model.embedding_dim))
    if part_of is not None:
        problems += leaking_patients(labelled, part_of)
    refused = [p for p in problems if p.severity == "error" and p.kind not in allowed]
    if refused:
        first, others = refused[0], len(refused) - 1
        more = f" ({others} more: 'napari-amil check' lists them)" if others else ""
        sentence = first.message.removesuffix(".")
        raise CohortError(f"{sentence}{more}, or go on all the same with --allow {first.kind}.")
    for problem in problems:
        yield Warned(problem.message)


def sources_without_copies(
    source: Source, held_out_fold: int
) -> Generator[Event, None, tuple[Source, Source]]:
    """Return training and test part of a source; images of the test part leave the training part.

    An image that serves both parts, or whose file is a copy of one of the test part, is left out of the
    training with a `Warned` that names it.

    Raises
    ------
    CohortError
        If a bag has no fold, or one of the two parts would be empty.
    """
    train, test = sources_by_fold(source, held_out_fold)
    cohort, copies, lost = leave_out_copies(train.cohort, test.cohort, source.files)
    if copies:
        gone = f", and with them the bag(s) {enumerate_names(lost)}" if lost else ""
        yield Warned(
            f"{len(copies)} image(s) of the training part are also in the test part, fold {held_out_fold}, "
            f"under this or another name, and are left out of the training: {enumerate_names(copies)}{gone}."
        )
    return replace(train, cohort=cohort), test

"""Assign patients to stratified folds; all bags of a patient share one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.types import Bag, Cohort


def assign_folds(cohort: Cohort, n_folds: int, seed: int) -> Cohort:
    """Return the cohort with every bag in one of ``n_folds`` folds, all bags of a patient in the same.

    The patients, in random order but those with most bags first, go to the fold that holds the fewest
    bags of their class, then the fewest bags at all. Fold numbers that the cohort brings along stay,
    and the other bags of those patients follow (the stratified splitters of scikit-learn cannot start
    from folds that are partly given).

    Raises
    ------
    CohortError
        If ``n_folds`` is below 2 or above the number of patients, or a patient is in two folds.
    """
    patients = patients_of(cohort)
    if not 2 <= n_folds <= len(patients):
        raise CohortError(
            f"{len(patients)} patient(s) cannot be dealt into {n_folds} folds; take 2 to {len(patients)}."
        )
    fold_of = _given_folds(patients)
    order = sorted(patients)
    np.random.default_rng(seed).shuffle(order)
    order.sort(key=lambda patient: -len(patients[patient]))
    given = set(fold_of.values())
    others = (fold for fold in range(2 * n_folds) if fold not in given)
    folds = sorted([*given, *islice(others, max(n_folds - len(given), 0))])
    of_class = Counter[tuple[str | None, int]]()
    of_all = Counter[int]()
    for patient in [*fold_of, *(name for name in order if name not in fold_of)]:
        label, n_bags = patients[patient][0].label, len(patients[patient])
        if patient not in fold_of:
            fold_of[patient] = min(folds, key=lambda fold: (of_class[label, fold], of_all[fold], fold))
        of_class[label, fold_of[patient]] += n_bags
        of_all[fold_of[patient]] += n_bags
    return replace(cohort, bags=tuple(replace(bag, fold=fold_of[bag.patient]) for bag in cohort))


def split(cohort: Cohort, held_out_fold: int) -> tuple[Cohort, Cohort]:
    """Return the bags outside and inside one fold.

    Raises
    ------
    CohortError
        If a bag has no fold, or one of the two parts would be empty.
    """
    folds = {bag.fold for bag in cohort}
    if None in folds:
        first = next(bag.bag for bag in cohort if bag.fold is None)
        raise CohortError(
            f"The bag '{first}' has no fold; fill in the column 'fold' of the cell list for every bag, or "
            "let the patients be dealt with --folds."
        )
    if held_out_fold not in folds or len(folds) < 2:
        known = ", ".join(str(fold) for fold in sorted(fold for fold in folds if fold is not None))
        raise CohortError(
            f"Fold {held_out_fold} cannot be held out of the folds {known}; name one of several."
        )
    train = cohort.where(lambda bag: bag.fold != held_out_fold)
    return train, cohort.where(lambda bag: bag.fold == held_out_fold)


def patients_of(cohort: Cohort) -> dict[str, list[Bag]]:
    """Return the bags of each patient, in the order of the cohort."""
    patients: dict[str, list[Bag]] = {}
    for bag in cohort:
        patients.setdefault(bag.patient, []).append(bag)
    return patients


def _given_folds(patients: dict[str, list[Bag]]) -> dict[str, int]:
    """Return the folds that the cohort brings along."""
    given: dict[str, int] = {}
    for patient, bags in patients.items():
        folds = {bag.fold for bag in bags if bag.fold is not None}
        if len(folds) > 1:
            raise CohortError(
                f"Patient '{patient}' is in the folds {', '.join(map(str, sorted(folds)))}; keep one of them."
            )
        if folds:
            given[patient] = folds.pop()
    return given

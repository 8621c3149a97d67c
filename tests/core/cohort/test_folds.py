"""No patient serves two folds, and every fold resembles the cohort."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.types import Bag, Cohort
from napari_amil.core.cohort.folds import assign_folds, split


def cohort_of(patients: list[tuple[str, int]], given_folds: dict[int, int] | None = None) -> Cohort:
    """Return a cohort in which patient ``i`` has the label and number of bags of ``patients[i]``."""
    folds = given_folds or {}
    bags = [
        Bag(f"p{i}/{b}", f"p{i}", (f"{i}-{b}.png",), label=label, fold=folds.get(i) if b == 0 else None)
        for i, (label, n_bags) in enumerate(patients)
        for b in range(n_bags)
    ]
    return Cohort("", tuple(bags), ("control", "sick"))


anyone = st.lists(st.tuples(st.sampled_from(["control", "sick"]), st.integers(1, 4)), min_size=4, max_size=30)


@given(anyone, st.integers(2, 4), st.integers(0, 99))
def test_patients_stay_together_and_classes_are_even(
    patients: list[tuple[str, int]], n_folds: int, seed: int
) -> None:
    dealt = assign_folds(cohort_of(patients), n_folds, seed)
    assert [bag.bag for bag in dealt] == [bag.bag for bag in cohort_of(patients)]
    assert len({(bag.patient, bag.fold) for bag in dealt}) == len(patients)
    for label in ("control", "sick"):
        counts = Counter(bag.fold for bag in dealt if bag.label == label)
        largest = max((n for name, n in patients if name == label), default=0)
        assert max(counts.values(), default=0) - min(counts.get(f, 0) for f in range(n_folds)) <= largest


def test_the_seed_decides() -> None:
    cohort = cohort_of([("control", 1)] * 12 + [("sick", 1)] * 12)
    folds = [[bag.fold for bag in assign_folds(cohort, 3, seed)] for seed in (1, 1, 2)]
    assert folds[0] == folds[1] != folds[2]
    assert Counter(folds[0][:12]) == Counter(folds[0][12:]) == {0: 4, 1: 4, 2: 4}


@pytest.mark.parametrize("seed", range(8))
def test_patients_with_most_bags_are_dealt_first(seed: int) -> None:
    cohort = cohort_of([("control", 1)] * 2 + [("control", 4)] + [("control", 1)] * 2)
    dealt = assign_folds(cohort, 2, seed)
    assert sorted(Counter(bag.fold for bag in dealt).values()) == [4, 4]


def test_given_folds_are_obeyed() -> None:
    cohort = cohort_of([("control", 2), ("control", 2), ("sick", 1), ("sick", 1)], {0: 5, 2: 5})
    folds = {bag.patient: bag.fold for bag in assign_folds(cohort, 2, 0)}
    assert folds == {"p0": 5, "p1": 0, "p2": 5, "p3": 0}


def test_impossible_folds_are_refused() -> None:
    cohort = cohort_of([("control", 2), ("sick", 1)])
    with pytest.raises(CohortError, match=r"2 patient\(s\) cannot be dealt into 3 folds; take 2 to 2"):
        assign_folds(cohort, 3, 0)
    torn = [Bag("a", "p", ("a",), fold=0, label="control"), Bag("b", "p", ("b",), fold=1, label="control")]
    torn.append(Bag("c", "q", ("c",), label="control"))
    with pytest.raises(CohortError, match="Patient 'p' is in the folds 0, 1"):
        assign_folds(Cohort("", tuple(torn), ("control",)), 2, 0)


def test_split_takes_one_fold_out() -> None:
    dealt = assign_folds(cohort_of([("control", 2)] * 6), 3, 0)
    train, test = split(dealt, 1)
    assert {bag.fold for bag in train} == {0, 2}
    assert {bag.fold for bag in test} == {1}
    assert len(train) + len(test) == 12
    with pytest.raises(CohortError, match="Fold 3 cannot be held out of the folds 0, 1, 2"):
        split(dealt, 3)
    with pytest.raises(CohortError, match=r"The bag 'p0/0' has no fold; .* --folds"):
        split(cohort_of([("control", 2)]), 0)

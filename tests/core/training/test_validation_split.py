"""Patients stay whole, and every class is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_amil.core.training.validation_split import draw_bags, split_patients

LABELS = np.array([0] * 12 + [1] * 6 + [2] * 4)
PATIENTS = (
    [f"a{i % 6}" for i in range(12)] + [f"b{i % 3}" for i in range(6)] + [f"c{i % 2}" for i in range(4)]
)


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_on_both_sides(seed: int) -> None:
    inside, outside = split_patients(LABELS, PATIENTS, 0.34, seed)
    assert sorted([*inside, *outside]) == list(range(22))
    names = np.array(PATIENTS)
    assert not set(names[inside]) & set(names[outside])
    held = set(names[outside])
    assert len({name for name in held if name.startswith("a")}) == 2
    assert len({name for name in held if name.startswith("b")}) == 1


def test_a_class_with_two_patients_keeps_both() -> None:
    _, outside = split_patients(LABELS, PATIENTS, 0.49, 0)
    assert 2 not in LABELS[outside]


def test_the_seed_decides() -> None:
    first, again, other = (split_patients(LABELS, PATIENTS, 0.3, seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_balanced_drawing_shows_every_class_equally_often() -> None:
    labels = torch.from_numpy(LABELS)
    drawn = draw_bags(labels, torch.Generator().manual_seed(0), balance=1.0)
    assert len(drawn) == 22
    assert np.bincount(labels[drawn]).min() >= 6
    rare = np.bincount(drawn.numpy(), minlength=22)[18:]
    assert rare.max() - rare.min() <= 1


def test_half_balanced_drawing_lies_between() -> None:
    labels = torch.tensor([0] * 81 + [1] * 9)
    drawn = draw_bags(labels, torch.Generator().manual_seed(0), balance=0.5)
    assert abs(int((labels[drawn] == 1).sum()) - 90 * 3 / 12) <= 1


def test_unbalanced_drawing_shows_every_bag_once() -> None:
    drawn = draw_bags(torch.from_numpy(LABELS), torch.Generator().manual_seed(0), balance=0.0)
    assert sorted(drawn.tolist()) == list(range(22))
    assert drawn.tolist() != list(range(22))

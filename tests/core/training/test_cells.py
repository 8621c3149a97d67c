"""Every cell is learned with the labels of all its bags, and every class equally often."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_amil.core.base.settings import TrainingSettings
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.training.cells import LabelledCells

ROWS = tuple(np.array(rows) for rows in ([0, 1, 2, 3], [3, 4], [5, 4]))
BAGS = BagArrays(
    np.zeros((8, 3, 4, 4), np.uint8),
    ROWS,
    np.array([0, 1, 1]),
    ("a", "b", "c"),
    ("control", "ill"),
    "control",
)


def test_targets_are_the_labels_of_all_bags_of_a_cell() -> None:
    cells = LabelledCells.of(BAGS, TrainingSettings(balance_classes=False))
    assert cells.rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert cells.targets[:, 1].tolist() == [0, 0, 0, 0.5, 1, 1]
    assert cells.weight.tolist() == [1, 1, 1, 2, 2, 1]
    assert cells.share == pytest.approx(0.5 / (0.5 + 0.5 * 0.75))


def test_balanced_cells_show_every_class_equally_often() -> None:
    few = BAGS.take([0, 1])  # four control cells, two of ill bags
    cells = LabelledCells.of(few, TrainingSettings())
    drawn = (cells.weight[:, None] * cells.targets).sum(0)
    torch.testing.assert_close(drawn, torch.ones(2, dtype=torch.float64))
    assert cells.targets[3].tolist() == pytest.approx([1 / 3, 2 / 3])


def test_an_epoch_draws_as_many_cells_as_there_are() -> None:
    cells = LabelledCells.of(BAGS, TrainingSettings())
    steps = list(cells.draw(4, torch.Generator().manual_seed(0)))
    assert [len(step) for step in steps] == [3, 3]
    assert int(torch.cat(steps).max()) < 6

"""Bags of different sizes lie end to end; nothing is padded and no bag is empty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_amil.core.base.errors import AmilError
from napari_amil.core.mil.batch import BagArrays, RaggedBatch, segment_extreme, segment_softmax, segment_sum

LENGTHS = torch.tensor([2, 1, 3])
SEGMENT = torch.tensor([0, 0, 1, 2, 2, 2])


def bag_arrays() -> BagArrays:
    instances = np.arange(5 * 3 * 2 * 2, dtype=np.uint8).reshape(5, 3, 2, 2)
    rows = tuple(np.array(row) for row in ([0, 1], [1, 2, 3], [4]))
    return BagArrays(instances, rows, np.array([0, 1, 0]), ("a", "b", "c"), ("control", "ill"), "control")


def test_segments_follow_the_lengths() -> None:
    batch = RaggedBatch(torch.zeros(6, 4), LENGTHS)
    assert batch.n_bags == 3
    assert torch.equal(batch.segment, SEGMENT)


def test_segment_functions_equal_those_of_each_bag_alone() -> None:
    values = torch.randn(6)
    parts = values.split(LENGTHS.tolist())
    torch.testing.assert_close(segment_sum(values, SEGMENT, 3), torch.stack([part.sum() for part in parts]))
    torch.testing.assert_close(
        segment_extreme(values, SEGMENT, 3, "amin"), torch.stack([p.min() for p in parts])
    )
    torch.testing.assert_close(segment_softmax(values, SEGMENT, 3), torch.cat([p.softmax(0) for p in parts]))


def test_the_softmax_survives_large_numbers() -> None:
    a = segment_softmax(torch.tensor([1e4, -1e4, 1e4, 0.0, 0.0, 0.0]), SEGMENT, 3)
    torch.testing.assert_close(a, torch.tensor([1.0, 0.0, 1.0, 1 / 3, 1 / 3, 1 / 3]))


def test_a_control_bag_that_teaches_only_the_classes_gives_no_control_cell() -> None:
    bags = replace(bag_arrays(), reference=np.array([True, True, False]))
    assert bag_arrays().control_cells()[0].tolist() == [0, 1, 4]
    assert bags.control_cells()[0].tolist() == [0, 1]
    assert bags.control_cells(teaching=True)[0].tolist() == [0, 1, 4]
    assert bags.roles.tolist() == [0, 1, 2]
    assert bags.take([2, 0]).control_cells()[0].tolist() == [0, 1]
    assert bags.fingerprint() != bag_arrays().fingerprint()
    assert replace(bags, reference=np.ones(3, dtype=bool)).fingerprint() == bag_arrays().fingerprint()


@pytest.mark.parametrize("lengths", [[2, 0, 4], []])
def test_empty_bags_are_refused(lengths: list[int]) -> None:
    with pytest.raises(AmilError, match="without cells"):
        RaggedBatch(torch.zeros(6, 4), torch.tensor(lengths, dtype=torch.int64))


def test_lengths_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(AmilError, match="hold 6 cells, but 5"):
        RaggedBatch(torch.zeros(5, 4), LENGTHS)


def test_a_batch_of_bags_holds_their_cells_in_order() -> None:
    batch = bag_arrays().batch([1, 0])
    assert batch.lengths.tolist() == [3, 2]
    assert batch.labels is not None
    assert batch.labels.tolist() == [1, 0]
    np.testing.assert_array_equal(batch.instances.pixels.numpy(), bag_arrays().instances[[1, 2, 3, 0, 1]])


def test_instances_that_no_bag_holds_have_no_place() -> None:
    used, position = bag_arrays().take([1]).used()
    assert used.tolist() == [1, 2, 3]
    assert position.tolist() == [-1, 0, 1, 2, -1]
    assert not len(bag_arrays().take([]).used()[0])


def test_control_cells_are_listed_once_with_their_patient() -> None:
    rows, patients = bag_arrays().control_cells()
    assert rows.tolist() == [0, 1, 4]
    assert patients == ("a", "a", "c")


def test_bags_of_unequal_columns_are_refused() -> None:
    whole = bag_arrays()
    with pytest.raises(ValueError, match="3 bags, 2 labels"):
        BagArrays(whole.instances, whole.rows, whole.labels[:2], whole.patients, whole.classes, "control")

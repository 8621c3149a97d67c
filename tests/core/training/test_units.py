"""Units that are held out are independent of those that stay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.training.units import groups_of_units, independent_units, split_units, weighed_controls


def bag_arrays(rows: list[list[int]], patients: list[str], labels: list[int]) -> BagArrays:
    n = 1 + max(row for own in rows for row in own)
    crops = np.zeros((n, 3, 4, 4), np.uint8)
    cells = tuple(np.array(own) for own in rows)
    return BagArrays(crops, cells, np.array(labels), tuple(patients), ("control", "ill"), "control")


def test_patients_are_the_units_where_each_has_images_of_their_own() -> None:
    bags = bag_arrays([[0, 1], [2], [3, 5]], ["a", "a", "b"], [0, 0, 1])
    images = ["x", "y", "y", "z", "?", "z"]
    assert independent_units(bags, images).tolist() == ["a", "a", "a", "b", "", "b"]
    assert independent_units(bags).tolist() == ["a", "a", "a", "b", "", "b"]


def test_images_are_the_units_where_patients_share_them() -> None:
    by_image = bag_arrays([[0, 1], [2, 3]], ["a", "b"], [0, 1])
    assert independent_units(by_image, ["x", "y", "y", "z"]).tolist() == ["x", "y", "y", "z"]
    by_cell = bag_arrays([[0, 1], [1, 2]], ["a", "b"], [0, 1])
    assert independent_units(by_cell, ["x", "y", "z"]).tolist() == ["x", "y", "z"]


@pytest.mark.parametrize("seed", range(3))
def test_units_are_dealt_class_by_class_and_stay_whole(seed: int) -> None:
    patients = [f"c{i // 2}" for i in range(12)] + [f"i{i}" for i in range(4)]
    bags = bag_arrays([[2 * i, 2 * i + 1] for i in range(16)], patients, [0] * 12 + [1] * 4)
    units = independent_units(bags)
    part = split_units(bags, units, 3, seed)
    assert all(len(set(part[units == name])) == 1 for name in set(units))
    for letter, n in (("c", 6), ("i", 4)):
        of_unit = [part[units == name][0] for name in sorted(set(units)) if name.startswith(letter)]
        assert sorted(np.bincount(of_unit, minlength=3)) == ([2, 2, 2] if n == 6 else [1, 1, 2])


def test_the_only_patient_of_a_class_and_cells_of_no_bag_are_never_left_out() -> None:
    bags = bag_arrays([[0], [1], [3]], ["a", "b", "c"], [0, 0, 1])
    part = split_units(bags, independent_units(bags), 2, 0)
    assert part[[2, 3]].tolist() == [-1, -1]
    assert sorted(part[:2]) == [0, 1]


@pytest.mark.parametrize("seed", range(20))
def test_no_part_holds_all_units_of_a_class_that_shares_them(seed: int) -> None:
    shared = [[0, 1], [2, 3], [4, 5], [6, 7], [0], [2]]
    bags = bag_arrays(shared, ["a", "b", "c", "d", "e", "f"], [0, 0, 0, 0, 1, 1])
    units = independent_units(bags, np.repeat(["w", "x", "y", "z"], 2))
    part = split_units(bags, units, 2, seed)
    assert all(len(set(part[units == name])) == 1 for name in "wxyz")
    for label in (0, 1):
        of_class = np.concatenate(
            [own for own, of in zip(bags.rows, bags.labels, strict=True) if of == label]
        )
        for number in range(2):
            assert (part[of_class] != number).any()


def test_each_class_begins_with_the_part_after_the_last_of_the_class_before() -> None:
    patients = ["c0", "c1", "c2", "c3", "i0", "i1"]
    bags = bag_arrays([[i] for i in range(6)], patients, [0] * 4 + [1] * 2)
    for seed in range(10):
        part = split_units(bags, independent_units(bags), 3, seed)
        assert sorted(part[:4]) == [0, 0, 1, 2]
        assert sorted(part[4:]) == [1, 2]  # without the offset it would be 0 and 1, and part 0 three cells
        assert np.bincount(part).tolist() == [2, 2, 2]


def test_units_of_classes_before_do_not_count_twice() -> None:
    shared = bag_arrays([[0], [1], [2], [0], [3], [4]], ["a", "b", "c", "a", "d", "e"], [0, 0, 0, 1, 1, 1])
    part = split_units(shared, independent_units(shared, ["a", "b", "c", "d", "e"]), 2, 0)
    assert sorted(part[:3]) == [0, 0, 1]
    assert sorted(part[3:]) == [0, 1]


def test_a_seed_gives_one_split_and_another_seed_another() -> None:
    bags = bag_arrays([[i] for i in range(12)], [f"p{i:02}" for i in range(12)], [0] * 12)
    units = independent_units(bags)
    splits = [split_units(bags, units, 3, seed).tolist() for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_slides_are_the_units_where_patients_share_them() -> None:
    bags = bag_arrays([[0, 1], [2, 3]], ["a", "b"], [0, 1])
    images = ["w", "x", "y", "z"]
    assert independent_units(bags, images, np.array(["s", "s", "t", "t"])).tolist() == ["a", "a", "b", "b"]
    assert independent_units(bags, images, np.array(["s", "t", "t", "t"])).tolist() == ["s", "t", "t", "t"]


@pytest.mark.parametrize("seed", range(5))
def test_the_units_with_most_cells_come_into_different_parts(seed: int) -> None:
    rows = [[*range(40)], [*range(40, 70)], *[[70 + i] for i in range(6)]]
    bags = bag_arrays(rows, [f"p{i}" for i in range(8)], [0] * 8)
    part = split_units(bags, independent_units(bags), 3, seed)
    assert part[0] != part[40]


def test_units_that_share_a_bag_are_left_out_together() -> None:
    bags = bag_arrays([[0, 1], [1, 2], [3], [4, 5]], ["a", "b", "c", "d"], [0, 1, 0, 1])
    units = np.array(["x", "y", "z", "u", "v", "w"])
    assert groups_of_units(bags, units).tolist() == ["x", "x", "x", "u", "v", "v"]


def test_units_stay_apart_where_a_class_would_be_in_one_group() -> None:
    bags = bag_arrays([[0, 1], [1, 2], [2, 3], [4]], ["a", "b", "c", "d"], [0, 1, 1, 0])
    units = np.array(["x", "y", "z", "u", "v"])
    assert groups_of_units(bags, units).tolist() == units.tolist()


def test_no_part_holds_all_of_the_reference() -> None:
    cells = [[i] for i in range(6)]
    bags = bag_arrays(cells, list("abcdef"), [0, 0, 0, 0, 1, 1])
    bags = replace(bags, reference=np.array([True, True, False, False, True, True]))
    for seed in range(20):
        part = split_units(bags, independent_units(bags), 2, seed)
        assert part[0] != part[1]
        assert part[2] != part[3]


def test_a_cell_of_no_bag_is_in_no_group() -> None:
    bags = bag_arrays([[0], [1], [2], [4]], ["a", "b", "c", "d"], [0, 1, 0, 1])
    units = np.array(["a", "b", "c", "", "d"])
    assert groups_of_units(bags, units).tolist() == units.tolist()


def test_controls_that_are_no_reference_tell_how_units_differ() -> None:
    rows = [list(range(12)), list(range(12, 32)), [32]]
    bags = replace(bag_arrays(rows, ["a", "b", "c"], [0, 0, 1]), reference=np.array([True, False, True]))
    cells, patients, weights = weighed_controls(bags, alike=True)
    assert weights is not None
    assert cells.tolist() == list(range(32))
    assert patients == ("a",) * 12 + ("b",) * 20
    np.testing.assert_allclose(weights.mean, [1 / 12] * 12 + [0] * 20)
    np.testing.assert_allclose(weights.covariance, [1 / 24] * 12 + [1 / 40] * 20)
    by_slide = replace(bags, units=np.array(["s"] * 32 + ["t"]))
    slides = weighed_controls(by_slide, alike=True)[2]
    assert slides is not None
    np.testing.assert_allclose(slides.covariance, 1 / 32)
    assert weighed_controls(bags, alike=False)[2] is None
    assert weighed_controls(bags, alike=False)[0].tolist() == list(range(12))

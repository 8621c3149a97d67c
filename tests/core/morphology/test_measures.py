"""Measurements take the values that geometry gives them, at every magnification and stain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_amil.core.base.types import Cells, box_outline
from napari_amil.core.cohort.smear import SynthSettings, synthetic_smear
from napari_amil.core.images.normalise import normalise
from napari_amil.core.morphology.masks import cell_grid
from napari_amil.core.morphology.measures import NAMES, OF_PARTS, is_empty, measure

Draw = Callable[..., tuple[np.ndarray, Cells]]


def values(field: np.ndarray, cells: Cells, diameter_px: float = 40.0) -> dict[str, float]:
    return dict(zip(NAMES, measure(field, cells, diameter_px)[0], strict=True))


def test_a_disc_is_round_full_and_flat(draw: Draw) -> None:
    found = values(*draw())
    assert found["diameter"] == pytest.approx(1.0, abs=0.02)
    assert found["diameter_px"] == pytest.approx(40.0, abs=0.8)
    assert found["density"] == pytest.approx(0.4, abs=0.01)
    assert found["density_total"] == pytest.approx(0.4, abs=0.03)
    assert found["blueness"] == pytest.approx(np.log(0.6), abs=0.02)
    for name in ("aspect_ratio", "form_factor", "convexity"):
        assert found[name] == pytest.approx(1.0, abs=0.02), name
    assert found["solidity"] > 0.96
    for name in (
        "roughness",
        "tail",
        "skew",
        "angularity",
        "slit",
        "pallor_area",
        "spicules",
        "density_shift",
    ):
        assert found[name] == pytest.approx(0.0, abs=0.012), name


@pytest.mark.parametrize("ratio", [1.5, 2.0, 2.5])
def test_an_ellipse_has_its_aspect_ratio(draw: Draw, ratio: float) -> None:
    a, b = np.sqrt(ratio), 1 / np.sqrt(ratio)
    found = values(*draw(lambda angle: a * b / np.hypot(b * np.cos(angle), a * np.sin(angle))))
    assert found["aspect_ratio"] == pytest.approx(ratio, rel=0.04)
    assert found["diameter"] == pytest.approx(1.0, abs=0.03)
    assert found["form_factor"] < 0.97
    assert found["spicules"] == 0
    assert found["roughness"] < 0.012
    assert found["angularity"] < 0.012


def test_spicules_are_counted(draw: Draw) -> None:
    found = values(*draw(lambda angle: 0.9 * (1 + 0.08 * np.cos(10 * angle))))
    assert found["spicules"] == 10
    assert found["roughness"] == pytest.approx(0.08 / np.sqrt(2), rel=0.25)


def test_a_triangle_is_angular(draw: Draw) -> None:
    found = values(*draw(lambda angle: 0.9 * (1 + 0.12 * np.cos(3 * angle))))
    assert found["angularity"] == pytest.approx(0.12, rel=0.1)
    assert found["roughness"] < 0.02


def test_a_tail_is_seen_by_tail_and_skew(draw: Draw) -> None:
    found = values(*draw(lambda angle: 0.75 + 0.75 * np.exp(-((angle / 0.25) ** 2))))
    round_cell = values(*draw())
    assert found["tail"] > round_cell["tail"] + 0.05
    assert found["skew"] > round_cell["skew"] + 0.3


def test_a_notch_lowers_solidity(draw: Draw) -> None:
    found = values(*draw(lambda angle: 1 - 0.8 * np.exp(-((angle / 0.4) ** 2))))
    assert found["solidity"] < 0.93


def test_pallor_has_area_and_depth(draw: Draw) -> None:
    found = values(*draw(profile=lambda share: np.where(share < 0.5, 0.16, 0.4)))
    assert found["pallor_area"] == pytest.approx(0.25, abs=0.05)
    assert found["pallor_depth"] == pytest.approx(0.6, abs=0.05)
    assert found["pallor_elongation"] == pytest.approx(1.0, abs=0.05)
    assert found["slit"] < 0.03
    assert found["target"] < 0.05


def test_a_target_is_darker_in_the_middle_than_around_it(draw: Draw) -> None:
    rings = values(*draw(profile=lambda share: np.where(share < 0.22, 0.4, np.where(share < 0.6, 0.12, 0.4))))
    pale = values(*draw(profile=lambda share: np.where(share < 0.6, 0.12, 0.4)))
    assert rings["target"] > 0.3
    assert pale["target"] < 0.05


def test_a_slit_of_pallor_is_long(draw: Draw) -> None:
    field, cells = draw()
    middle = field.shape[0] // 2
    field[middle - 3 : middle + 3, middle - 11 : middle + 11] **= 0.2
    found = values(field, cells)
    assert found["pallor_elongation"] > 2.5
    assert found["slit"] > 0.05


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_magnification_changes_nothing(draw: Draw, scale: float) -> None:
    shape = {"radius": lambda angle: 0.9 * (1 + 0.12 * np.cos(2 * angle)), "profile": lambda s: 0.2 + 0.3 * s}
    one, other = values(*draw(**shape)), values(*draw(**shape, scale=scale), 40.0 * scale)
    for name in ("diameter", "diameter_px", "aspect_ratio", "form_factor", "density", "pallor_depth"):
        assert other[name] == pytest.approx(one[name], rel=0.06), name


def test_a_pale_cell_has_the_size_and_pallor_of_a_dark_one(draw: Draw) -> None:
    dark, cells = draw(profile=lambda share: 0.15 + 0.4 * share)
    pale = dark**0.5
    one, other = values(dark, cells), values(pale, cells)
    for name in ("diameter", "aspect_ratio", "pallor_area", "pallor_depth", "density_variation", "blueness"):
        assert other[name] == pytest.approx(one[name], abs=0.03), name
    assert other["density"] == pytest.approx(0.5 * one["density"], rel=0.05)


def test_a_cell_is_measured_alike_alone_and_among_many() -> None:
    smear = synthetic_smear(3, SynthSettings(height=240, width=240, n_cells=14))
    field, cells = normalise(smear.image), smear.cells
    together = measure(field, cells, 40.0)
    alone = np.concatenate([measure(field, cells.take([row]), 40.0) for row in range(len(cells))])
    np.testing.assert_allclose(alone, together, rtol=1e-9, atol=1e-9)


def test_no_cells_give_no_rows() -> None:
    assert measure(np.ones((50, 50, 3), np.float32), Cells(np.zeros((0, 4))), 40.0).shape == (0, len(NAMES))


def test_of_a_cut_cell_only_the_stain_is_known(draw: Draw) -> None:
    field, cells = draw()
    field = field[30:]
    _, x0, y1, x1 = cells.boxes[0]
    found = values(field, Cells(np.array([[0, x0, y1 - 30, x1]])))
    assert {name for name, value in found.items() if np.isfinite(value)} == set(OF_PARTS)


def test_an_empty_box_is_unknown_and_no_error() -> None:
    field = np.ones((90, 90, 3), np.float32)
    found = measure(field, Cells(np.array([[20, 20, 60, 60], [30, 30, 31, 31]])), 40.0)
    assert np.isnan(found).all()
    assert is_empty(found).tolist() == [True, True]
    found[1, NAMES.index("density")] = 0.5  # the border of the image cuts it
    assert is_empty(found).tolist() == [True, False]


def test_the_edge_of_a_neighbour_is_no_cell_and_a_small_fragment_is_one(draw: Draw) -> None:
    field, cells = draw()
    beside = Cells(cells.boxes + np.array([0, 31, 0, 31], np.float32))
    assert is_empty(measure(field, beside, 40.0)).all()
    outlined = Cells(beside.boxes, cells.outlines)
    assert not is_empty(measure(field, outlined, 40.0)).any()
    fragment, _ = draw(lambda angle: 0.5)
    found = values(np.roll(fragment, 7, axis=(0, 1)), cells)
    assert found["diameter"] == pytest.approx(0.5, rel=0.15)  # what fills little of its box looks larger


@pytest.mark.parametrize("colour", [(0.1, 0.1, 0.1), (0.1, 0.75, 0.95)])
def test_of_a_cell_behind_a_pointer_or_a_printed_line_nothing_is_known(
    draw: Draw, colour: tuple[float, float, float]
) -> None:
    field, cells = draw()
    spot, line = field.copy(), field.copy()
    spot[36:42, 36:42] = colour
    line[:, 36:42] = colour
    assert is_empty(np.concatenate([measure(f, cells, 40.0) for f in (field, spot, line)])).tolist() == [
        False,
        False,
        True,
    ]


def test_a_neighbour_that_touches_is_left_out(draw: Draw) -> None:
    field, cells = draw()
    both = np.minimum(field, np.roll(field, 38, axis=1))
    assert values(both, cells)["diameter"] == pytest.approx(values(field, cells)["diameter"], rel=0.06)


def circle(centre: float, radius: float = 20.0) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    return np.stack([40 + radius * np.sin(angle), centre + radius * np.cos(angle)], axis=1).astype(np.float32)


def test_a_cell_under_another_is_measured_as_if_it_lay_alone(draw: Draw) -> None:
    field, _ = draw(profile=lambda share: 0.2 + 0.2 * share)
    both = field * np.roll(field, 26, axis=1)  # densities add where both lie
    middle, right = circle(40.0), circle(66.0)
    box = np.array([[20, 20, 60, 60]], np.float32)
    alone = values(field, Cells(box, (middle,)))
    found = values(both, Cells(box, (middle,), others=(right,)))
    unaware = values(both, Cells(box))
    for name, within in {
        "diameter": 0.03,
        "density": 0.02,
        "pallor_depth": 0.05,
        "aspect_ratio": 0.03,
    }.items():
        assert found[name] == pytest.approx(alone[name], abs=within), name
    assert found["density_variation"] < 1.2 * alone["density_variation"] < unaware["density_variation"]
    assert found["solidity"] > 0.96
    assert unaware["density"] > found["density"] + 0.02


def test_neighbours_count_the_same_among_the_cells_and_beside_them(draw: Draw) -> None:
    field, _ = draw()
    both = field * np.roll(field, 26, axis=1)
    boxes = np.array([[20, 20, 60, 60], [20, 46, 60, 86]], np.float32)
    outlines = (circle(40.0), circle(66.0))
    together = measure(both, Cells(boxes, outlines), 40.0)
    beside = measure(both, Cells(boxes[:1], outlines[:1], others=outlines[1:]), 40.0)
    np.testing.assert_allclose(together[:1], beside, rtol=1e-9, atol=1e-9)


def test_mere_boxes_hide_nothing(draw: Draw) -> None:
    field, _ = draw()
    boxes = np.array([[20, 20, 60, 60], [30, 30, 70, 70]], np.float32)
    among_boxes = Cells(boxes, (circle(40.0), box_outline(boxes[1])))
    alone = Cells(boxes[:1], (circle(40.0),))
    for cells in (among_boxes, among_boxes.among(slice(1))):
        found, wanted = (measure(field, each, 40.0)[0] for each in (cells, alone))
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def test_a_cell_that_is_listed_twice_does_not_hide_itself(draw: Draw) -> None:
    field, _ = draw()
    box = np.array([[20, 20, 60, 60]], np.float32)
    once = measure(field, Cells(box, (circle(40.0),)), 40.0)
    twice = measure(field, Cells(box, (circle(40.0),), others=(circle(41.0, 20.5),)), 40.0)
    np.testing.assert_array_equal(once, twice)


def test_a_cell_of_which_nothing_can_be_seen_keeps_its_shape_alone(draw: Draw) -> None:
    field, _ = draw()
    box = np.array([[20, 20, 60, 60]], np.float32)
    found = values(field, Cells(box, (circle(40.0),), others=(circle(40.0, 30.0),)))
    shape = {"diameter", "diameter_px", "aspect_ratio", "solidity", "convexity", "form_factor"}
    shape |= {"roughness", "spicules", "angularity", "skew"}
    assert {name for name in NAMES if not np.isnan(found[name])} == shape
    assert found["diameter"] == pytest.approx(1.0, abs=0.03)


def test_of_an_outline_without_an_inside_nothing_is_infinite(draw: Draw) -> None:
    field, _ = draw()
    box = np.array([[38, 20, 41, 60]], np.float32)
    thin = (circle(40.0) - 40) * np.array([0.08, 1], np.float32) + 40
    found = measure(field, Cells(box, (thin,)), 40.0)
    assert np.isfinite(found).any()
    assert not np.isinf(found).any()


def test_masks_agree_with_the_truth_of_a_synthetic_smear() -> None:
    smear = synthetic_smear(2, SynthSettings(n_cells=60))
    field = normalise(smear.image)
    outlined = cell_grid(field, smear.cells, 40.0).mask.sum(axis=(1, 2))
    boxed = cell_grid(field, Cells(smear.cells.boxes), 40.0).mask.sum(axis=(1, 2))
    apart = ~smear.cells.overlaps & ~smear.cells.touches_border
    assert apart.sum() > 20
    truth = smear.cells.area_px[apart]
    assert np.median(np.abs(boxed[apart] / truth - 1)) < 0.05
    assert np.median(np.abs(outlined[apart] / truth - 1)) < 0.05

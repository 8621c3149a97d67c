"""The circle of the typical cell, and measuring a cell with the mouse."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Points, Shapes
from pytestqt.qtbot import QtBot

from napari_amil.plugin.colour.hover import hover_of
from napari_amil.plugin.colour.typical_cell import TypicalCell, object_under, typical_cell_of


@pytest.fixture
def circle(viewer: ViewerModel, qtbot: QtBot) -> TypicalCell:
    return typical_cell_of(viewer)


def _press(viewer: ViewerModel, image: Image, *places: tuple[float, float]) -> None:
    """Press at the first place (y, x in pixels), move over the others, and let go at the last."""
    events = [
        SimpleNamespace(
            pos=(10 * x, 10 * y),
            position=tuple(image.data_to_world((y, x))),
            type="mouse_press" if number == 0 else "mouse_move",
            button=1,
            modifiers=(),
        )
        for number, (y, x) in enumerate(places)
    ]
    event: Any = events[0]
    running = viewer.mouse_drag_callbacks[0](viewer, event)
    next(running)
    for moved in events[1:]:
        vars(event).update(vars(moved))
        next(running)
    event.type = "mouse_release"
    with pytest.raises(StopIteration):
        next(running)


def test_the_object_under_a_click_is_measured_at_any_size(field: np.ndarray) -> None:
    middle, diameter = object_under(field, np.array([25.0, 25.0]))  # a disc of radius 10
    assert middle == pytest.approx((25, 25), abs=0.5)
    assert diameter == pytest.approx(20, abs=1)
    large = np.repeat(np.repeat(field, 8, axis=0), 8, axis=1)
    assert object_under(large, np.array([200.0, 200.0]))[1] == pytest.approx(160, abs=4)
    assert object_under(field, np.array([2.0, 2.0])) is None  # the ground


def test_a_click_on_a_cell_and_a_drag_across_one_measure_it(
    circle: TypicalCell, viewer: ViewerModel, image: Image, qtbot: QtBot
) -> None:
    viewer.add_layer(image)
    circle.measure(image)
    assert not viewer.scene.camera.mouse_pan
    assert hover_of(viewer).is_paused
    with qtbot.waitSignal(circle.measured) as clicked:
        _press(viewer, image, (25, 25))
    assert clicked.args[0] == pytest.approx(20, abs=1)
    assert viewer.scene.camera.mouse_pan
    assert not hover_of(viewer).is_paused
    circle.measure(image)
    with qtbot.waitSignal(circle.measured) as dragged:
        _press(viewer, image, (25, 10), (25, 20), (25, 43))
    assert dragged.args[0] == pytest.approx(33)


def test_an_outlined_cell_is_as_wide_as_its_outline(
    circle: TypicalCell, viewer: ViewerModel, image: Image, layer: Shapes, qtbot: QtBot
) -> None:
    viewer.add_layer(image)
    viewer.add_layer(layer)
    circle.measure(image)
    with qtbot.waitSignal(circle.measured) as clicked:
        _press(viewer, image, (30, 90))
    assert clicked.args[0] == pytest.approx(2 * np.sqrt(1.5 * np.sqrt(3) * 12**2 / np.pi), abs=0.1)


def test_a_click_beside_all_cells_says_what_to_do_and_waits(
    circle: TypicalCell, viewer: ViewerModel, image: Image, qtbot: QtBot
) -> None:
    viewer.add_layer(image)
    circle.measure(image)
    with qtbot.waitSignal(circle.messaged) as said:
        _press(viewer, image, (2, 2))
    assert said.args[0].startswith("No single cell is there; drag across one")
    assert hover_of(viewer).is_paused
    circle.stop()


def test_the_circle_is_as_large_as_the_cell_and_lies_where_it_was_measured(
    circle: TypicalCell, viewer: ViewerModel, image: Image
) -> None:
    viewer.add_layer(image)
    viewer.layers.selection.active = image
    circle.show(image, 20.0)
    drawn = viewer.layers[-1]
    assert isinstance(drawn, Points)
    assert (drawn.name, float(drawn.size[0])) == ("typical cell: 20 pixels", 20.0)
    assert drawn.data[0] == pytest.approx((160 - 13, 13))
    assert tuple(drawn.scale) == tuple(image.scale)
    assert viewer.layers.selection.active is image
    circle.measure(image)
    _press(viewer, image, (75, 25))
    circle.show(image, 24.0)
    assert drawn.data[0] == pytest.approx((75, 25), abs=0.5)
    circle.show(image, None)
    assert list(viewer.layers) == [image]

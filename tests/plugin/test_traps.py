"""Traps of napari, each measured once: what the plugin must never do, and what must hold on stacks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Shapes
from pytestqt.qtbot import QtBot

import napari_amil.plugin
from napari_amil.core.base.types import Cells
from napari_amil.plugin.cohorts.cell_table import open_cells
from napari_amil.plugin.colour.boxes_and_dots import row_under
from napari_amil.plugin.layers.cell_layer import cells_of, show_cells
from napari_amil.plugin.layers.planes import shown_plane
from napari_amil.plugin.layers.selection import fly_to
from napari_amil.plugin.window.background import Background

SOURCES = sorted(Path(napari_amil.plugin.__file__).parent.rglob("*.py"))
FORBIDDEN = {
    r"len\((self\.)?_?(layer|shapes|cells)\.data\)": "it builds every vertex array; ask nshapes",
    r"nest_under": "napari crashes when a nested progress bar closes",
    r"thread_worker|create_worker": "a RuntimeError in a generator worker is never told",
    r"from napari\.(qt\.threading|utils import progress)": "work goes through the worker or Background",
    r"\.exec\(\)|getOpenFileName|getSaveFileName|getExistingDirectory": "no modal window",
}


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_no_file_steps_into_a_trap(pattern: str) -> None:
    found = [path.name for path in SOURCES if re.search(pattern, path.read_text(encoding="utf-8"))]
    assert found == [], FORBIDDEN[pattern]


def test_a_runtime_error_in_a_thread_is_told(qtbot: QtBot) -> None:
    """Torch tells of full memory and of wrong shapes by RuntimeErrors."""
    background = Background()

    def fail() -> None:
        raise RuntimeError("out of memory")

    with qtbot.waitSignal(background.errored, timeout=120_000) as told:
        background.start(fail)
    assert told.args == ["The work stopped: RuntimeError: out of memory."]


def test_many_shapes_come_and_go_in_one_call(layer: Shapes, cells: Cells) -> None:
    """One by one 1,000 of them take 16 s."""
    actions: list[str] = []
    layer.events.data.connect(lambda event: actions.append(str(event.action).lower().rpartition(".")[2]))
    show_cells(layer, cells.take([0]))
    show_cells(layer, cells)
    assert layer.nshapes == 5
    assert actions.count("removed") == 1
    assert actions.count("added") == 1


def test_cells_lie_on_the_shown_plane_of_a_stack_in_time_and_depth(
    viewer: ViewerModel, field: np.ndarray, cells: Cells, build_layer: Callable[..., Shapes], qtbot: QtBot
) -> None:
    """Scale, shift and units of all four axes hold for plane, pointer, thumbnail and camera."""
    stack = np.stack([[field[..., 1] + t + 2 * z for z in range(3)] for t in range(2)])
    units: Any = ("second", "micrometer", "micrometer", "micrometer")
    image = viewer.add_image(stack, scale=(10, 4, 0.5, 0.25), translate=(100, 8, 7, -3), units=units)
    viewer.dims.set_point((0, 1), (110, 16))
    plane = shown_plane(viewer, image)
    assert plane.place == (1, 2)
    np.testing.assert_array_equal(plane.pixels, stack[1, 2])
    layer = viewer.add_layer(build_layer(cells, image, plane.place))
    assert layer.units == image.units
    y, x = 80.0, 50.0  # the middle of the third cell, in pixels
    assert row_under(layer, (110, 16, 7 + 0.5 * y, -3 + 0.25 * x)) == 2
    assert row_under(layer, (100, 16, 7 + 0.5 * y, -3 + 0.25 * x)) is None
    for outline, known in zip(cells_of(layer).outlines, cells.outlines, strict=True):
        np.testing.assert_allclose(outline, known)
    viewer.dims.set_point((0, 1), (100, 8))
    fly_to(viewer, layer, 2)
    assert viewer.dims.point[:2] == (110, 16)
    crop = open_cells(viewer.layers).crop(2)
    assert crop is not None
    shown = crop.field.load()[..., 0].astype(int)
    whole = (stack[1, 2].astype(float) - image.contrast_limits[0]) / np.ptp(image.contrast_limits)
    np.testing.assert_allclose(shown, np.clip(255 * whole, 0, 255), atol=1)


def test_cells_of_one_channel_are_those_of_its_layer(
    viewer: ViewerModel, field: np.ndarray, build_layer: Callable[..., Shapes], cells: Cells
) -> None:
    """An image whose channels are layers of their own is looked at channel by channel."""
    layers = viewer.add_image(field, channel_axis=2, name=["red", "green", "blue"])
    plane = shown_plane(viewer, layers[1])
    assert plane.name == "green"
    np.testing.assert_array_equal(plane.pixels, field[..., 1])
    assert plane.record().image_id == str(layers[1].unique_id)

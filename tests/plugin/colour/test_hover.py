"""The pointer: one line in the status bar whoever looks, and a click that pins a cell."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks
from napari.utils.key_bindings import coerce_keybinding
from pytestqt.qtbot import QtBot

from napari_amil.core.base.types import Cells
from napari_amil.plugin.colour.hover import hover_of
from napari_amil.plugin.layers.care import look_after
from napari_amil.plugin.layers.cell_layer import set_scores
from napari_amil.plugin.layers.selection import CellKey, selection_of
from napari_amil.plugin.panels.cell_card import CellCard
from napari_amil.plugin.panels.score import ScorePanel
from napari_amil.plugin.window.work import Worker

MIDDLES = [(30, 30), (30, 90), (80, 50), (100, 120), (130, 30)]
BESIDE = (150, 190)


@pytest.fixture
def shown(viewer: ViewerModel, image: Image, layer: Shapes, qtbot: QtBot) -> ViewerModel:
    viewer.add_layer(image)
    viewer.add_layer(layer)
    look_after(viewer)
    return viewer


def _event(kind: str, layer: Shapes, place: tuple[int, int], pos: tuple[int, int], **more: Any) -> Any:
    world = tuple(layer.data_to_world(place))
    parts = {"button": 1, "modifiers": (), "handled": False, "is_dragging": kind != "mouse_move"} | more
    return SimpleNamespace(type=kind, position=world, pos=np.array(pos), **parts)


def _click(viewer: ViewerModel, layer: Shapes, place: tuple[int, int], *, drag: int = 0, **more: Any) -> None:
    """Press and release as the canvas tells of it, moved by ``drag`` pixels of the screen in between."""
    event = _event("mouse_press", layer, place, (100, 100), **more)
    mouse_press_callbacks(viewer, event)
    event.type, event.pos = "mouse_move", np.array((100 + drag, 100))
    mouse_move_callbacks(viewer, event)
    event.type = "mouse_release"
    mouse_release_callbacks(viewer, event)


def test_two_panels_agree_on_the_status_line_from_cell_to_cell(
    shown: ViewerModel, layer: Shapes, worker: Worker, qtbot: QtBot
) -> None:
    """Two that insisted each on its own line ended in a RecursionError."""
    panels = [ScorePanel(shown, worker), CellCard(shown, worker)]
    for panel in panels:
        qtbot.addWidget(panel)
        panel.show()
    told = []
    for place in [*MIDDLES, *MIDDLES[::-1]]:
        mouse_move_callbacks(shown, _event("mouse_move", layer, place, (0, 0)))
        shown.status = "what napari writes after every movement"
        told.append(shown.status.partition(":")[0])
    assert told == [f"Cell {number}" for number in (1, 2, 3, 4, 5, 5, 4, 3, 2, 1)]


def test_a_click_pins_a_cell_while_any_layer_is_in_pan_mode(shown: ViewerModel, layer: Shapes) -> None:
    hover_of(shown)
    selection = selection_of(shown)
    for active in (layer, shown.layers[0], None):
        shown.layers.selection.active = active
        _click(shown, layer, MIDDLES[1])
        assert selection.current == CellKey("smear.png", 2)
        assert layer.selected_data == {1}
        _click(shown, layer, BESIDE)
        assert selection.current is None
        assert layer.selected_data == set()


def test_drags_other_buttons_and_drawing_pin_nothing(shown: ViewerModel, layer: Shapes) -> None:
    hover_of(shown)
    selection = selection_of(shown)
    _click(shown, layer, MIDDLES[1], drag=30)
    _click(shown, layer, MIDDLES[1], button=2)
    _click(shown, layer, MIDDLES[1], modifiers=("Control",))
    layer.mode = "add_polygon"
    shown.layers.selection.active = layer
    _click(shown, layer, MIDDLES[1])
    assert selection.current is None


def test_escape_lets_go_and_arrows_walk_only_while_a_cell_is_pinned(
    shown: ViewerModel, layer: Shapes, worker: Worker, qtbot: QtBot
) -> None:
    qtbot.addWidget(CellCard(shown, worker))
    set_scores(layer, pd.DataFrame({"cell_id": [1, 2, 3, 4, 5], "anomaly": [5.0, 1, 4, 3, 2]}))
    selection = selection_of(shown)
    press = {str(key): slot for key, slot in shown.keymap.items()}
    press["Right"](shown)
    assert selection.current is None
    _click(shown, layer, MIDDLES[0])
    press["Right"](shown)
    assert selection.current == CellKey("smear.png", 3)
    press["Left"](shown)
    press["Left"](shown)
    assert selection.current == CellKey("smear.png", 2)
    press["Escape"](shown)
    assert selection.current is None
    _click(shown, layer, MIDDLES[0])
    layer.keymap[coerce_keybinding("Escape")](layer)
    assert selection.current is None


def test_the_line_follows_new_scores_and_a_removed_cell(shown: ViewerModel, layer: Shapes) -> None:
    hover = hover_of(shown)
    hover.look_at(layer.data_to_world(MIDDLES[4]))
    assert shown.status == "Cell 5: not scored yet"
    set_scores(layer, pd.DataFrame({"cell_id": [5], "anomaly": [3.0], "anomaly_percentile": [97.0]}))
    assert shown.status == "Cell 5: more unusual than 97.0 % of control cells"
    heard: list[object] = []
    hover.cellChanged.connect(lambda *found: heard.append(found))
    layer.remove([4])
    assert heard == [(None, -1)]
    shown.status = "Ready"
    assert shown.status == "Ready"


def test_the_line_never_tells_of_a_cell_that_is_not_under_the_pointer(
    shown: ViewerModel, layer: Shapes
) -> None:
    hover = hover_of(shown)
    hover.look_at(layer.data_to_world(MIDDLES[3]))
    assert shown.status == "Cell 4: not scored yet"
    layer.remove([0])  # the rows of the others move
    assert shown.status == "Cell 4: not scored yet"
    layer.visible = False
    assert shown.status == "Ready"
    layer.visible = True
    hover.look_at(layer.data_to_world(MIDDLES[3]))
    assert shown.status == "Cell 4: not scored yet"
    shown.layers.remove(layer)
    assert shown.status == "Ready"


def test_the_line_follows_the_shown_frame(
    viewer: ViewerModel, cells: Cells, build_layer: Callable[..., Shapes], field: np.ndarray
) -> None:
    image = viewer.add_image(np.stack([field[..., 0]] * 3), name="film")
    viewer.add_layer(build_layer(cells, image, (1,)))
    viewer.dims.set_point(0, 1)
    hover_of(viewer).look_at((1.0, *MIDDLES[0]))
    assert viewer.status == "Cell 1: not scored yet"
    viewer.dims.set_point(0, 2)
    assert viewer.status == "Ready"
    viewer.dims.set_point(0, 1)
    assert viewer.status == "Cell 1: not scored yet"


def test_no_empty_brackets_stand_in_the_status_line(shown: ViewerModel, layer: Shapes) -> None:
    hover_of(shown)
    parts = {"layer_name": "cells", "coordinates": "[1 1]: [, ]", "coords": "[1 1]", "value": "[, ]"}
    shown.status = parts
    assert shown.status == {**parts, "coordinates": "[1 1]", "value": ""}

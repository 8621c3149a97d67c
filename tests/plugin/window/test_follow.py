from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QWidget

from napari_amil.plugin.colour.overlays import overlays_of
from napari_amil.plugin.panels.detect import DetectPanel
from napari_amil.plugin.panels.score import ScorePanel
from napari_amil.plugin.window.work import Worker


def _move(viewer: ViewerModel, position: tuple[float, ...]) -> None:
    for callback in viewer.mouse_move_callbacks:
        callback(viewer, SimpleNamespace(position=position))


def _destroy(widget: QWidget) -> None:
    widget.deleteLater()
    QApplication.sendPostedEvents(widget, QEvent.Type.DeferredDelete)


def test_the_pointer_is_followed(
    qtbot: QtBot, viewer: ViewerModel, worker: Worker, image: Image, layer: Shapes
) -> None:
    panel = ScorePanel(viewer, worker)
    qtbot.addWidget(panel)
    viewer.add_layer(image)
    viewer.add_layer(layer)
    viewer.layers.selection.active = image
    _move(viewer, layer.data_to_world((80, 50)))
    assert panel.cell_text.text().startswith("Cell 3: not scored yet")
    assert viewer.status == "Cell 3: not scored yet"


@pytest.mark.parametrize("kind", [DetectPanel, ScorePanel])
def test_a_closed_panel_hears_nothing_more(
    qtbot: QtBot, viewer: ViewerModel, worker: Worker, image: Image, layer: Shapes, kind: type[QWidget]
) -> None:
    viewer.add_layer(image)
    viewer.add_layer(layer)
    overlays_of(viewer)  # the viewer has one, which keeps what is drawn when its panels are closed
    emitters = [
        *(viewer.layers.events.inserted, viewer.layers.events.removed, viewer.events.theme),
        *(
            viewer.events.status,
            viewer.layers.selection.events.active,
            image.events.name,
            layer.events.features,
        ),
    ]
    _destroy(kind(viewer, worker))  # what belongs to the viewer itself, such as its selection, stays
    before = [len(emitter.callbacks) for emitter in emitters]
    moves = len(viewer.mouse_move_callbacks)
    panel = kind(viewer, worker)
    assert [len(emitter.callbacks) for emitter in emitters] != before
    _destroy(panel)
    assert [len(emitter.callbacks) for emitter in emitters] == before
    assert len(viewer.mouse_move_callbacks) == moves
    viewer.add_image(np.zeros((40, 40)))
    _move(viewer, (1, 1))
    viewer.layers.clear()


def test_selecting_a_layer_again_and_again_hears_it_once(
    qtbot: QtBot, viewer: ViewerModel, worker: Worker, image: Image, layer: Shapes
) -> None:
    panels = DetectPanel(viewer, worker), ScorePanel(viewer, worker)
    for panel in panels:
        qtbot.addWidget(panel)
    viewer.add_layer(image)
    viewer.add_layer(layer)
    before = len(layer.events.features.callbacks)
    for _ in range(3):
        viewer.layers.selection.active = image
        viewer.layers.selection.active = layer
    assert len(layer.events.features.callbacks) == before

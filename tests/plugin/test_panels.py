"""A panel opens alone, twice and in any order, and leaves nothing behind when it is closed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from napari._qt.qt_resources import get_stylesheet
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QCoreApplication, QEvent, Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QScrollArea,
    QScrollBar,
    QWidget,
)

from napari_amil.plugin.arrange import ArrangePanel
from napari_amil.plugin.bag import BagPanel
from napari_amil.plugin.calibrate import CalibratePanel
from napari_amil.plugin.cell_card import CellCard
from napari_amil.plugin.cohort import CohortPanel
from napari_amil.plugin.correct import CorrectPanel
from napari_amil.plugin.detect import DetectPanel
from napari_amil.plugin.embedding_map import EmbeddingMap
from napari_amil.plugin.explore import ExplorePanel
from napari_amil.plugin.gallery import GalleryPanel
from napari_amil.plugin.layers.care import look_after
from napari_amil.plugin.layers.selection import selection_of
from napari_amil.plugin.score import ScorePanel
from napari_amil.plugin.train import TrainPanel
from napari_amil.plugin.training.run_registry import RunRegistry
from napari_amil.plugin.tune_detector import TuneDetectorPanel
from napari_amil.plugin.window.forms import Folded
from napari_amil.plugin.window.remembered import remember_first
from napari_amil.plugin.window.work import Worker

PANELS = (DetectPanel, ScorePanel, CorrectPanel)
EVERY = (*PANELS, CellCard, BagPanel, GalleryPanel, CohortPanel, EmbeddingMap)
EVERY += (ExplorePanel, TrainPanel, TuneDetectorPanel, CalibratePanel, ArrangePanel)
_WITH_RUNS = (TrainPanel, TuneDetectorPanel)
CONTROLS = (QAbstractButton, QComboBox, QLineEdit, QAbstractSpinBox, QAbstractSlider)
WIDEST_PX, TALLEST_PX = 420, 560
"""What a panel may ask for where the window has 1366 x 768 pixels."""
NARROW_PX = 282
"""What a dock of 300 pixels leaves beside a scroll bar."""


@pytest.fixture(name="open_panel")
def _open_panel(viewer: ViewerModel, worker: Worker, tmp_path: Path) -> Callable[[type[QWidget]], QWidget]:
    def make(kind: type[QWidget]) -> QWidget:
        if kind is GalleryPanel:
            return kind(viewer)
        return kind(viewer, worker, *([RunRegistry(tmp_path)] if kind in _WITH_RUNS else []))

    return make


_DEAF = (ArrangePanel, CalibratePanel, CohortPanel)
"""Panels that hear nothing of a viewer."""


def _n_listeners(viewer: ViewerModel, layer: Shapes) -> dict[str, int]:
    """Count everything that is told of changes of a viewer and of a layer."""
    emitters: dict[str, Any] = {
        "inserted": viewer.layers.events.inserted,
        "removed": viewer.layers.events.removed,
        "active": viewer.layers.selection.events.active,
        "status": viewer.events.status,
        "theme": viewer.events.theme,
        "features": layer.events.features,
        "name": layer.events.name,
    }
    counts = {
        name: len(emitter.callbacks) for name, emitter in emitters.items() if hasattr(emitter, "callbacks")
    }
    counts |= {name: len(emitter) for name, emitter in emitters.items() if not hasattr(emitter, "callbacks")}
    return counts | {"move": len(viewer.mouse_move_callbacks), "children": _n_children()}


def _n_children() -> int:
    application = QCoreApplication.instance()
    assert application is not None
    return len(application.children())


def _close(panel: QWidget) -> None:
    panel.close()
    panel.deleteLater()
    QCoreApplication.sendPostedEvents(panel, QEvent.Type.DeferredDelete)


@pytest.mark.parametrize("panel", EVERY)
def test_a_closed_panel_leaves_nothing_behind(
    panel: type[QWidget],
    viewer: ViewerModel,
    image: Image,
    layer: Shapes,
    open_panel: Callable[[type[QWidget]], QWidget],
    qtbot: QtBot,
) -> None:
    viewer.add_layer(image)
    viewer.add_layer(layer)
    look_after(viewer)
    selection_of(viewer)
    _close(open_panel(panel))  # what the panels of a viewer share, such as its colour scales, stays
    before = _n_listeners(viewer, layer)
    for _ in range(2):
        first, second = open_panel(panel), open_panel(panel)
        assert panel in _DEAF or _n_listeners(viewer, layer) != before
        layer.selected_data = {0}
        _close(first)
        layer.remove([0])
        _close(second)
    assert _n_listeners(viewer, layer) == before
    layer.remove([0])
    viewer.layers.clear()


@pytest.mark.parametrize("order", list(itertools.permutations(PANELS)), ids=lambda order: order[0].__name__)
def test_panels_open_in_any_order(
    order: tuple[type[QWidget], ...],
    viewer: ViewerModel,
    image: Image,
    layer: Shapes,
    worker: Worker,
    qtbot: QtBot,
) -> None:
    open_panels = [panel(viewer, worker) for panel in order[:2]]
    viewer.add_layer(image)
    viewer.add_layer(layer)
    open_panels.append(order[2](viewer, worker))
    for panel in open_panels:
        qtbot.addWidget(panel)
    layer.selected_data = {1}
    layer.remove([1])
    correct = next(panel for panel in open_panels if isinstance(panel, CorrectPanel))
    detect = next(panel for panel in open_panels if isinstance(panel, DetectPanel))
    assert detect.count.text() == "4 cells"
    correct.undo.click()
    assert detect.count.text() == "5 cells"


@pytest.mark.parametrize("panel", EVERY)
def test_a_panel_fits_and_all_of_it_is_named_and_reached_by_the_keyboard(
    panel: type[QWidget], open_panel: Callable[[type[QWidget]], QWidget], qtbot: QtBot, tmp_path: Path
) -> None:
    model = tmp_path / "a-model-whose-name-is-far-longer-than-a-narrow-panel-is-wide.safetensors"
    model.touch()
    remember_first("models/own", str(model))
    widget = open_panel(panel)
    qtbot.addWidget(widget)
    widget.setStyleSheet(get_stylesheet("dark"))
    widget.show()
    least = widget.minimumSizeHint().expandedTo(widget.minimumSize())
    assert least.width() <= WIDEST_PX
    assert least.height() <= TALLEST_PX
    for folded in widget.findChildren(Folded):
        folded.button.setChecked(True)
    for area in (area for area in widget.findChildren(QScrollArea) if area.widgetResizable()):
        content = area.widget()
        assert content is not None
        assert content.minimumSizeHint().width() <= NARROW_PX, "something is cut off in a narrow dock"
    for control in (found for kind in CONTROLS for found in widget.findChildren(kind)):
        part = isinstance(control.parent(), CONTROLS)
        if part or isinstance(control, QScrollBar) or control.objectName().startswith("qt_"):
            continue  # a part of a larger control
        said = control.accessibleName() or getattr(control, "text", str)() or control.toolTip()
        assert said, f"{type(control).__name__} in {type(control.parent()).__name__} has no name"
        assert control.focusPolicy() != Qt.FocusPolicy.NoFocus, said

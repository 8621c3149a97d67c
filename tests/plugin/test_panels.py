"""A panel opens alone, twice and in any order, and leaves nothing behind when it is closed."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import npe2
import pytest
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.text import Text
from napari._qt.qt_resources import get_stylesheet
from napari._qt.widgets.qt_viewer_dock_widget import QtViewerDockWidget
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QCoreApplication, QEvent, Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QDockWidget,
    QHeaderView,
    QLineEdit,
    QMainWindow,
    QMenu,
    QScrollArea,
    QScrollBar,
    QTabWidget,
    QWidget,
)

from napari_amil.plugin.layers.care import look_after
from napari_amil.plugin.layers.selection import selection_of
from napari_amil.plugin.panels.arrange import ArrangePanel
from napari_amil.plugin.panels.calibrate import CalibratePanel
from napari_amil.plugin.panels.cell_card import CellCard
from napari_amil.plugin.panels.cell_types import CellTypesPanel
from napari_amil.plugin.panels.cohort import CohortPanel
from napari_amil.plugin.panels.correct import CorrectPanel
from napari_amil.plugin.panels.detect import DetectPanel
from napari_amil.plugin.panels.embedding_map import EmbeddingMap
from napari_amil.plugin.panels.explore import ExplorePanel
from napari_amil.plugin.panels.gallery import GalleryPanel
from napari_amil.plugin.panels.score import ScorePanel
from napari_amil.plugin.panels.smear import SmearPanel
from napari_amil.plugin.panels.train import TrainPanel
from napari_amil.plugin.panels.tune_detector import TuneDetectorPanel
from napari_amil.plugin.panels.verdict import VerdictPanel
from napari_amil.plugin.training.run_folders import RunRegistry
from napari_amil.plugin.window.forms import Folded
from napari_amil.plugin.window.glossary import glossary
from napari_amil.plugin.window.panel import Panel
from napari_amil.plugin.window.user_settings import remember_first
from napari_amil.plugin.window.work import Worker

PANELS = (DetectPanel, ScorePanel, CorrectPanel)
EVERY = (*PANELS, SmearPanel, CellCard, VerdictPanel, GalleryPanel, CohortPanel, EmbeddingMap)
EVERY += (ExplorePanel, TrainPanel, TuneDetectorPanel, CalibratePanel, ArrangePanel, CellTypesPanel)
IN_MENU = [panel for panel in EVERY if not panel.IN_PANEL]
"""All but those that are pages of another one."""
_WITH_RUNS = (TrainPanel, TuneDetectorPanel)
CONTROLS = (QAbstractButton, QComboBox, QLineEdit, QAbstractSpinBox, QAbstractSlider)
MANIFEST = Path(__file__).parents[2] / "napari.yaml"
_WAIT_MS = 60_000
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


def test_every_panel_of_the_manifest_is_tested() -> None:
    contributed = npe2.PluginManifest.from_file(MANIFEST).contributions
    names = {command.id: command.python_name for command in contributed.commands or ()}
    widgets = {names[widget.command] for widget in contributed.widgets or ()}
    assert widgets == {f"{panel.__module__}:{panel.__name__}" for panel in IN_MENU}


def test_every_panel_has_the_name_of_the_manifest() -> None:
    contributed = npe2.PluginManifest.from_file(MANIFEST).contributions
    names = {command.id: command.python_name for command in contributed.commands or ()}
    titles = {names[widget.command]: widget.display_name for widget in contributed.widgets or ()}
    assert titles == {f"{panel.__module__}:{panel.__name__}": panel.TITLE for panel in IN_MENU}


@pytest.mark.parametrize("panel", EVERY)
def test_a_panel_takes_the_whole_height_of_its_dock(
    panel: type[Panel], open_panel: Callable[[type[QWidget]], QWidget]
) -> None:
    widget = open_panel(panel)
    QtViewerDockWidget._maybe_add_vertical_stretch(None, widget)
    frame = widget.layout()
    assert frame.count() == 2
    assert frame.itemAt(1).widget() is widget.help
    assert frame.stretch(0) > frame.stretch(1)


@pytest.mark.parametrize("panel", EVERY)
def test_every_panel_offers_the_glossary_with_its_own_terms_first(
    panel: type[Panel], open_panel: Callable[[type[QWidget]], QWidget], qtbot: QtBot
) -> None:
    widget = open_panel(panel)
    qtbot.addWidget(widget)
    widget.show()
    assert isinstance(widget, Panel)
    assert widget.help.isVisible()
    assert len(panel.TERMS) >= 3
    assert set(panel.TERMS) <= set(glossary())
    text = widget.help.open().text.toPlainText()
    assert text.startswith(f"On this panel: {' · '.join(panel.TERMS)}")
    assert all(f"{term}\n{meaning}" in text for term, meaning in glossary().items())


CODE_WORDS = r"\b(SIC|logits?|bias|shrinkage|ablation|gaussian|hypersphere|foreign|latent|d_n|softmax)\b"
"""What no newcomer can know, and nothing that is seen says; a tooltip may name it beside plain words."""
EXPLAINED = {
    r"novelty": "Novelty",
    r"candidates?": "Candidate",
    r"embeddings?(?! map)": "Embedding",
    r"embedding map": "Embedding map",
    r"attention": "Attention",
    r"encoder": "Encoder",
    r"epochs?": "Epoch",
    r"folds?": "Fold",
    r"q-values?": "q-value",
    r"p-values?": "p-value",
    r"verdicts?": "Verdict",
    r"cohorts?": "Cohort",
    r"bags?": "Bag",
    r"anomaly": "Anomaly",
    r"calibrat\w+": "Calibration",
    r"controls?": "Control",
}
"""Words of the trade, and the term of the glossary that each panel which says them lists."""


def _seen_words(panel: QWidget) -> list[str]:
    """Return what is written on the parts of a panel, open or folded."""
    found: list[str] = []
    for part in panel.findChildren(QWidget):
        found += [
            getattr(part, name)() for name in ("text", "title", "placeholderText") if _is_plain(part, name)
        ]
        if isinstance(part, QComboBox):
            found += [part.itemText(number) for number in range(part.count())]
        if isinstance(part, QTabWidget):
            found += [part.tabText(number) for number in range(part.count())]
        if isinstance(part, QHeaderView) and part.model() is not None:
            model, along = part.model(), part.orientation()
            found += [str(model.headerData(number, along) or "") for number in range(part.count())]
        if isinstance(part, FigureCanvasQTAgg):
            found += [text.get_text() for text in part.figure.findobj(Text)]
    return found


def _is_plain(part: QWidget, name: str) -> bool:
    return isinstance(getattr(type(part), name, None), Callable) and not isinstance(part, QLineEdit | QMenu)


@pytest.mark.parametrize("panel", EVERY)
def test_every_word_of_the_trade_is_in_the_glossary_of_its_panel_and_no_code_word_is_seen(
    panel: type[Panel], open_panel: Callable[[type[QWidget]], QWidget], qtbot: QtBot
) -> None:
    widget = open_panel(panel)
    qtbot.addWidget(widget)
    seen = _seen_words(widget)
    assert len(seen) > 5
    assert [text for text in seen if re.search(CODE_WORDS, text, re.IGNORECASE)] == []
    said = " | ".join(text.lower() for text in seen)
    terms = {term for word, term in EXPLAINED.items() if re.search(rf"\b{word}\b", said)}
    assert terms <= set(panel.TERMS)
    assert terms <= set(glossary())


def _at_work() -> list[str]:
    """Name what goes on by itself: running timers of the application, and threads of panels."""
    application = QCoreApplication.instance()
    assert application is not None
    timers = [str(timer.parent()) for timer in application.findChildren(QTimer) if timer.isActive()]
    return timers + [thread.name for thread in threading.enumerate() if "napari-amil" in thread.name]


def _dock(window: QMainWindow, panel: QWidget) -> QDockWidget:
    dock = QDockWidget(window)
    dock.setWidget(panel)
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, dock)
    return dock


@pytest.mark.parametrize(("seed", "place"), [(0, None), (1, 0), (2, 7)])
def test_all_panels_open_and_close_in_any_order_and_leave_nothing_behind(
    seed: int,
    place: int | None,
    viewer: ViewerModel,
    image: Image,
    layer: Shapes,
    open_panel: Callable[[type[QWidget]], QWidget],
    qtbot: QtBot,
) -> None:
    """In one window, some of them twice; with nothing open, an image before all, or one in between."""
    window, order = QMainWindow(), random.Random(seed)
    qtbot.addWidget(window)
    if place == 0:
        viewer.layers.extend([image, layer])
    for kind in EVERY:
        _close(open_panel(kind))  # what panels share stays
    before = _n_listeners(viewer, layer)
    docks = []
    for number, kind in enumerate(order.sample([*EVERY, *PANELS], len(EVERY) + len(PANELS))):
        if number == place != 0:
            viewer.layers.extend([image, layer])
            before = {name: n for name, n in before.items() if name not in ("features", "name")}
        docks.append(_dock(window, open_panel(kind)))
    if place is not None:
        _delete_and_undo(layer, [dock.widget() for dock in docks])
    assert _n_listeners(viewer, layer)["removed"] > before["removed"]
    for dock in order.sample(docks, len(docks)):
        _close(dock)
        layer.selected_data = {order.randrange(5)}
    viewer.theme = "light"
    after = _n_listeners(viewer, layer)
    assert {name: after[name] for name in before} == before
    assert list(viewer.layers) == ([] if place is None else [image, layer])
    qtbot.waitUntil(lambda: _at_work() == [], timeout=_WAIT_MS)
    assert window.findChildren(QDockWidget) == []


def _delete_and_undo(layer: Shapes, panels: list[QWidget]) -> None:
    """Delete a cell and take it back; every panel hears of it."""
    counts = [panel.count.text for panel in panels if isinstance(panel, DetectPanel)]
    correct = next(panel for panel in panels if isinstance(panel, CorrectPanel))
    layer.selected_data = {1}
    layer.remove([1])
    assert [count() for count in counts] == ["4 cells"] * 2
    correct.undo.click()
    assert [count() for count in counts] == ["5 cells"] * 2


def test_a_panel_without_cells_says_what_to_do_and_offers_nothing_else(
    open_panel: Callable[[type[QWidget]], QWidget], viewer: ViewerModel, layer: Shapes, qtbot: QtBot
) -> None:
    score, card, correct = (open_panel(kind) for kind in (ScorePanel, CellCard, CorrectPanel))
    for panel in (score, card, correct):
        qtbot.addWidget(panel)
        panel.show()
    assert "No cells yet" in score.verdict_detail.text()
    assert card.place.text() == "Find and score cells first."
    assert not any(part.isVisible() for part in (card.order, card.before, card.after, card.picture))
    assert not correct.save.isEnabled()
    viewer.add_layer(layer)
    qtbot.waitUntil(lambda: card.order.isVisible() and card.picture.isVisible(), timeout=_WAIT_MS)
    assert score.verdict_detail.text() == ""
    assert correct.save.isEnabled()


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
    widget.resize(least)
    QCoreApplication.processEvents()
    for area in widget.findChildren(QScrollArea):
        content, view = area.widget(), area.viewport()
        if area.isVisible() and content is not None and view is not None:
            assert content.width() <= view.width() + 1, "the right side is cut off"
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

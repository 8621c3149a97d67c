"""The way of a newcomer through a real window with a real mouse; prints one line for every step that held."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "plugin"))

import napari
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_amil.plugin.layers.selection import selection_of
from napari_amil.plugin.panels.smear import SmearPanel
from napari_amil.plugin.window.panel import Panel
from napari_amil.plugin.window.work import Worker

TINY = (sys.executable, str(Path(__file__).parents[1] / "plugin" / "tiny_worker.py"))
LEFT = Qt.MouseButton.LeftButton
WAIT_S = 60


def field() -> np.ndarray:
    """A field of 160 x 200 pixels with twelve dark discs on a light ground."""
    y, x = np.mgrid[:160, :200]
    pixels = np.full((160, 200, 3), 230, np.uint8)
    for number in range(12):
        middle = (25 + 50 * (number // 4), 25 + 48 * (number % 4))
        pixels[(y - middle[0]) ** 2 + (x - middle[1]) ** 2 < (10 + number / 2) ** 2] = (180, 90, 110)
    return pixels


def until(is_done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT_S
    while not is_done():
        if time.monotonic() > end:
            raise TimeoutError(what)
        QApplication.processEvents()
        time.sleep(0.01)


def told(step: str) -> None:
    sys.stdout.write(f"{step}\n")
    sys.stdout.flush()


def groups_of(menu: Any) -> list[list[str]]:
    """Return the entries of a menu, one list for each part between two lines."""
    groups: list[list[str]] = [[]]
    for action in menu.actions():
        if action.isSeparator():
            groups.append([])
        else:
            groups[-1].append(action.text().partition(" (")[0])
    return groups


class Newcomer:
    """Somebody with a mouse and a keyboard before one window."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.viewer = napari.Viewer(show=False)
        self.window: Any = self.viewer.window._qt_window
        self.window.resize(1366, 768)
        self.window.show()
        until(self.window.isVisible, "the window")

    @property
    def canvas(self) -> Any:
        return self.viewer.window._qt_viewer.canvas.native

    def press(self, widget: Any, place: QPoint | None = None) -> None:
        QTest.mouseClick(widget, LEFT, Qt.KeyboardModifier.NoModifier, place or widget.rect().center())

    def choose(self, title: str) -> None:
        """Open the plugin's menu with the mouse and choose a panel."""
        bar = self.window.menuBar()
        action = next(a for a in bar.actions() if a.text().replace("&", "") == "Plugins")
        self.press(bar, bar.actionGeometry(action).center())
        menu = action.menu()
        until(menu.isVisible, "the menu Plugins")
        entry = next(a for a in menu.actions() if "AMIL" in a.text())
        self.press(menu, menu.actionGeometry(entry).center())
        inner = entry.menu()
        until(inner.isVisible, "the menu of the plugin")
        wanted = next(a for a in inner.actions() if a.text().startswith(title))
        self.groups = groups_of(inner)
        assert self.groups[0][0].startswith("Look at a smear")
        chosen: list[bool] = []
        note = chosen.append
        wanted.triggered.connect(note)
        place = inner.actionGeometry(wanted).center()
        for nearer in (QPoint(-6, 0), QPoint(0, 0)):  # a menu takes a press only after a movement
            QTest.mouseMove(inner, place + nearer)
            QTest.qWait(60)
        self.press(inner, place)
        QTest.qWait(300)
        wanted.triggered.disconnect(note)
        if not chosen:  # without a window manager a second press may be taken for the first one's end
            wanted.trigger()
        for shown in (inner, menu):
            shown.close()
        until(lambda: not menu.isVisible(), f"the menu closed after {title}")
        QTest.qWait(300)

    def type(self, widget: Any, *keys: Qt.Key) -> None:
        """Press keys one after the other."""
        for key in keys:
            QTest.keyClick(widget, key)
            QTest.qWait(60)

    def choose_by_keys(self, n_down: int) -> None:
        """Go to the plugin's menu and ``n_down`` entries down in it, by the arrow keys alone."""
        bar = self.window.menuBar()
        plugins = next(a for a in bar.actions() if a.text().replace("&", "") == "Plugins")
        bar.setActiveAction(plugins)
        menu = plugins.menu()
        until(menu.isVisible, "the menu Plugins by keys")
        for _ in menu.actions():
            if menu.activeAction() is not None and "AMIL" in menu.activeAction().text():
                break
            self.type(menu, Qt.Key.Key_Down)
        self.type(menu, Qt.Key.Key_Right)
        inner = menu.activeAction().menu()
        until(inner.isVisible, "the menu of the plugin by keys")
        self.type(inner, *[Qt.Key.Key_Down] * n_down, Qt.Key.Key_Return)
        until(lambda: not menu.isVisible(), "the menu closed by a key")
        QTest.qWait(200)

    def panels(self, kind: type[Panel] = Panel) -> list[Any]:
        docks = self.viewer.window.dock_widgets.values()
        return [panel for panel in docks if isinstance(panel, kind)]

    def place_of(self, layer: Any, row: int) -> QPoint:
        """Return where the middle of a cell lies on the canvas."""
        return self.on_canvas(layer.data_to_world(np.asarray(layer.data[row]).mean(axis=0)))

    def on_canvas(self, world: Any) -> QPoint:
        camera, size = self.viewer.scene.camera, self.canvas.size()
        y, x = np.asarray(world)[-2:]
        centre_y, centre_x = camera.center[-2:]
        at = (x - centre_x) * camera.zoom + size.width() / 2, (y - centre_y) * camera.zoom + size.height() / 2
        return QPoint(round(at[0]), round(at[1]))


def by_keys_alone(user: Newcomer, smear: SmearPanel) -> None:
    """Find and score and walk the list without a mouse, then open the second entry of the menu."""
    again: list[Any] = []
    smear.finished.connect(again.append)
    smear.job.button.setFocus()
    user.type(smear.job.button, Qt.Key.Key_Space)
    until(lambda: bool(again), "the scores by a key")
    cells = smear.cells
    cells.list.setFocus()
    for number in range(2):
        user.type(cells.list, Qt.Key.Key_Down)
        assert selection_of(user.viewer).current == cells.keys[number]
        assert smear.why.text().startswith(f"Cell {cells.keys[number].cell_id}: ")
    user.type(user.canvas, Qt.Key.Key_Escape)
    assert selection_of(user.viewer).current is None
    before = {type(panel) for panel in user.panels()}
    user.choose_by_keys(1)
    (card,) = [panel for panel in user.panels() if type(panel) not in before]
    assert type(card).__name__ == "CellCard"
    assert card.isAncestorOf(user.window.focusWidget())


def main() -> None:
    user = Newcomer()
    application = QApplication.instance()
    worker = Worker(TINY, application)
    user.choose("Look at a smear")
    (smear,) = user.panels(SmearPanel)
    assert smear.sample.isVisible()
    assert user.window.focusWidget() is smear.open
    told("menu")
    user.viewer.add_image(field(), rgb=True, name="smear")
    until(smear.job.button.isVisible, "the button")
    assert user.window.focusWidget() is smear.job.button  # the next step is one key away
    scored: list[Any] = []
    smear.finished.connect(scored.append)
    user.press(smear.job.button)
    until(lambda: bool(scored), "the scores")
    told("one press")
    by_keys_alone(user, smear)
    told("keys")
    user.choose("Verdict")
    user.choose("Look at a smear")
    assert len(user.panels()) == 3
    assert [group[0] for group in user.groups] == ["Look at a smear", "Cohort", "Calibrate on my controls"]
    assert [len(group) for group in user.groups] == [6, 3, 4]
    assert user.groups[0][-1] == "Name cell types"
    assert not smear.visibleRegion().isEmpty()
    tabs = user.window.tabifiedDockWidgets(user.viewer.window._wrapped_dock_widgets[_dock_name(user, smear)])
    assert len(tabs) == 2
    told("tabs")
    layer = scored[-1]
    user.viewer.reset_view()
    QTest.qWait(200)
    for row in [*range(layer.nshapes), *range(layer.nshapes)]:
        QTest.mouseMove(user.canvas, user.place_of(layer, row))
        wanted = f"Cell {int(layer.features['cell_id'][row])}:"
        until(lambda wanted=wanted: str(user.viewer.status).startswith(wanted), wanted)
    told("hover")
    selection = selection_of(user.viewer)
    for active in (layer, user.viewer.layers["smear"]):
        user.viewer.layers.selection.active = active
        user.press(user.canvas, user.place_of(layer, 2))
        assert selection.current is not None
        assert selection.current.cell_id == layer.features["cell_id"][2]
        QTest.mouseMove(user.canvas, user.place_of(layer, 4))
        QTest.qWait(50)
        assert selection.current.cell_id == layer.features["cell_id"][2]
        QTest.keyClick(user.canvas, Qt.Key.Key_Escape)
        assert selection.current is None
    user.press(user.canvas, user.place_of(layer, 2))
    user.press(user.canvas, user.on_canvas((2.0, 2.0)))
    assert selection.current is None
    told("click")
    for title in ("Correct cells", "Cell gallery", "Cohort", "Explore", "Embedding map"):
        user.choose(title)
    for title in ("Calibrate", "Make a cohort", "Train a model", "Fine-tune"):
        user.choose(title)
    assert len(user.panels()) == 12
    assert user.window.height() == 768, "the window grew beyond a small screen"
    heights = {panel.height() for panel in user.panels() if not panel.visibleRegion().isEmpty()}
    assert len(heights) == 1
    told("every panel")
    worker.close()
    user.viewer.close()


def _dock_name(user: Newcomer, panel: Any) -> str:
    return next(name for name, inner in user.viewer.window.dock_widgets.items() if inner is panel)


if __name__ == "__main__":
    main()

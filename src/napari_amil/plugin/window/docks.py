"""Docks of the panels: a panel opens once, and all of them are tabs of one area."""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from napari.plugins import menu_item_template
from npe2 import PluginManager
from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QLabel, QMainWindow, QWidget

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.window.glossary import GlossaryLink
from napari_amil.plugin.window.menu_groups import group_menu

PLUGIN = "napari-amil"


def dock_of(widget: QWidget) -> QDockWidget | None:
    """Return the dock that a widget lies in."""
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent


def bring_to_front(widget: QWidget) -> None:
    """Show the dock of a widget in front of the other tabs."""
    dock = dock_of(widget)
    if dock is not None:
        dock.show()
        dock.raise_()


def give_focus(panel: QWidget) -> None:
    """Let the keyboard go on in ``panel``: at the control that it calls its first, else at any."""
    control = getattr(panel, "first_control", lambda: None)()
    last = panel.findChild(GlossaryLink)
    if control is None and last is not None:
        control = last.nextInFocusChain()
        while control is not None and control is not last and not _takes_focus(control):
            control = control.nextInFocusChain()
    if control is not None and panel.isAncestorOf(control):
        control.setFocus(Qt.FocusReason.TabFocusReason)


def _takes_focus(control: QWidget) -> bool:
    return (
        control.isVisible() and control.isEnabled() and bool(control.focusPolicy() & Qt.FocusPolicy.TabFocus)
    )


def open_panel(viewer: ViewerModel, title: str) -> Any:  # noqa: ANN401 - a panel of any kind
    """Show the panel called ``title`` in the window of ``viewer``: the one that is open, else a new one.

    It is registered under the name that napari's menu uses, so that menu, buttons and demo open the same one.

    Raises
    ------
    AmilError
        If there is no window to open it in.
    """
    window: Any = getattr(viewer, "window", None)
    if window is None:
        raise AmilError(f"Open the panel first: Plugins, AMIL blood smears, {title}.")
    for widget in dict(window.dock_widgets).values():
        if getattr(widget, "TITLE", None) == title:
            bring_to_front(widget)
            give_focus(widget)
            return widget
    manager = PluginManager.instance()
    found = (w for w in manager.iter_widgets() if w.plugin_name == PLUGIN and w.display_name == title)
    kind: Any = next(found).get_callable()
    name = menu_item_template.format(manager.get_manifest(PLUGIN).display_name, title)
    widget = kind(viewer)
    window.add_dock_widget(widget, name=name, area="right")
    return widget


class DockCare(QObject):
    """Makes the dock of one panel a tab beside the docks of the others, as soon as it has one.

    napari's menu hides a panel that is shown. One that lies behind another tab counts as shown, so that
    its menu entry would seem to do nothing; it is brought to the front instead.
    """

    def __init__(self, panel: QWidget, title: str) -> None:
        super().__init__(panel)
        self._title = title
        self._is_settled, self._is_front = False, False
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._show_in_front)
        self._left = QTimer(self)  # a dock in front that is hidden first tells that it is seen no more
        self._left.setSingleShot(True)
        self._left.timeout.connect(self._on_left)

    @property
    def is_settled(self) -> bool:
        """Whether the dock has been placed among the docks that were open before."""
        return self._is_settled

    def settle(self, others: list[QWidget]) -> None:
        """Lay the dock of the panel beside that of the last of ``others`` in the same window."""
        dock = self._dock()
        if dock is None or self._is_settled:
            return
        self._is_settled = self._is_front = True
        dock.setWindowTitle(self._title)  # napari's has the plugin's name too, for which a tab is too narrow
        _shorten_title_bar(dock, self._title)
        dock.visibilityChanged.connect(self._on_visibility_changed)
        dock.installEventFilter(self)
        window = dock.parentWidget()
        if window is not None:
            group_menu(window)
        docks = [found for found in map(dock_of, others) if found is not None and found is not dock]
        docks = [d for d in docks if d.parentWidget() is window and _is_docked(d) and d.isVisible()]
        if isinstance(window, QMainWindow) and docks and docks[-1] not in window.tabifiedDockWidgets(dock):
            window.tabifyDockWidget(docks[-1], dock)
        panel = self.parent()
        if isinstance(panel, QWidget):
            panel.updateGeometry()
        self._soon.start()

    def eventFilter(self, _: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's manner
        """Bring a dock to the front that is shown, or hidden while it lies behind another tab."""
        kind = event.type() if event is not None else QEvent.Type.None_
        is_hidden = kind == QEvent.Type.HideToParent and not self._is_front
        if is_hidden or kind == QEvent.Type.ShowToParent:
            self._soon.start()
        return False

    def _dock(self) -> QDockWidget | None:
        """Return the dock; it is not kept, since a circle of references would outlive the panel."""
        panel = self.parent()
        return dock_of(panel) if isinstance(panel, QWidget) else None

    def _on_visibility_changed(self, is_front: bool) -> None:
        if is_front:
            self._left.stop()
            self._is_front = True
        else:
            self._left.start()

    def _on_left(self) -> None:
        self._is_front = False

    def _show_in_front(self) -> None:
        dock = self._dock()
        if dock is not None and _is_docked(dock):
            dock.show()
            dock.raise_()
        panel = self.parent()
        if isinstance(panel, QWidget):
            give_focus(panel)


def _shorten_title_bar(dock: QDockWidget, title: str) -> None:
    """Write the title into the bar that napari draws, which has its own label and none for other docks."""
    label = getattr(dock.titleBarWidget(), "title", None)
    if isinstance(label, QLabel):
        label.setText(title)


def _is_docked(dock: QDockWidget) -> bool:
    window = dock.parentWidget()
    area = Qt.DockWidgetArea.NoDockWidgetArea
    return isinstance(window, QMainWindow) and not dock.isFloating() and window.dockWidgetArea(dock) != area

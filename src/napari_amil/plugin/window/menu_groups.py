"""Lines between the groups of the plugin's menu: this image, many samples, calibrate and train.

napari lets no manifest group the entries of *Plugins*; it keeps the order in which they are listed there.
The lines come with the first panel that opens.
"""

from __future__ import annotations

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QMenu, QWidget

PLUGIN_MENU = "napari/plugins/napari-amil"
"""napari's name of the plugin's menu."""
FIRST_OF_GROUP = ("napari-amil.cohort", "napari-amil.calibrate")
"""Commands above which a line is drawn; those above the first one are about one image."""


def group_menu(window: QWidget) -> None:
    """Draw lines between the groups of the plugin's menu in a napari window; nothing without that menu."""
    menu = window.findChild(QMenu, PLUGIN_MENU)
    if menu is not None and menu.findChild(_MenuLines) is None:
        _MenuLines(menu)


class _MenuLines(QObject):
    """Keeps the lines, also when napari fills the menu again."""

    def __init__(self, menu: QMenu) -> None:
        super().__init__(menu)
        menu.aboutToShow.connect(self._draw)
        self._draw()

    def _draw(self) -> None:
        menu = self.parent()
        if not isinstance(menu, QMenu) or any(action.isSeparator() for action in menu.actions()):
            return
        for action in menu.actions():
            if action.objectName() in FIRST_OF_GROUP:
                menu.insertSeparator(action)

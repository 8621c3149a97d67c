"""Lines between the groups of the plugin's menu."""

from __future__ import annotations

import npe2
from pytestqt.qtbot import QtBot
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QMainWindow, QMenu

from napari_amil.plugin.window.menu_groups import FIRST_OF_GROUP, PLUGIN_MENU, group_menu


def _fill(menu: QMenu, commands: list[str]) -> None:
    """Put commands into a menu in place of what it has, as napari does."""
    menu.clear()
    for command in commands:
        action = QAction(command, menu)
        action.setObjectName(command)
        menu.addAction(action)


def _shown(menu: QMenu) -> list[str]:
    return ["---" if action.isSeparator() else action.objectName() for action in menu.actions()]


def test_the_menu_has_a_line_above_the_first_entry_of_a_group(qtbot: QtBot) -> None:
    window = QMainWindow()
    qtbot.addWidget(window)
    menu = QMenu(window)
    menu.setObjectName(PLUGIN_MENU)
    commands = ["napari-amil.smear", "napari-amil.cohort", "napari-amil.explore", "napari-amil.calibrate"]
    expected = [*commands[:1], "---", *commands[1:3], "---", commands[3]]
    _fill(menu, commands)
    group_menu(window)
    group_menu(window)
    assert _shown(menu) == expected
    _fill(menu, commands)
    menu.aboutToShow.emit()
    assert _shown(menu) == expected


def test_a_window_without_the_menu_is_left_alone(qtbot: QtBot) -> None:
    window = QMainWindow()
    qtbot.addWidget(window)
    group_menu(window)
    assert window.findChildren(QMenu) == []


def test_the_groups_begin_with_entries_of_the_menu() -> None:
    widgets = npe2.PluginManifest.from_distribution("napari-amil").contributions.widgets or []
    commands = [widget.command for widget in widgets]
    places = [commands.index(command) for command in FIRST_OF_GROUP]
    assert places == sorted(places)
    assert commands[0] == "napari-amil.smear"

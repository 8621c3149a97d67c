from __future__ import annotations

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor

from napari_amil.plugin.cohorts.thumbnail_grid import GridItem, ThumbnailGrid

MANY = 100_000


class Asked:
    """Remembers which positions were painted."""

    def __init__(self) -> None:
        self.positions: list[int] = []

    def __call__(self, position: int) -> GridItem:
        self.positions.append(position)
        return GridItem(None, str(position), QColor("red"), "no image")


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def grid(qtbot: QtBot, asked: Asked) -> ThumbnailGrid:
    grid = ThumbnailGrid(asked, lambda position: f"cell {position}", "dark")
    qtbot.addWidget(grid)
    grid.resize(420, 500)
    grid.show()
    grid.set_count(MANY)
    return grid


def test_only_what_is_seen_is_painted(grid: ThumbnailGrid, asked: Asked) -> None:
    asked.positions.clear()
    grid.grab()
    assert set(asked.positions) == set(grid.visible())
    assert len(grid.visible()) < 40
    grid.reveal(77_777)
    asked.positions.clear()
    grid.grab()
    assert 77_777 in asked.positions
    assert len(asked.positions) < 100


def test_the_last_item_can_be_reached(grid: ThumbnailGrid) -> None:
    grid.verticalScrollBar().setValue(grid.verticalScrollBar().maximum())
    assert grid.visible().stop == MANY
    assert grid.place_of(MANY - 1).bottom() <= grid.viewport().height()


def test_the_mouse_chooses_one_more_or_a_range(qtbot: QtBot, grid: ThumbnailGrid) -> None:
    def click(position: int, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
        middle = grid.place_of(position).center()
        qtbot.mouseClick(grid.viewport(), Qt.MouseButton.LeftButton, modifier, middle)

    opened: list[int] = []
    grid.opened.connect(opened.append)
    click(1)
    assert (grid.positions(), grid.current, opened) == ([1], 1, [1])
    click(3, Qt.KeyboardModifier.ControlModifier)
    assert grid.positions() == [1, 3]
    click(6, Qt.KeyboardModifier.ShiftModifier)
    assert grid.positions() == [3, 4, 5, 6]
    click(4, Qt.KeyboardModifier.ControlModifier)
    assert grid.positions() == [3, 5, 6]
    assert opened == [1]


def test_the_keyboard_goes_everywhere(qtbot: QtBot, grid: ThumbnailGrid) -> None:
    opened: list[int] = []
    grid.opened.connect(opened.append)
    grid.show_chosen([0], 0)
    for key in (Qt.Key.Key_Right, Qt.Key.Key_Down, Qt.Key.Key_Return):
        qtbot.keyClick(grid, key)
    assert grid.current == 1 + grid.columns
    assert opened == [1 + grid.columns]
    assert grid.accessibleDescription() == f"cell {grid.current}"
    qtbot.keyClick(grid, Qt.Key.Key_End)
    assert grid.current == MANY - 1
    assert MANY - 1 in grid.visible()
    qtbot.keyClick(grid, Qt.Key.Key_Home, Qt.KeyboardModifier.ShiftModifier)
    assert len(grid.positions()) == MANY
    qtbot.keyClick(grid, Qt.Key.Key_Escape)
    assert grid.positions() == []
    qtbot.keyClick(grid, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    assert len(grid.positions()) == MANY


def test_larger_thumbnails_keep_the_one_that_is_looked_at(grid: ThumbnailGrid) -> None:
    grid.show_chosen([50_000], 50_000)
    columns = grid.columns
    grid.set_side(200)
    assert grid.columns < columns
    assert 50_000 in grid.visible()
    grid.set_side(5)
    assert grid.side == 48
    assert 50_000 in grid.visible()


def test_an_empty_grid_says_why(grid: ThumbnailGrid, asked: Asked, qtbot: QtBot) -> None:
    grid.set_count(0)
    asked.positions.clear()
    grid.empty_text = "nothing"
    grid.grab()
    qtbot.keyClick(grid, Qt.Key.Key_Down)
    assert asked.positions == []
    assert grid.current == -1

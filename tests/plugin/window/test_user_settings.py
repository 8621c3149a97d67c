"""A window that is opened again begins as the last one was left."""

from __future__ import annotations

from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QComboBox, QFileDialog, QWidget

from napari_amil.plugin.colour.colour_choice import ColourChoice
from napari_amil.plugin.colour.scales import scales_of
from napari_amil.plugin.layers.cell_layer import set_scores
from napari_amil.plugin.layers.colour_scale import CellStyle
from napari_amil.plugin.panels.cell_card import CellCard
from napari_amil.plugin.panels.gallery import GalleryPanel
from napari_amil.plugin.window.model_choice import ModelChoice
from napari_amil.plugin.window.path_choice import PathChoice, ask_path
from napari_amil.plugin.window.user_settings import (
    last_folder,
    remember,
    remember_first,
    remembered,
    remembered_list,
)
from napari_amil.plugin.window.work import Worker


def choose(menu: QComboBox, data: object) -> None:
    """Choose as the mouse does."""
    place = menu.findData(data)
    menu.setCurrentIndex(place if place >= 0 else menu.findText(str(data)))
    menu.activated.emit(menu.currentIndex())


def test_kinds_of_values_come_back() -> None:
    for name, value in {"a": True, "b": 7, "c": 0.25, "d": "words", "e": False}.items():
        assert remembered(name, value) == value
        remember(name, value)
        assert remembered(name, type(value)()) == value
    remember("b", "no number")
    assert remembered("b", 3) == 3
    for number in range(10):
        remember_first("list", f"/a b/{number}", most=3)
    remember_first("list", "/a b/8", most=3)
    assert remembered_list("list") == ["/a b/8", "/a b/9", "/a b/7"]


def test_order_colour_and_style_outlast_the_window(
    qtbot: QtBot, image: Image, layer: Shapes, some_scores: object, worker: Worker
) -> None:
    set_scores(layer, some_scores.assign(contribution_a=[1.0, -1.0, 0.0]))

    def window() -> tuple[ColourChoice, GalleryPanel, CellCard, ViewerModel]:
        viewer = ViewerModel()
        viewer.add_layer(image)
        viewer.add_layer(layer)
        widgets = ColourChoice(viewer), GalleryPanel(viewer), CellCard(viewer, worker)
        for widget in widgets:
            qtbot.addWidget(widget)
            widget.show()
        widgets[0].offer(layer)
        return *widgets, viewer

    colours, gallery, card, viewer = window()
    choose(colours.column, "contribution_a")
    choose(colours.colormap, "PiYG")
    scales_of(viewer).set_style(CellStyle("filled", 0.3))
    choose(gallery.order.column, "area_px")
    gallery.order.direction.click()
    gallery.side.setValue(140)
    qtbot.waitUntil(lambda: card.order.count() > 1, timeout=120_000)
    choose(card.order, "By number")
    colours, gallery, card, viewer = window()
    assert (colours.value().column, colours.value().colormap) == ("contribution_a", "PiYG")
    assert scales_of(viewer).style == CellStyle("filled", 0.3)
    assert gallery.order.value() == ("area_px", False)
    assert gallery.grid.side == 140
    qtbot.waitUntil(lambda: card.order.currentText() == "By number", timeout=120_000)


def test_own_models_and_folders_are_offered_again(
    qtbot: QtBot, worker: Worker, tmp_path: Path, scored_project: Path, viewer: ViewerModel
) -> None:
    mine, gone = tmp_path / "mine.safetensors", tmp_path / "gone.safetensors"
    mine.touch()
    first = ModelChoice(worker)
    qtbot.addWidget(first)
    first.setValue(str(gone))
    first.setValue(str(mine))
    again = ModelChoice(worker)
    qtbot.addWidget(again)
    offered = [again.combo.itemText(i) for i in range(again.combo.count())]
    assert offered == ["Starter model", "mine.safetensors", "From a file …"]
    assert again.value() == str(mine)
    mine.unlink()
    last = ModelChoice(worker)
    qtbot.addWidget(last)
    assert last.value() is None
    gallery = GalleryPanel(viewer)
    qtbot.addWidget(gallery)
    gallery.source.setValue(scored_project)
    gallery.source.setValue(None)
    other = GalleryPanel(ViewerModel())
    qtbot.addWidget(other)
    assert other.source.menu.findData(str(scored_project)) == 1
    assert other.source.value() is None


def test_a_dialog_begins_where_the_last_one_ended(qtbot: QtBot, tmp_path: Path) -> None:
    (tmp_path / "cohort").mkdir()
    parent = QWidget()
    qtbot.addWidget(parent)
    line = PathChoice("Choose a folder", "folder", parent=parent)
    line.choose_folder()
    (dialog,) = line.findChildren(QFileDialog)
    assert not dialog.isModal()
    dialog.fileSelected.emit(str(tmp_path / "cohort"))
    assert line.value() == tmp_path / "cohort"
    assert last_folder() == str(tmp_path)
    assert ask_path(parent, "Again", line.setValue).directory().path() == str(tmp_path)

"""A strip of thumbnails of cells of the open results, in step with the shared selection."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from numpy.typing import NDArray
from qtpy.QtCore import QTimer, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.cohorts.scored_folder import typical_side_px
from napari_amil.plugin.cohorts.thumbnail_grid import GridItem, ThumbnailGrid
from napari_amil.plugin.cohorts.thumbnails import Crop, Thumbnails
from napari_amil.plugin.layers.colour_scale import default_scale
from napari_amil.plugin.layers.crops import source_of_file, square_around
from napari_amil.plugin.layers.score_words import describe
from napari_amil.plugin.layers.selection import keys_of_rows, selection_of
from napari_amil.plugin.window.follow import hear

_COLOUR = "anomaly_percentile"


class CellStrip(QWidget):
    """A grid of cells; one is chosen by a click, and shown in its image."""

    errored = Signal(str)

    def __init__(self, viewer: ViewerModel, name: str, empty: str) -> None:
        super().__init__()
        self._viewer = viewer
        self._state = open_results_of(viewer)
        self._selection = selection_of(viewer)
        self._rows: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._typical_px, self._is_telling = 1.0, False
        self._wanted: list[Crop] = []
        self.thumbnails = Thumbnails(self)
        self.grid = ThumbnailGrid(self._tile, self._say, viewer.theme)
        self.grid.setAccessibleName(name)
        self.grid.empty_text = empty
        self.grid.set_side(64)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.grid)
        self._paint_ended = QTimer(self)
        self._paint_ended.setSingleShot(True)
        self._paint_ended.timeout.connect(self._on_paint_ended)
        self.thumbnails.arrived.connect(self.grid.repaint_tiles)
        self.grid.chosen.connect(self._on_chosen)
        self.grid.opened.connect(self._on_opened)
        self._selection.changed.connect(self._on_selection_changed)
        self._selection.currentChanged.connect(self._on_selection_changed)
        hear(self, viewer.events.theme, self._on_theme_changed)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Rows of the project, in the order of the thumbnails."""
        return self._rows

    def show_rows(self, rows: NDArray[np.int64]) -> None:
        """Show the cells in some rows of the open project."""
        project = self._state.project
        self._rows = rows if project is not None else rows[:0]
        if project is not None:
            self._typical_px = typical_side_px(project.cells)
        self.grid.set_count(len(self._rows))
        self._show_selection(reveal=False)

    def _tile(self, position: int) -> GridItem:
        project = self._state.project
        assert project is not None
        row = int(self._rows[position])
        cell = project.cells.iloc[row]
        colour = QColor("#8c8c8c")
        if _COLOUR in cell:
            value = np.array([float(cell[_COLOUR])])
            colour = QColor.fromRgbF(*default_scale(_COLOUR, value).rgba(value)[0])
        text = f"d {float(cell['anomaly']):.1f}" if np.isfinite(float(cell["anomaly"])) else "-"
        try:
            file = project.image_file(str(cell["image"]))
        except AmilError:
            return GridItem(None, text, colour, "no image")
        box = cell[BOX_COLUMNS].to_numpy(float)
        crop = Crop(source_of_file(*file), square_around(box, self._typical_px))
        picture = self.thumbnails.get(crop)
        if picture is None and self.thumbnails.is_lost(crop):
            return GridItem(None, text, colour, "unreadable")
        if picture is None:
            self._wanted.append(crop)
            self._paint_ended.start(0)
        return GridItem(picture, text, colour)

    def _on_paint_ended(self) -> None:
        self.thumbnails.want(self._wanted)
        self._wanted = []

    def _say(self, position: int) -> str:
        project = self._state.project
        if project is None or position >= len(self._rows):
            return ""
        cell = project.cells.iloc[int(self._rows[position])].to_dict()
        return "\n".join([*describe(cell), f"{cell['bag']}, {cell['image']}"])

    def _on_chosen(self) -> None:
        project = self._state.project
        if project is None:
            return
        self._is_telling = True
        try:
            keys = keys_of_rows(project.cells.iloc[self._rows[self.grid.positions()]])
            current = self.grid.current
            seen = keys_of_rows(project.cells.iloc[self._rows[[current]]]) if current >= 0 else []
            self._selection.choose(keys, seen[0] if seen and seen[0] in keys else None)
        finally:
            self._is_telling = False

    def _on_opened(self, position: int) -> None:
        try:
            self._state.show_cell(int(self._rows[position]))
        except AmilError as error:
            self.errored.emit(str(error))

    def _on_selection_changed(self, _: object = None) -> None:
        if not self._is_telling:
            self._show_selection(reveal=True)

    def _show_selection(self, *, reveal: bool) -> None:
        project = self._state.project
        if project is None or not len(self._rows):
            return
        keys = keys_of_rows(project.cells.iloc[self._rows])
        chosen = self._selection.keys
        places = [place for place, key in enumerate(keys) if key in chosen]
        current = self._selection.current
        at = next((place for place in places if keys[place] == current), -1)
        self.grid.show_chosen(places, at, reveal=reveal)

    def _on_theme_changed(self, _: object) -> None:
        self.grid.set_theme(self._viewer.theme)

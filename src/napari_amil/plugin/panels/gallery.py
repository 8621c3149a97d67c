"""The Gallery panel: thumbnails of cells of the open images or a scored cohort, sorted by a score."""

from __future__ import annotations

import numpy as np
from napari.layers import Image, Shapes
from napari.viewer import Viewer
from numpy.typing import NDArray
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSlider

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.cohorts.cell_canvas import is_of_cell_images
from napari_amil.plugin.cohorts.cell_table import CellTable, cohort_cells, no_cells, open_cells
from napari_amil.plugin.cohorts.field_opening import bring_forward, find_same_cell, open_field
from napari_amil.plugin.cohorts.folder_names import give_names, with_name
from napari_amil.plugin.cohorts.gallery_filter import GalleryFilter
from napari_amil.plugin.cohorts.gallery_order import GalleryOrder, distinct_captions, sorting
from napari_amil.plugin.cohorts.gallery_source import GallerySource
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.cohorts.scored_folder import ScoredFolder
from napari_amil.plugin.cohorts.thumbnail_grid import SIZES_PX, GridItem, ThumbnailGrid
from napari_amil.plugin.cohorts.thumbnails import Crop, Thumbnails
from napari_amil.plugin.colour.scales import scales_of
from napari_amil.plugin.layers.cell_layer import need_record
from napari_amil.plugin.layers.cell_names import name_open_cells, type_keys
from napari_amil.plugin.layers.colour_scale import UNSCORED_RGBA, ColourScale
from napari_amil.plugin.layers.score_words import describe
from napari_amil.plugin.layers.selection import CellKey, fly_to, selection_of
from napari_amil.plugin.window.background import Background
from napari_amil.plugin.window.follow import hear
from napari_amil.plugin.window.panel import Panel
from napari_amil.plugin.window.theme import wrapped
from napari_amil.plugin.window.user_settings import remember, remembered

_SETTLE_MS = 300
_SIDE = "gallery/side_px"
_FIRST_SIDE_PX = 72
"""Three beside each other in a panel of 300 pixels."""
_NO_CELLS = "No cell yet: find and score cells in an open image, or choose a scored folder above."
_NONE_LEFT = "No cell passes the filter."


class GalleryPanel(Panel):
    """Source, order and filter above a grid of thumbnails, in step with the selection of every view."""

    TITLE = "Cell gallery"
    TERMS = ("Anomaly", "Anomaly percentile", "Attention x n", "Detection score", "q-value")
    filled = Signal(int)
    """The number of cells in the gallery, after every change of it."""
    errored = Signal(str)

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        viewer = self._viewer
        self._selection = selection_of(viewer)
        self._scales = scales_of(viewer)
        self._types = type_keys(viewer)
        self._cells: CellTable = no_cells()
        self._scored: ScoredFolder | None = None
        self._shown: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
        self._values: NDArray[np.float64] = np.zeros(0)
        self._anomaly: NDArray[np.float64] = np.zeros(0)
        self._scale: ColourScale | None = None
        self._is_telling = False
        self._wanted: list[Crop] = []
        self.thumbnails = Thumbnails(self)
        self.reading = Background(self)
        self._build()
        self._connect()
        self._watch_layers()
        self.refresh()
        self._state = open_results_of(viewer)
        self._state.changed.connect(self._on_project_opened)
        if self._state.folder is not None:  # a whole cohort is looked at; the open images are in the menu
            self.source.setValue(self._state.folder)

    def _build(self) -> None:
        self.source = GallerySource()
        self.order = GalleryOrder()
        self.filter = GalleryFilter()
        self.grid = ThumbnailGrid(self._tile, self._say, self._viewer.theme)
        self.count = QLabel()
        self.notice = wrapped()
        self.notice.hide()
        self.side = QSlider(Qt.Orientation.Horizontal)
        self.side.setRange(*SIZES_PX)
        self.side.setValue(remembered(_SIDE, _FIRST_SIDE_PX))
        self.grid.set_side(self.side.value())
        self.side.setMaximumWidth(110)
        self.side.setToolTip("Size of the thumbnails (Ctrl and the mouse wheel do the same).")
        self.side.setAccessibleName("Size of the thumbnails")
        foot = QHBoxLayout()
        foot.addWidget(self.count, 1)
        foot.addWidget(self.side)
        layout = self._filling_layout()
        layout.setSpacing(4)
        for widget in (self.source, self.order, self.filter, self.notice):
            layout.addWidget(widget)
        layout.addWidget(self.grid, 1)
        layout.addLayout(foot)
        self.setMinimumWidth(290)

    def _connect(self) -> None:
        self._soon, self._paint_ended = QTimer(self), QTimer(self)
        for timer, pause, slot in (
            (self._soon, _SETTLE_MS, self.refresh),
            (self._paint_ended, 0, self._on_paint_ended),
        ):
            timer.setSingleShot(True)
            timer.setInterval(pause)
            timer.timeout.connect(slot)
        self.source.valueChanged.connect(self._on_source_changed)
        self.source.imagesChanged.connect(self.refresh)
        self.order.valueChanged.connect(self._on_rules_changed)
        self.filter.valueChanged.connect(self._on_rules_changed)
        self.side.valueChanged.connect(self._on_side_changed)
        self.grid.sizeChanged.connect(self.side.setValue)
        self.grid.chosen.connect(self._on_chosen)
        self.grid.opened.connect(self.show_cell)
        self.grid.numbered.connect(self._on_numbered)
        self.thumbnails.arrived.connect(self.grid.repaint_tiles)
        self.reading.finished.connect(self._on_read)
        self.reading.errored.connect(self._on_read_errored)
        self._types.typed.connect(self._on_typed)
        self._selection.changed.connect(self._on_selection_changed)
        self._selection.currentChanged.connect(self._on_selection_changed)
        self._scales.changed.connect(self._on_scale_changed)
        hear(self, self._viewer.events.theme, self._on_theme_changed)

    def _on_project_opened(self) -> None:
        """Show the cells of the cohort that another panel has opened, where none are shown."""
        if self._state.folder is not None and not len(self._cells):
            self.source.setValue(self._state.folder)

    def _watch_layers(self) -> None:
        hear(self, self._viewer.layers.events.inserted, self._on_inserted)
        hear(self, self._viewer.layers.events.removed, self._on_layers_changed)
        for layer in self._viewer.layers:
            self._watch(layer)

    def _watch(self, layer: object) -> None:
        if isinstance(layer, Shapes):
            hear(self, layer.events.features, self._on_layers_changed)
            hear(self, layer.events.data, self._on_layers_changed)

    def _on_inserted(self, event: object) -> None:
        layer = event.value  # type: ignore[attr-defined]
        self._watch(layer)
        if isinstance(layer, Shapes | Image):
            self._on_layers_changed()

    def _on_layers_changed(self, _: object = None) -> None:
        if self.source.value() is None:
            self._soon.start()

    def refresh(self) -> None:
        """Show the cells as they are now."""
        self._soon.stop()
        self.thumbnails.clear_lost()
        if self.source.value() is None:
            self._fill(open_cells(self._viewer.layers), keep_place=True)
        elif self._scored is not None:
            self._fill(cohort_cells(self._scored, self.source.images()))

    def _on_source_changed(self) -> None:
        self.notice.hide()
        self.reading.forget()
        self._scored = None
        folder = self.source.value()
        if folder is None:
            self.refresh()
            return
        self.grid.empty_text = f"Reading {folder} …"
        self._fill(no_cells())
        self.reading.start(self.source.reader())

    def _on_read(self, found: tuple[ScoredFolder, CellTable]) -> None:
        self._scored, cells = found
        self.source.show_images(self._scored.images, asked=True)
        self._fill(cells)

    def _on_read_errored(self, message: str) -> None:
        self._tell(message)
        self.grid.empty_text = _NO_CELLS
        self.grid.repaint_tiles()

    def _tell(self, problem: str) -> None:
        self.notice.setText(problem)
        self.notice.setVisible(bool(problem))
        if problem:
            self.errored.emit(problem)

    def _fill(self, cells: CellTable, *, keep_place: bool = False) -> None:
        self._cells = cells
        self.order.offer(cells.scores)
        self.filter.offer(cells)
        self._arrange(keep_place=keep_place)

    def _arrange(self, *, keep_place: bool = False) -> None:
        """Filter and sort again."""
        keep = self.filter.keeps(self._cells.table)
        column, highest_first = self.order.value()
        self._values, self._anomaly = self._cells.values(column), self._cells.values("anomaly")
        kept = np.flatnonzero(keep)
        self._shown = kept[sorting(column, self._values[kept], self._anomaly[kept], highest_first)]
        self._recolour()
        total = len(self._cells)
        n_shown = len(self._shown)
        self.count.setText(f"{n_shown:,} of {total:,} cells" if n_shown < total else f"{total:,} cells")
        if not self.reading_folder:
            self.grid.empty_text = _NONE_LEFT if total else _NO_CELLS
        self.grid.set_count(n_shown, keep_place=keep_place)
        self._show_selection(reveal=not keep_place)
        self.filled.emit(n_shown)

    def _on_rules_changed(self) -> None:
        self._arrange()

    @property
    def reading_folder(self) -> bool:
        """Return whether the table of a scored folder is still being read."""
        return self.source.value() is not None and self._scored is None

    def _recolour(self) -> None:
        column, _ = self.order.value()
        self._scale = self.order.scale(self._scales, self._values) if column else None

    def _on_scale_changed(self, _: object) -> None:
        self._recolour()
        self.grid.repaint_tiles()

    def _tile(self, position: int) -> GridItem:
        row = int(self._shown[position])
        value = self._values[row : row + 1]
        rgba = self._scale.rgba(value)[0] if self._scale is not None else UNSCORED_RGBA
        text, colour = self._cells.given_name(row) or self._number(position), QColor.fromRgbF(*rgba)
        crop = self._cells.crop(row)
        if crop is None:
            return GridItem(None, text, colour, "no image")
        picture = self.thumbnails.get(crop)
        if picture is None and self.thumbnails.is_lost(crop):
            return GridItem(None, text, colour, "unreadable")
        if picture is None:
            self._wanted.append(crop)
            self._paint_ended.start()
        return GridItem(picture, text, colour)

    def _number(self, position: int) -> str:
        """Return the score of the cell at a position; with its distance where a neighbour has the same."""
        near = self._shown[max(position - 1, 0) : position + 2]
        column, _ = self.order.value()
        return distinct_captions(column, self._values[near], self._anomaly[near])[min(position, 1)]

    def _on_paint_ended(self) -> None:
        self.thumbnails.want(self._wanted)
        self._wanted = []

    def _say(self, position: int) -> str:
        """Return the description of the cell at a position of the grid."""
        row = int(self._shown[position])
        values = self._cells.table.iloc[row].to_dict()
        return "\n".join([*describe(values), str(values["image"])])

    def key_at(self, position: int) -> CellKey:
        """Return the key of the cell at a position of the grid."""
        return self._cells.key(int(self._shown[position]))

    def _on_chosen(self) -> None:
        self._is_telling = True
        try:
            keys = [self.key_at(position) for position in self.grid.positions()]
            current = self.key_at(self.grid.current) if self.grid.current >= 0 else None
            self._selection.choose(keys, current if current in keys else None)
        finally:
            self._is_telling = False

    def _on_selection_changed(self, _: object = None) -> None:
        if not self._is_telling:
            self._show_selection(reveal=True)

    def _on_numbered(self, number: int) -> None:
        """Name the chosen cells by a key: those of open images in their layers, all in the scored folder."""
        name = self._types.of_key(number)
        if number and not name:
            self._tell(f"No type has the key {number}; add it in Name cell types.")
            return
        keys = [self.key_at(position) for position in self.grid.positions()]
        name_open_cells(self._viewer, keys, name)
        if self._scored is None:
            return
        rows = self._cells.rows_of(keys)
        try:
            give_names(self._scored.path, self._cells.table.iloc[rows].assign(cell_type=name))
        except AmilError as error:
            self._tell(str(error))
            return
        self._scored.cells["cell_type"] = with_name(self._scored.cells, rows, name)
        self._fill(cohort_cells(self._scored, self.source.images()), keep_place=True)
        self._types.named.emit()

    def _on_typed(self, folder: str) -> None:
        """Read the scored folder again, in which every cell has a type now."""
        if self._scored is not None and folder == str(self._scored.path):
            self.reading.start(self.source.reader())

    def _show_selection(self, *, reveal: bool) -> None:
        keys = self._selection.keys
        current = self._selection.current
        rows = self._cells.rows_of(keys)
        place_of = np.full(len(self._cells), -1, dtype=np.intp)
        place_of[self._shown] = np.arange(len(self._shown))
        positions = place_of[rows]
        looked_at = self._cells.rows_of([current]) if current is not None else []
        place = int(place_of[looked_at[0]]) if looked_at else -1
        self.grid.show_chosen(positions[positions >= 0], place, reveal=reveal)

    def show_cell(self, position: int) -> None:
        """Fly to the cell at a position of the grid; the image of a cohort is opened if it is not open."""
        row = int(self._shown[position])
        key = self._cells.key(row)
        box = self._cells.table.iloc[row][BOX_COLUMNS].to_numpy(float)
        try:
            found = find_same_cell(self._viewer, key, box)
            if found is None and self._scored is not None:
                self._open(self._scored, row)
                found = find_same_cell(self._viewer, key, box)
        except AmilError as error:
            self._tell(str(error))
            return
        self.notice.hide()
        if found is not None:
            bring_forward(self._viewer, found[0])
            fly_to(self._viewer, *found)
            chosen = self._selection.keys
            self._selection.choose(chosen if key in chosen else [key], key)

    def _open(self, scored: ScoredFolder, row: int) -> None:
        images = self.source.images()
        if images is None:
            raise AmilError("The images of this cohort were not found; choose their folder above.")
        cells, image = self._cells.table, self._cells.table["image"].iloc[row]
        here = cells[(cells["image"] == image).to_numpy()]
        bag = None
        if "bag" in cells:
            name = str(cells["bag"].iloc[row])
            of_bag = cells[(cells["bag"] == name).to_numpy()]
            canvas = is_of_cell_images(of_bag)
            here = of_bag if canvas else here[here["bag"] == name]
            bag = scored.verdict_of(name, None if canvas else str(image))
        scale = self._scales.current or self.order.scale(self._scales, self._values)
        here = here.drop_duplicates("cell_id")
        layer = open_field(self._viewer, images, here, scored.outlines_of(here.index), scale)
        need_record(layer).bag = bag

    def _on_side_changed(self, side: int) -> None:
        self.grid.set_side(side)
        remember(_SIDE, side)

    def _on_theme_changed(self, _: object) -> None:
        self.grid.set_theme(self._viewer.theme)

"""The results of a scored cohort that a viewer has open, shared by all panels."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from napari.components import ViewerModel
from napari.layers import Image, Layer, Shapes
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError
from qtpy.QtCore import QCoreApplication, QObject, Signal

from napari_amil.core.base.columns import menu_names, score_names
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import regular_file
from napari_amil.core.base.types import Cells
from napari_amil.core.detection.select import Candidates
from napari_amil.core.exchange.project import Project, read_project
from napari_amil.plugin.cohorts.cell_canvas import add_canvas, is_of_cell_images
from napari_amil.plugin.cohorts.scored_folder import verdict_in
from napari_amil.plugin.colour.map_colours import with_kinds
from napari_amil.plugin.layers.cell_layer import make_layer, need_record, set_scores, show_scale
from napari_amil.plugin.layers.colour_scale import CellStyle, ColourScale, default_scale
from napari_amil.plugin.layers.rows import CellRecord, record_of
from napari_amil.plugin.layers.selection import BAG, CellKey, KeyRows, find_cell, fly_to, selection_of
from napari_amil.plugin.window.background import Background
from napari_amil.plugin.window.viewer import PerViewer

_TIFF = {".tif", ".tiff"}
_CORNERS = 4


@dataclass(frozen=True, eq=False)
class LoadedResults:
    """A project and what its views need of it, worked out in a thread so that no window waits.

    Parameters
    ----------
    cells
        The table of cells, with what is known of their bags.
    rows_of
        In which rows of the table a cell lies, one for each bag that it is in.
    plane
        ``(n_cells, 2)`` the first two principal components.
    """

    folder: Path
    project: Project
    cells: pd.DataFrame
    rows_of: KeyRows
    plane: NDArray[np.float64]


def read_results_folder(folder: Path) -> LoadedResults:
    """Return the project in ``folder``, ready to be shown; may be called in any thread.

    Raises
    ------
    AmilError
        If the folder holds none.
    """
    project = read_project(folder)
    cells = with_kinds(project.cells, project.bags)
    rows_of = KeyRows(*(cells[name].tolist() for name in ("image", "cell_id", "bag")))
    rows_of.rows(CellKey("", 0, "-"))  # so that it is made here and not in the window
    return LoadedResults(folder, project, cells, rows_of, project.plane())


class OpenResults(QObject):
    """The project of one viewer."""

    changed = Signal()
    """Another project is open."""
    errored = Signal(str)
    """The folder that was to be opened holds no project that can be read."""

    def __init__(self, viewer: ViewerModel, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._shown: list[weakref.ReferenceType[Layer]] = []
        self.opened: LoadedResults | None = None
        self._reading = Background(self)
        self._reading.finished.connect(self._on_read)
        self._reading.errored.connect(self.errored)

    @property
    def project(self) -> Project | None:
        """The project that is open."""
        return self.opened.project if self.opened is not None else None

    @property
    def folder(self) -> Path | None:
        """Its folder."""
        return self.opened.folder if self.opened is not None else None

    def open(self, folder: Path) -> None:
        """Read the project in ``folder`` in a thread and tell every panel: ``changed`` or ``errored``."""
        self._reading.start(partial(read_results_folder, folder))

    def _on_read(self, opened: LoadedResults) -> None:
        self.opened = opened
        self.changed.emit()

    def show_cell(self, row: int, chosen: Iterable[CellKey] = ()) -> None:
        """Open the image of a cell with the cells of its bag, choose the cell and fly to it.

        What was opened for the cell before goes, unless the user has changed it.

        Parameters
        ----------
        row
            Row of the table of cells.
        chosen
            Cells that are chosen beside it.

        Raises
        ------
        AmilError
            If the image cannot be read.
        """
        viewer = self._viewer()
        if viewer is None or self.project is None:
            return
        cell = self.project.cells.iloc[row]
        key = CellKey(str(cell["image"]), int(cell["cell_id"]), str(cell["bag"]))
        found = find_cell(viewer, key)
        if found is None:
            layer = self._add(viewer, key.image, key.bag)
            found = find_cell(viewer, key) or (layer, 0)
        selection_of(viewer).choose([key, *chosen], key)
        viewer.layers.selection.active = found[0]
        fly_to(viewer, *found)

    def _add(self, viewer: ViewerModel, image: str, bag: str) -> Shapes:
        """Add an image and the cells of a bag on it."""
        assert self.project is not None
        of_bag = self.project.cells[self.project.cells["bag"] == bag]
        if is_of_cell_images(of_bag):
            return self._add_canvas(viewer, of_bag)
        pixels = read_pixels(*self.project.image_file(image))
        self._remove_shown(viewer)
        background = Image(pixels, rgb=pixels.ndim == 3, name=Path(image).name)
        cells, table = self.project.of_bags([bag]).image_cells(image)
        diameter = float(np.median(2 * np.sqrt(np.asarray(cells.area_px) / np.pi)))
        record = CellRecord(str(background.unique_id), image, (), (pixels.shape[0], pixels.shape[1]))
        record.candidates = Candidates.from_cells(cells, diameter)
        layer = make_layer(cells, record, background)
        layer.metadata[BAG] = bag
        set_scores(layer, table[["cell_id", *score_names(table)]])
        if of_bag["image"].nunique() == 1:  # else the verdict is not on this image alone
            self._keep_verdict(layer, bag)
        names = [name for name in menu_names(table) if table[name].notna().any()]
        if names:
            values = self.project.cells[names[0]].to_numpy(np.float64)
            show_scale(layer, _scale(default_scale(names[0], values), cells))
        for added in (background, layer):
            viewer.add_layer(added)
            self._shown.append(weakref.ref(added))
        return layer

    def _add_canvas(self, viewer: ViewerModel, cells: pd.DataFrame) -> Shapes:
        """Add the canvas of a bag of cell images."""
        project = self.project
        assert project is not None
        self._remove_shown(viewer)
        added = add_canvas(viewer, cells, lambda name: read_pixels(*project.image_file(name)))
        self._keep_verdict(added[1], str(cells["bag"].iloc[0]))
        self._shown += [weakref.ref(layer) for layer in added]
        names = [name for name in menu_names(cells) if cells[name].notna().any()]
        if names:
            scale = default_scale(names[0], project.cells[names[0]].to_numpy(np.float64))
            show_scale(added[1], replace(scale, style=CellStyle("outline")))
        return added[1]

    def _keep_verdict(self, layer: Shapes, bag: str) -> None:
        """Store with a layer the verdict on the bag whose cells it holds."""
        assert self.project is not None
        bags = self.project.bags
        row = bags[bags["bag"] == bag]
        if len(row) and "predicted" in bags:
            need_record(layer).bag = verdict_in(row.iloc[0].to_dict())

    def _remove_shown(self, viewer: ViewerModel) -> None:
        shown = [reference() for reference in self._shown]
        layers = [layer for layer in shown if layer is not None and layer in viewer.layers]
        self._shown = []
        if any(_is_touched(layer) for layer in layers):
            return
        for layer in layers:
            viewer.layers.remove(layer)


def _scale(scale: ColourScale, cells: Cells) -> ColourScale:
    """Return the scale for some cells: mere boxes are not tinted, so that what they hold can be seen."""
    are_boxes = all(len(outline) == _CORNERS for outline in cells.outlines)
    return replace(scale, style=CellStyle("outline")) if are_boxes else scale


def _is_touched(layer: Layer) -> bool:
    record = record_of(layer)
    return record is not None and record.is_touched(layer.features)


def stored_layout(folder: Path, layout: str) -> np.ndarray | None:
    """Return the places ``(n_cells, 2)`` that were worked out for a project, None where there are none."""
    try:
        return np.asarray(np.load(regular_file(folder / f"map-{layout}.npy"), allow_pickle=False))
    except (AmilError, OSError, ValueError, EOFError):
        return None


open_results_of = PerViewer(lambda viewer: OpenResults(viewer, QCoreApplication.instance()))
"""The open project of a viewer; every panel of it gets the same."""


def read_pixels(path: Path, page: int) -> np.ndarray:
    """Return one page of an image as it is stored, grey or RGB.

    Raises
    ------
    AmilError
        If it cannot be read.
    """
    try:
        if path.suffix.lower() in _TIFF:
            return np.asarray(tifffile.imread(path, key=page))
        with PillowImage.open(path) as stored:
            return np.asarray(stored if stored.mode.startswith("I") else stored.convert("RGB"))
    except (OSError, ValueError, IndexError, UnidentifiedImageError) as error:
        raise AmilError(
            f"The image '{path}' cannot be opened ({error}); put it back where it was scored."
        ) from error

"""A cell layer as a file: GeoJSON with every column, or a table; all layers as a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from napari.utils.notifications import show_info, show_warning
from napari_builtins.io import napari_write_shapes, write_layer_data_with_plugins
from npe2 import PluginManager
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.exchange.cell_files import write_cell_table
from napari_amil.core.exchange.geojson import write_geojson
from napari_amil.plugin.layers.journal import Journal
from napari_amil.plugin.layers.rows import RECORD, CellRecord, cells_in
from napari_amil.plugin.layers.snapshot import LayerData, Snapshot, snapshot, to_json
from napari_amil.plugin.window.follow import COMPANION
from napari_amil.plugin.window.user_settings import PLUGIN

Shapes = list[NDArray[np.float64]]
_GEOJSON = (".geojson", ".json")
_TABLES = (".csv", ".parquet")


def stand_first() -> None:
    """Let napari offer and choose the writers of this plugin before others for the same kind of layer.

    npe2 ranks writers of one kind by the order in which it met their plugins, which the disk decides, and its
    manifest knows no priority; so the list itself is sorted. Shapes that are no cells are handed on to
    napari's writer, and are saved as ever. Where npe2 keeps its list elsewhere, nothing is done.
    """
    writers = getattr(getattr(PluginManager.instance(), "_contrib", None), "_writers", None)
    if isinstance(writers, list):
        writers.sort(key=lambda entry: entry[-1].plugin_name != PLUGIN)


def write_cells(path: str, data: Shapes, attributes: dict[str, Any]) -> list[str]:
    """Write a cell layer whole, as GeoJSON that QuPath opens and that this program reads back unchanged.

    Shapes that are no cells are written as napari itself does, as a table of their corners.

    Parameters
    ----------
    path
        Where to; ``.geojson`` is added to a name that ends otherwise, as that of a layer may.

    Raises
    ------
    AmilError
        If the file cannot be written.
    """
    if not _holds_cells(attributes):
        plain = str(Path(path).with_suffix(".csv")) if _ends(path, _GEOJSON) else f"{path}.csv"
        show_info(f"The layer '{attributes.get('name')}' holds no cells; its corners are saved in '{plain}'.")
        return [written for written in [napari_write_shapes(plain, data, attributes)] if written]
    path = path if _ends(path, _GEOJSON) else f"{path}.geojson"
    write_snapshot(snapshot(data, attributes), Path(path))
    journal = attributes["metadata"][RECORD].journal
    if isinstance(journal, Journal):
        journal.mark_saved()
    return [path]


def write_snapshot(taken: Snapshot, path: Path) -> None:
    """Write the snapshot of a layer; may run in any thread."""
    shapes = list(zip(taken.shapes, taken.attributes["shape_type"], strict=True))
    cells, rows = cells_in(taken.record, taken.table, shapes)
    write_geojson(cells, taken.table.iloc[rows].reset_index(drop=True), path, to_json(taken))


def write_table(path: str, data: Shapes, attributes: dict[str, Any]) -> list[str]:
    """Write every column of a cell layer and its outlines as CSV; other shapes as napari itself does.

    Parameters
    ----------
    path
        Where to; ``.cells.csv`` is added to a name that ends otherwise, as that of a layer may.

    Raises
    ------
    AmilError
        If the file cannot be written.
    """
    path = path if _ends(path, _TABLES) else f"{path}.cells.csv"
    if not _holds_cells(attributes):
        return [written for written in [napari_write_shapes(path, data, attributes)] if written]
    taken = snapshot(data, attributes)
    shapes = list(zip(taken.shapes, taken.attributes["shape_type"], strict=True))
    cells, rows = cells_in(taken.record, taken.table, shapes)
    if len(rows) < len(shapes):
        show_warning(f"{len(shapes) - len(rows)} shapes without an area are not in '{path}'.")
    table = taken.table.iloc[rows].reset_index(drop=True)
    boxes = dict(zip(BOX_COLUMNS, cells.boxes.T.astype(float), strict=True))
    write_cell_table(cells, table.assign(**boxes), Path(path))
    return [path]


def write_folder(path: str, layers: list[LayerData]) -> list[str]:
    """Write each layer into a folder, as napari does unless there are vectors: then it would write nothing.

    Boxes of cells are vectors. They and all else that is drawn from cells is left out, and so are vectors of
    the user's, for which there is no file.

    Parameters
    ----------
    path
        The folder; it is made.
    layers
        Data, attributes and kind of each layer.

    Raises
    ------
    AmilError
        If the folder holds files of these names already; they are left as they are.
    """
    drawn = [attributes["name"] for _, attributes, _ in layers if _accompanies(attributes)]
    own = [layer for layer in layers if not _accompanies(layer[1])]
    lost = [attributes["name"] for _, attributes, kind in own if kind == "vectors"]
    kept = [layer for layer in own if layer[2] != "vectors"]
    if lost:
        show_warning(f"Vectors cannot be saved in a folder; left out: {', '.join(lost)}.")
    if drawn:
        show_info(f"Not saved, since they are drawn from the cells again: {', '.join(drawn)}.")
    try:
        return write_layer_data_with_plugins(path, kept) if kept else []
    except shutil.Error as error:
        raise AmilError(f"'{path}' holds files of these names already; choose another folder.") from error


def _accompanies(attributes: dict[str, Any]) -> bool:
    return COMPANION in attributes.get("metadata", {})


def _ends(path: str, endings: tuple[str, ...]) -> bool:
    return path.lower().endswith(endings)


def _holds_cells(attributes: dict[str, Any]) -> bool:
    return isinstance(attributes.get("metadata", {}).get(RECORD), CellRecord)

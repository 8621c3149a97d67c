"""Cells and their scores as a napari Shapes layer, and a Labels layer as cells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Image, Labels, Shapes
from numpy.typing import NDArray

from napari_amil.core.base.columns import score_names
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Cells
from napari_amil.core.detection.select import Candidates
from napari_amil.core.exchange.labels import cells_of_labels
from napari_amil.plugin.layers.colour_scale import UNSCORED_RGBA, ColourScale
from napari_amil.plugin.layers.fast_shapes import (
    fastest_triangulation,
    has_compiled_triangulation,
    simplified,
)
from napari_amil.plugin.layers.journal import keep
from napari_amil.plugin.layers.planes import Plane
from napari_amil.plugin.layers.rows import (
    DOTTED,
    PIXEL_EDGE,
    RECORD,
    CellRecord,
    cells_in,
    colour_cells,
    complete,
    layer_name,
    record_of,
    write_features,
)

_EDGE_OF_DIAMETER = 1 / 26
_COARSE_PX = {True: 0.2, False: 1.0}
"""Largest error of a drawn outline in pixels, with and without compiled triangulation."""


def make_layer(cells: Cells, record: CellRecord, image: Image) -> Shapes:
    """Return the layer that shows ``cells`` on ``image``, built in one call.

    Every shape lies in the data coordinates of the image and the layer takes over its transform;
    ``record.known`` keeps the exact outlines.
    """
    shapes = drawn_shapes(cells, record)
    n_colours = max(len(cells), 1)  # an empty layer takes one as that of the next shape
    with fastest_triangulation():
        layer = Shapes(
            shapes or None,
            ndim=len(record.place) + 2,
            shape_type="polygon",
            edge_width=edge_width(record),
            edge_color=np.tile(UNSCORED_RGBA, (n_colours, 1)),
            face_color=np.zeros((n_colours, 4)),
            name=layer_name(record.image_name),
            opacity=1.0,
            **image_transform(image),
            metadata={RECORD: record},
        )
    record.next_id = max(record.next_id, *(int(cell_id) + 1 for cell_id in record.known.cell_id), 1)
    write_features(layer, record, features_of(cells, record))
    keep(layer)
    return layer


def adopt_layer(layer: Shapes, record: CellRecord) -> None:
    """Make a layer that the user drew into a cell layer: every shape becomes an unscored cell."""
    layer.metadata[RECORD] = record
    keep(layer)


def features_of(cells: Cells, record: CellRecord) -> pd.DataFrame:
    """Return the features of ``cells`` with the scores that are known for them."""
    table = cells.table()
    table["status"] = "unscored"
    if record.aside is not None:
        table = table.join(record.aside.loc[record.aside.index.intersection(table["cell_id"])], on="cell_id")
    return with_scores(complete(table, len(cells), record), record.scores)


def with_scores(table: pd.DataFrame, scores: pd.DataFrame | None) -> pd.DataFrame:
    """Return ``table`` with the scores of the cells that have some and were not changed since."""
    if scores is None:
        return table
    row_of = scores.index.get_indexer(pd.Index(table["cell_id"]))
    known = (row_of >= 0) & table["status"].isin(["unscored", "scored"]).to_numpy()
    names = score_names(scores)
    values = np.full((len(table), len(names)), np.nan)
    values[known] = scores[names].to_numpy(float)[row_of[known]]
    status = np.array(table["status"], dtype=object)
    status[known] = "scored"
    others = table[[name for name in table if name != "status" and name not in set(names)]]
    return pd.concat([others, pd.DataFrame(values, others.index, names)], axis=1).assign(status=status)


def set_scores(layer: Shapes, scores: pd.DataFrame) -> None:
    """Write ``scores`` (a column ``cell_id`` and score columns) into the features, cell by cell.

    The rows may come in any order and may lack cells; those stay unscored with NaN.
    """
    record = need_record(layer)
    indexed = scores.set_index("cell_id")
    finite = indexed["anomaly"].notna() if "anomaly" in indexed else pd.Series(True, indexed.index)
    record.scores = indexed[finite]
    table = layer.features.drop(columns=score_names(layer.features))
    excluded = table["status"].eq("excluded")
    table = with_scores(table.assign(status=table["status"].where(excluded, "unscored")), record.scores)
    write_features(layer, record, complete(table, layer.nshapes, record))


def show_scale(layer: Shapes, scale: ColourScale) -> None:
    """Colour the cells by ``scale``; cells without that score turn black."""
    record = need_record(layer)
    record.scale = scale
    colour_cells(layer, record, layer.features.iloc[: layer.nshapes])
    if DOTTED in layer.metadata:
        layer.events.edge_color()  # what stands in for the cells is coloured anew


def show_cells(layer: Shapes, cells: Cells) -> None:
    """Show ``cells``, plus those that the user drew or changed, minus those that the user deleted.

    Rows that stay are not touched, so that selection, ids and scores stay with their shapes.
    """
    record = need_record(layer)
    if record.journal is not None:
        record.journal.before()
    table = layer.features
    ids = table["cell_id"].to_numpy()
    by_hand = record.by_hand(table)
    wanted = np.asarray(cells.cell_id)
    leave = np.flatnonzero(~np.isin(ids, wanted) & ~by_hand)
    enter = cells.take(~np.isin(wanted, ids) & ~np.isin(wanted, list(record.removed)))
    record.keep_aside(table.iloc[leave])
    record.paused = True
    try:
        with fastest_triangulation():
            layer.remove([int(row) for row in leave])  # an empty list leaves the layer alone
            kept = layer.features.iloc[: layer.nshapes]
            if len(enter):
                layer.add(
                    drawn_shapes(enter, record),
                    shape_type="polygon",
                    edge_width=edge_width(record),
                    edge_color=np.tile(UNSCORED_RGBA, (len(enter), 1)),
                    face_color=np.zeros((len(enter), 4)),
                )
        if len(leave) or len(enter):
            record.bag = None
        rows = pd.concat([kept, features_of(enter, record)], ignore_index=True) if len(enter) else kept
        rows = rows.assign(
            overlaps=rows["overlaps"].where(~rows["cell_id"].isin(wanted), _overlaps(rows, cells))
        )
        write_features(layer, record, complete(rows, layer.nshapes, record))
    finally:
        record.paused = False


def _overlaps(rows: pd.DataFrame, cells: Cells) -> NDArray[np.bool_]:
    """Return for every row whether its cell overlaps another one of ``cells``."""
    return np.asarray(rows["cell_id"].isin(cells.cell_id[cells.overlaps]).to_numpy(bool))


def cells_of(layer: Shapes) -> Cells:
    """Return the cells of a layer as they are now; left out are excluded cells and shapes without an area.

    A cell that nobody changed has its exact outline and detector box, not the drawn simplification. Shapes
    are clipped to the image.
    """
    record, table = need_record(layer), layer.features
    rows = np.flatnonzero(table["status"].ne("excluded"))
    shapes, kinds = layer.data, layer.shape_type
    cells, _ = cells_in(record, table.iloc[rows], [(shapes[r], kinds[r]) for r in rows])
    return cells


def no_cells_in_words(layer: Shapes) -> str:
    """Return a sentence about shapes of a cell layer that are no cells; empty where there are none."""
    n = int(layer.features["status"].ne("excluded").sum()) - len(cells_of(layer))
    if n <= 0:
        return ""
    are = "shape is no cell and is" if n == 1 else "shapes are no cells and are"
    return f"{n:,} {are} left out: lines, open paths and clicks have no area."


def drawn_shapes(cells: Cells, record: CellRecord) -> list[NDArray[np.float64]]:
    """Return the shapes ``(n_points, ndim)`` of ``cells`` and note them as drawn."""
    tolerance = _COARSE_PX[has_compiled_triangulation()]
    shapes = []
    simple_ones = simplified([outline.astype(float) for outline in cells.outlines], tolerance)
    for cell_id, simple in zip(cells.cell_id, simple_ones, strict=True):
        record.drawn[int(cell_id)] = simple
        lead = np.tile(np.array(record.place, float), (len(simple), 1))
        shapes.append(np.hstack([lead, simple - PIXEL_EDGE]))
    return shapes


def edge_width(record: CellRecord) -> float:
    """Return the width of an outline in pixels of the image."""
    diameter = (
        record.candidates.diameter_px
        if np.isfinite(record.candidates.diameter_px)
        else min(record.image_shape) / 16
    )
    return float(np.clip(diameter * _EDGE_OF_DIAMETER, 0.75, 12.0))


def image_transform(image: Image) -> dict[str, Any]:
    """Return the transform of ``image`` as the arguments that a new layer takes."""
    names = ("scale", "translate", "rotate", "shear", "affine", "units")
    return {name: getattr(image, name) for name in names}


def need_record(layer: Shapes) -> CellRecord:
    """Return the record of ``layer``."""
    record = record_of(layer)
    if record is None:
        raise ValueError(f"The layer '{layer.name}' holds no cells; adopt it first.")
    return record


def cell_layers(layers: Iterable[Any]) -> list[Shapes]:
    """Return the cell layers among ``layers``."""
    return [layer for layer in layers if record_of(layer) is not None]


def layer_of_labels(labels: Labels, plane: Plane) -> Shapes:
    """Return a cell layer with the outline of every label on a plane; the ids of the cells are the labels.

    Raises
    ------
    AmilError
        If the labels do not cover the image pixel by pixel, or there are none.
    """
    stack: Any = labels.data[0] if labels.multiscale else labels.data
    place = plane.place if stack.ndim == len(plane.place) + 2 else ()
    shown = np.asarray(stack[place] if place else stack)
    height, width = plane.pixels.shape[:2]
    if shown.shape != (height, width):
        size = " x ".join(map(str, reversed(shown.shape)))
        raise AmilError(
            f"The labels '{labels.name}' have {size} pixels, but the image {width} x {height}; "
            "they must be of one size."
        )
    cells = cells_of_labels(shown)
    if not len(cells):
        raise AmilError(f"The layer '{labels.name}' labels no cell on this plane.")
    low, high = cells.boxes[:, :2], cells.boxes[:, 2:]
    cut = (low <= 0).any(axis=1) | (high >= (height, width)).any(axis=1)
    record = plane.record()
    record.candidates = Candidates.from_cells(replace(cells, touches_border=np.asarray(cut)), float("nan"))
    layer = make_layer(record.known, record, plane.layer)
    layer.name = layer_name(labels.name)
    return layer

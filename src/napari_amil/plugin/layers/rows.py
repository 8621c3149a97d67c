"""Rows of a cell layer: every shape keeps its ``cell_id``, which is never reused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from napari.layers import Shapes
from napari.utils.events import Event
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS, FLAG_COLUMNS, names_in, score_names
from napari_amil.core.base.settings import DetectionSettings, SelectionSettings
from napari_amil.core.base.types import CELL_COLUMNS, Cells, polygon_area
from napari_amil.core.detection.select import Candidates
from napari_amil.plugin.layers.colour_scale import ColourScale, tiers
from napari_amil.plugin.layers.fast_shapes import paint, shape_at

RECORD = "napari_amil"
"""Key of the `CellRecord` in ``layer.metadata``."""
DOTTED = "napari_amil_dotted"
"""Key in ``metadata`` of a cell layer that is hidden behind an overview, and need not be coloured."""
PIXEL_EDGE = 0.5
"""Cells count from the corner of the first pixel, napari from its centre."""

CELL_TYPE = "cell_type"
"""Column with the type that the user gave a cell by hand; never an input of anomaly or verdict."""
TYPE, TYPE_PROBABILITY = "type", "type_probability"
"""Columns with the type that was learned from such names; empty again when the outline changes."""
_ELLIPSE_POINTS = 48
_MOVED_PX = 1e-3
_ROUNDING = 1e-5
_OPEN_KINDS = ("line", "path")
_ENDING = re.compile(r"\.[A-Za-z]\w{1,4}(?=$|#)")


class RowObserver(Protocol):
    """An observer that is called before and after the rows of a layer change: the journal."""

    def before(self) -> None:
        """Hear that something is about to change."""

    def note_columns(self) -> None:
        """Hear that shapes are about to change, while other plugins may have written columns in place."""

    def after(self) -> None:
        """Hear that shapes, features and record are in order again."""


@dataclass
class CellRecord:
    """Data of a cell layer other than its shapes; copied with the layer.

    Parameters
    ----------
    image_id, image_name
        ``unique_id`` of the image layer the cells lie on, and the name written into the tables.
    place
        Index of the shown plane along the leading axes of a stack; ``()`` for a single image.
    image_shape
        ``(height, width)`` of the plane in pixels.
    candidates
        Every cell that was found, with its exact outline, and the typical diameter (NaN where
        nothing was detected).
    """

    image_id: str
    image_name: str
    place: tuple[int, ...]
    image_shape: tuple[int, int]
    candidates: Candidates = field(
        default_factory=lambda: Candidates.from_cells(Cells(np.empty((0, 4), np.float32)), float("nan"))
    )
    drawn: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    """Outline of every cell as it was last drawn, to tell a change from a click."""
    redrawn: set[int] = field(default_factory=set)
    """Ids of the cells whose outline is no longer the one that was found."""
    next_id: int = 1
    removed: set[int] = field(default_factory=set)
    """Ids of the cells that the user deleted; a slider never brings them back."""
    present: set[int] = field(default_factory=set)
    scores: pd.DataFrame | None = None
    """The latest scores, indexed by ``cell_id``."""
    aside: pd.DataFrame | None = None
    """Names and columns of other plugins of the cells that a slider took out, indexed by ``cell_id``."""
    scale: ColourScale | None = None
    detection: DetectionSettings = field(default_factory=DetectionSettings)
    """Settings with which the cells were found; scoring uses the same cell diameter."""
    selection: SelectionSettings | None = None
    """Selection of cells among the candidates, as the sliders stood last."""
    bag: dict[str, Any] | None = None
    """Result of the model for the whole sample; None once the cells differ from the scored ones."""
    size_known: bool = True
    """Whether ``image_shape`` is that of an image; cells of a file may come before their image."""
    paused: bool = False
    journal: RowObserver | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> CellRecord:
        """Return a record of its own for a duplicated layer; arrays that nobody changes are shared."""
        own = {name: copy(getattr(self, name)) for name in ("drawn", "redrawn", "removed", "present")}
        return replace(self, **own, paused=False, journal=None)

    @property
    def agreed_px(self) -> float | None:
        """Typical diameter at which the cells were found, in pixels; None where nothing was detected."""
        found = self.candidates.diameter_px
        return float(found) if np.isfinite(found) else None

    @property
    def known(self) -> Cells:
        """Every cell that was found, shown or not."""
        return self.candidates.cells

    def is_touched(self, features: pd.DataFrame) -> bool:
        """Return whether the user drew, changed, left out or deleted a cell."""
        return bool(self.removed) or bool(self.by_hand(features).any())

    def is_worked_on(self, features: pd.DataFrame) -> bool:
        """Return whether detecting cells again would lose work, names and columns of plugins included."""
        named = CELL_TYPE in features and features[CELL_TYPE].fillna("").ne("").any()
        return bool(named or foreign_names(features)) or self.is_touched(features)

    def by_hand(self, features: pd.DataFrame) -> NDArray[np.bool_]:
        """Return a mask of the rows that are the user's own work; a slider leaves them alone."""
        ids = features["cell_id"].to_numpy()
        excluded = features["status"].eq("excluded").to_numpy(bool)
        return excluded | np.isin(ids, list(self.redrawn)) | ~np.isin(ids, self.known.cell_id)

    def keep_aside(self, table: pd.DataFrame) -> None:
        """Keep the features of removed cells, for when they come back."""
        names = [name for name in (CELL_TYPE, *foreign_names(table)) if name in table]
        if names and len(table):
            kept = table.set_index("cell_id")[names]
            before = [] if self.aside is None else [self.aside[~self.aside.index.isin(kept.index)]]
            self.aside = pd.concat([*before, kept])

    def take_id(self) -> int:
        """Return an id that was never given before."""
        self.next_id += 1
        return self.next_id - 1


def foreign_names(names: Iterable[Any]) -> list[Any]:
    """Return those of ``names`` that are no columns of this program: another plugin wrote them."""
    names = list(names)
    own = set(names_in("cells", map(str, names)))
    if TYPE_PROBABILITY not in own:  # ours comes with its probability
        own.discard(TYPE)
    return [name for name in names if name not in own]


def record_of(layer: Any) -> CellRecord | None:  # noqa: ANN401
    """Return the record of a cell layer; None for any other layer."""
    record = layer.metadata.get(RECORD) if isinstance(layer, Shapes) else None
    return record if isinstance(record, CellRecord) else None


def layer_name(image_name: str, what: str = "cells") -> str:
    """Return the name of a layer on an image; napari takes it as the name of a file, so it has no ending.

    >>> layer_name("slides/267.jpg"), layer_name("stack.ome.tif#3", "boxes")
    ('cells of 267', 'boxes of stack_ome#3')
    """
    base = _ENDING.sub("", Path(image_name).name)
    return f"{what} of {base.replace('.', '_')}"


class RowKeeper:
    """Puts the features of one layer right after every change of its shapes or features.

    It is an object that can be called, because napari holds bound methods only weakly.
    """

    def __init__(self, layer: Shapes) -> None:
        self._layer = layer

    def __call__(self, event: Event | None = None) -> None:
        """Put the rows right after what ``event`` says has happened."""
        record = record_of(self._layer)
        action = str(getattr(event, "action", "")).rsplit(".", maxsplit=1)[-1].lower()
        if record is None or record.paused:
            return
        if action in {"adding", "changing", "removing"}:
            if record.journal is not None:
                record.journal.note_columns()
            return
        if record.journal is not None:
            record.journal.before()
        changed = event.data_indices if event is not None and action == "changed" else ()
        indices = [int(index) for index in changed if index >= 0]
        if len(indices) == 1 and self._layer.nshapes == len(self._layer.features) - 1:
            _drop_row(self._layer, record, indices[0])
            indices = []
        keep_rows(self._layer, record, indices)


def _drop_row(layer: Shapes, record: CellRecord, row: int) -> None:
    """Drop the row of a shape that went with its last corners; napari leaves that row behind."""
    record.paused = True
    try:
        layer.features = layer.features.drop(index=layer.features.index[row]).reset_index(drop=True)
    finally:
        record.paused = False


def watch(layer: Shapes) -> None:
    """Keep the rows of ``layer`` in order from now on."""
    keeper = RowKeeper(layer)
    layer.events.data.connect(keeper)
    layer.events.features.connect(keeper)
    keeper()


def keep_rows(layer: Shapes, record: CellRecord, changed: list[int]) -> None:
    """Give new shapes an id of their own, mark changed ones, and set blank defaults.

    A drawn shape arrives with the default row, a pasted one with a copy of another row, and an unfinished
    polygon leaves a row without a shape.
    """
    table = complete(layer.features.iloc[: layer.nshapes], layer.nshapes, record)
    ids = table["cell_id"].to_numpy()
    gone = record.present - set(ids.tolist())
    fresh = np.flatnonzero((ids <= 0) | pd.Series(ids).duplicated().to_numpy())
    candidates = sorted({row for row in changed if row < len(table)} - set(fresh))
    moved = [row for row in candidates if _has_moved(layer, record, int(ids[row]), row)]
    table.loc[fresh, "cell_id"] = [record.take_id() for _ in fresh]
    table.loc[fresh, "detection_score"] = np.nan
    table.loc[fresh, "overlaps"] = False
    table.loc[fresh, "status"] = "unscored"
    if CELL_TYPE in table:
        table.loc[fresh, CELL_TYPE] = ""
    table.loc[moved, "status"] = "edited"
    record.redrawn |= {int(ids[row]) for row in moved}
    rows = [*fresh, *moved]
    table.loc[rows, score_names(table)] = np.nan
    _measure(layer, table, record, rows)
    if len(fresh) or moved or gone:
        record.bag = None
    record.removed |= gone
    write_features(layer, record, table)


def complete(features: pd.DataFrame, n_rows: int, record: CellRecord) -> pd.DataFrame:
    """Return ``features`` with ``n_rows`` rows, all base columns and their right types."""
    table = features.reset_index(drop=True).reindex(range(n_rows)).copy()
    ids = (
        pd.to_numeric(table["cell_id"], errors="coerce") if "cell_id" in table else pd.Series(0, table.index)
    )
    columns: dict[str, Any] = {
        "image": np.full(n_rows, record.image_name, dtype=object),
        "cell_id": ids.fillna(0).astype(np.int64).to_numpy(),
    }
    for name in (*BOX_COLUMNS, "detection_score", "area_px"):
        columns[name] = _floats(table, name, n_rows)
    for name in FLAG_COLUMNS:
        columns[name] = table[name].eq(True).to_numpy() if name in table else np.zeros(n_rows, bool)
    columns |= _scores(table)
    columns |= {name: table[name] for name in table if name not in columns and name != "status"}
    if CELL_TYPE in table:
        columns[CELL_TYPE] = np.array(table[CELL_TYPE].astype(object).where(table[CELL_TYPE].notna(), ""))
    if TYPE in table and TYPE_PROBABILITY in table:
        known = np.isfinite(_floats(table, TYPE_PROBABILITY, n_rows)) & table[TYPE].notna().to_numpy()
        columns[TYPE] = np.where(known, table[TYPE].astype(object), "")
    status = table["status"] if "status" in table else pd.Series("unscored", table.index)
    columns["status"] = np.array(status.astype(object).where(status.notna(), "unscored"), dtype=object)
    return pd.DataFrame(columns)


def _floats(table: pd.DataFrame, name: str, n_rows: int) -> NDArray[np.float64]:
    if name not in table:
        return np.full(n_rows, np.nan)
    return pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64)


def _scores(table: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """Return the scores of ``table`` as floats, as one block where they can be."""
    scores = table[score_names(table)]
    if not all(dtype.kind in "fi" for dtype in scores.dtypes):
        return {name: _floats(scores, name, len(scores)) for name in scores}
    return dict(zip(scores, scores.to_numpy(np.float64).T, strict=True))


def write_features(layer: Shapes, record: CellRecord, table: pd.DataFrame) -> None:
    """Set the features with blank defaults and colour the cells again, all without an echo."""
    was_paused, record.paused = record.paused, True
    try:
        layer.features = table
        layer.feature_defaults = blank_row(table, record)
        record.present = set(table["cell_id"].tolist())
        record.next_id = max(record.next_id, *(cell_id + 1 for cell_id in record.present), 1)
        colour_cells(layer, record, table)
    finally:
        record.paused = was_paused
    if record.journal is not None:
        record.journal.after()


def colour_cells(layer: Shapes, record: CellRecord, table: pd.DataFrame) -> None:
    """Colour every shape by the scale of ``record``; shapes behind an overview wait until they are seen."""
    if record.scale is None or not layer.nshapes or DOTTED in layer.metadata:
        return
    values = _floats(table, record.scale.column, len(table))
    edges, faces = record.scale.edge_rgba(values), record.scale.face_rgba(values)
    tiers(record.scale, _floats(table, "anomaly_q", len(table)), edges, faces)
    paint(layer, edges, faces)


def blank_row(table: pd.DataFrame, record: CellRecord) -> dict[str, Any]:
    """Return the row that a newly drawn shape starts with: no id, no score, nothing copied."""
    blanks: dict[str, Any] = dict.fromkeys(table.columns, np.nan)
    blanks |= dict.fromkeys(FLAG_COLUMNS, False)
    if CELL_TYPE in table:
        blanks[CELL_TYPE] = ""
    return blanks | {"image": record.image_name, "cell_id": 0, "status": "unscored"}


def outline_of(layer: Shapes, row: int) -> NDArray[np.float64]:
    """Return the outline ``(n_points, 2)`` y, x in pixels of the shape in ``row``, ellipses as polygons."""
    return outline_in(*shape_at(layer, row))


def outline_in(corners: NDArray[Any], kind: str) -> NDArray[np.float64]:
    """Return the outline ``(n_points, 2)`` y, x in pixels of a shape as napari has it."""
    corners = np.asarray(corners, float)[:, -2:] + PIXEL_EDGE
    if kind != "ellipse":
        return corners
    turn = np.linspace(0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)[:, None]
    half_axes = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    return np.asarray(corners.mean(axis=0) + np.cos(turn) * half_axes[0] + np.sin(turn) * half_axes[1])


def cells_in(
    record: CellRecord, table: pd.DataFrame, shapes: Sequence[tuple[NDArray[Any], str]]
) -> tuple[Cells, NDArray[np.int64]]:
    """Return the cells of some rows and shapes, and the rows that are cells.

    Lines, open paths and shapes without an area, such as stray clicks, are no cells.

    A cell that nobody changed has its exact outline and detector box. Shapes are clipped to the image.
    """
    exact_row = {int(cell_id): row for row, cell_id in enumerate(record.known.cell_id)}
    known_boxes, known_outlines = record.known.boxes, record.known.outlines
    rows, boxes, outlines = [], [], []
    for row, (cell_id, shape) in enumerate(zip(table["cell_id"], shapes, strict=True)):
        if cell_id in exact_row and cell_id not in record.redrawn:
            box, outline = known_boxes[exact_row[cell_id]], known_outlines[exact_row[cell_id]]
        else:
            drawn = np.clip(outline_in(*shape), 0, record.image_shape)
            box = np.array([*drawn.min(axis=0), *drawn.max(axis=0)])
            if shape[1] in _OPEN_KINDS or (box[2:] - box[:2]).min() < 1 or polygon_area(drawn) < 1:
                continue
            outline = drawn.astype(np.float32)
        rows.append(row)
        boxes.append(box)
        outlines.append(outline)
    kept = table.iloc[rows]
    columns: dict[str, Any] = {name: kept[name].to_numpy() for name in CELL_COLUMNS}
    cells = Cells(np.array(boxes, np.float32).reshape(-1, 4), tuple(outlines), **columns)
    return cells, np.array(rows, np.int64)


def _has_moved(layer: Shapes, record: CellRecord, cell_id: int, row: int) -> bool:
    """Return whether the shape is no longer as it was drawn; a mere click does not move it."""
    drawn, outline = record.drawn.get(cell_id), outline_of(layer, row)
    if drawn is None or drawn.shape != outline.shape:
        return True
    rounding = _ROUNDING * np.abs(outline)  # napari keeps shapes in single precision
    return bool((np.abs(drawn - outline) > _MOVED_PX + rounding).any())


def _measure(layer: Shapes, table: pd.DataFrame, record: CellRecord, rows: list[int]) -> None:
    """Write box, area and border flag of ``rows`` as they are drawn."""
    if not rows:
        return
    outlines = [outline_of(layer, row) for row in rows]
    record.drawn.update(zip(table["cell_id"].to_numpy()[rows].tolist(), outlines, strict=True))
    low = np.array([outline.min(axis=0) for outline in outlines])
    high = np.array([outline.max(axis=0) for outline in outlines])
    table.loc[rows, BOX_COLUMNS] = np.hstack([low, high])
    table.loc[rows, "area_px"] = [polygon_area(outline) for outline in outlines]
    table.loc[rows, "touches_border"] = (low <= 0).any(axis=1) | (high >= record.image_shape).any(axis=1)

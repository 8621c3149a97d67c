"""Changes of cells by hand (type, excluded), the next unsure cell, and scoring of changed cells."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from numpy.typing import NDArray

from napari_amil.core.base.columns import column_of, score_names
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import ANOMALOUS_Q, Cells
from napari_amil.plugin.layers.cell_layer import cells_of, need_record, set_scores, with_scores
from napari_amil.plugin.layers.planes import shown_plane
from napari_amil.plugin.layers.rows import CELL_TYPE, CellRecord, complete, write_features
from napari_amil.plugin.window.work import Task, Worker
from napari_amil.worker.protocol.messages import Score, Scored

UNSURE = {
    "found": "whether it is a cell",
    "unusual": "whether it is unusual",
    "changed": "changed or not scored",
}
"""Kinds of doubt about a cell, and their titles."""


def set_cell_type(layer: Shapes, rows: Iterable[int], name: str) -> None:
    """Write the type of cells that a person saw; an empty name takes it back. One step to undo."""
    table = layer.features.copy()
    if CELL_TYPE not in table:
        table[CELL_TYPE] = ""
    table.loc[table.index[list(rows)], CELL_TYPE] = name.strip()
    _write(layer, table)


def set_excluded(layer: Shapes, rows: Iterable[int], excluded: bool) -> None:
    """Leave cells out, so that they are not scored, or take them back. One step to undo.

    A cell that comes back has its scores again, unless its outline was changed since it was found.
    """
    record = need_record(layer)
    table = layer.features.copy()
    index = table.index[list(rows)]
    if record.journal is not None:
        record.journal.before()
    changed = index[table.loc[index, "status"].eq("excluded") != excluded]
    if not len(changed):
        return
    redrawn = table.loc[changed, "cell_id"].isin(record.redrawn)
    table.loc[changed, score_names(table)] = np.nan
    table.loc[changed, "status"] = "excluded" if excluded else np.where(redrawn, "edited", "unscored")
    record.bag = None
    _write(layer, table if excluded else _with_scores_back(table, changed, record))


def toggle_excluded(layer: Shapes) -> None:
    """Leave the chosen cells out; if all of them are left out already, take them back."""
    rows = [int(row) for row in layer.selected_data if row < len(layer.features)]
    if rows:
        set_excluded(layer, rows, not layer.features["status"].iloc[rows].eq("excluded").all())


def _with_scores_back(table: pd.DataFrame, index: pd.Index, record: CellRecord) -> pd.DataFrame:
    """Return ``table`` with the scores that the cells at ``index`` had."""
    if record.scores is None:
        return table
    back = complete(with_scores(table.loc[index], record.scores), len(index), record)
    for name in ("status", *(name for name in score_names(back) if name in table)):
        table.loc[index, name] = back[name].to_numpy()
    return table


def _write(layer: Shapes, table: pd.DataFrame) -> None:
    record = need_record(layer)
    if record.journal is not None:
        record.journal.before()
    write_features(layer, record, complete(table, layer.nshapes, record))


def known_types(layers: Iterable[Shapes]) -> list[str]:
    """Return the classes of the model that judged the cells, and every type given so far."""
    names: dict[str, None] = {}
    for layer in layers:
        bag = need_record(layer).bag
        names |= dict.fromkeys(bag["probability"] if bag else ())
        if CELL_TYPE in layer.features:
            given = layer.features[CELL_TYPE].dropna().astype(str)
            names |= dict.fromkeys(name for name in given if name)
    return list(names)


def doubt(table: pd.DataFrame, kind: str) -> NDArray[np.float64]:
    """Return the doubt about each cell of one kind of `UNSURE`; minus infinity: none.

    Whether it is a cell: the detection score, lowest first. Whether it is unusual: how near its q-value
    lies to 0.05, on a logarithmic scale. Changed: edited and unscored cells, in their order.
    """
    status = table["status"].to_numpy()
    if kind == "changed":
        values = np.where(
            np.isin(status, ["edited", "unscored"]), -np.arange(len(table), dtype=float), np.nan
        )
    elif kind == "found":
        values = -table["detection_score"].to_numpy(float)
    else:
        q = table["anomaly_q"].to_numpy(float) if "anomaly_q" in table else np.full(len(table), np.nan)
        values = -np.abs(np.log(np.clip(q, 1e-6, 1.0) / ANOMALOUS_Q))
    return np.where(np.isfinite(values) & (status != "excluded"), values, -np.inf)


def next_unsure(layer: Shapes, kind: str, seen: Collection[int]) -> int | None:
    """Return the row of the most unsure cell that nobody looked at or named yet; None if there is none."""
    table = layer.features.iloc[: layer.nshapes]
    values = doubt(table, kind)
    values[table["cell_id"].isin(seen).to_numpy(bool)] = -np.inf
    if CELL_TYPE in table:
        values[table[CELL_TYPE].fillna("").ne("").to_numpy(bool)] = -np.inf
    if not np.isfinite(values).any():
        return None
    return int(values.argmax())


def unscored_rows(layer: Shapes) -> list[int]:
    """Return the rows of cells that were drawn or changed since the last scoring."""
    status = layer.features["status"].iloc[: layer.nshapes]
    return [int(row) for row in np.flatnonzero(status.isin(["edited", "unscored"]))]


@dataclass(frozen=True, eq=False)
class Rescoring:
    """Cells on their way to the worker and back."""

    layer: Shapes
    asked: Cells

    def finish(self, reply: Scored) -> str:
        """Write the scores of the cells that are still as they were asked, and return a sentence."""
        fresh = pd.read_csv(reply.scores).set_index("cell_id")
        fresh = fresh[[name for name in fresh if not column_of(str(name)).needs_sample]]
        now = cells_of(self.layer)
        boxes = dict(zip(now.cell_id.tolist(), now.boxes, strict=True))
        same = [
            cell_id
            for cell_id, box in zip(self.asked.cell_id.tolist(), self.asked.boxes, strict=True)
            if cell_id in boxes and np.allclose(boxes[cell_id], box, atol=1e-3) and cell_id in fresh.index
        ]
        record = need_record(self.layer)
        fresh = fresh.loc[same]
        others = record.scores
        if others is not None:
            status = self.layer.features.set_index("cell_id")["status"]
            stale = status.index[status.isin(["edited", "unscored"])]
            others = others[~others.index.isin([*same, *stale])]
            fresh = pd.concat([others.astype(object), fresh.astype(object)]).infer_objects()
        n_scored = int(fresh["anomaly"].loc[same].notna().sum())
        set_scores(self.layer, fresh.reset_index(names="cell_id"))
        n = f"{n_scored:,} cell{'' if n_scored == 1 else 's'}"
        return f"{n} scored; attention and verdict need all cells, so score again for those."


def start_rescoring(
    viewer: ViewerModel, layer: Shapes, worker: Worker, bundle: str | None
) -> tuple[Rescoring, Task]:
    """Send the cells that were drawn or changed to the worker.

    Raises
    ------
    AmilError
        If there are none, or the image below was closed.
    """
    record = need_record(layer)
    ids = layer.features["cell_id"].to_numpy()[unscored_rows(layer)]
    cells = cells_of(layer)
    cells = cells.among(np.isin(cells.cell_id, ids))
    if not len(cells):
        raise AmilError("Every cell is scored already; draw or change one first.")
    image = next(
        (i for i in viewer.layers if isinstance(i, Image) and str(i.unique_id) == record.image_id), None
    )
    if image is None:
        raise AmilError(f"The image below '{layer.name}' was closed; open it again.")
    plane = shown_plane(viewer, image)
    plane = plane if plane.place == record.place else plane.at(record.place)
    folder = worker.new_folder()
    arrays: dict[str, Any] = dict(cells.arrays())
    np.savez(folder / "cells.npz", **arrays)
    request = Score(
        **plane.input(folder),
        cells=folder / "cells.npz",
        out=folder,
        settings=RunSettings(detection=record.detection),
        agreed_px=record.agreed_px,
        bundle=bundle,
    )
    return Rescoring(layer, cells), worker.start(request)

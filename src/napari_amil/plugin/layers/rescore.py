"""Scoring of single cells: what depends on the cell alone is new, what depends on the sample is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from napari.layers import Image, Shapes

from napari_amil.core.base.columns import column_of
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Cells
from napari_amil.plugin.layers.edits import unscored_rows
from napari_amil.plugin.layers.layers import cells_of, need_record, set_scores
from napari_amil.plugin.layers.planes import shown_plane
from napari_amil.plugin.window.work import Task, Worker
from napari_amil.worker.protocol.messages import Score, Scored


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
        image=plane.write(folder),
        cells=folder / "cells.npz",
        out=folder,
        settings=RunSettings(detection=record.detection),
        bundle=bundle,
    )
    return Rescoring(layer, cells), worker.start(request)

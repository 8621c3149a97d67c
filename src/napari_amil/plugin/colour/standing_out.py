"""Strong outlines and rank numbers of the cells that stand out in an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Layer, Shapes
from numpy.typing import NDArray

from napari_amil.core.base.types import ANOMALOUS_Q
from napari_amil.plugin.layers.cell_layer import edge_width, image_transform, need_record
from napari_amil.plugin.layers.companions import lie_on
from napari_amil.plugin.layers.rows import layer_name, outline_of

_BROAD = 2.2
"""Width of these outlines, in widths of an ordinary one."""
MOST = 300
"""At most so many are drawn, the most unusual."""


def rows_standing_out(layer: Shapes) -> list[int]:
    """Return the rows of the cells with a q-value below 0.05, the most unusual first."""
    table = layer.features.iloc[: layer.nshapes]
    if "anomaly_q" not in table or "anomaly" not in table:
        return []
    clear = (table["anomaly_q"] < ANOMALOUS_Q) & ~table["status"].eq("excluded")
    rows = np.flatnonzero(clear.to_numpy(bool))
    order = np.argsort(-table["anomaly"].to_numpy(float)[rows], kind="stable")
    return [int(row) for row in rows[order][:MOST]]


def make_marks(layer: Shapes) -> Shapes:
    """Return a layer with the outlines and numbers of the cells that stand out; it only shows."""
    record = need_record(layer)
    marks = Shapes(
        ndim=layer.ndim,
        name=layer_name(record.image_name, "standing out"),
        opacity=1.0,
        **image_transform(layer),
    )
    _fill(marks, layer, rows_standing_out(layer))
    marks.editable = False
    return marks


def update_marks(layer: Shapes, companion: Layer) -> None:
    """Bring outlines, numbers and colours up to date."""
    assert isinstance(companion, Shapes)
    lie_on(companion, layer)
    rows = rows_standing_out(layer)
    ids = [int(cell_id) for cell_id in layer.features["cell_id"].to_numpy()[rows]]
    outlines = _outlines(layer, rows)
    known = companion.features["cell_id"].tolist() if "cell_id" in companion.features else []
    if known == ids and all(map(np.array_equal, companion.data, outlines)):
        if ids:
            companion.edge_color = np.asarray(layer.edge_color)[rows]
        return
    companion.remove(list(range(companion.nshapes)))
    _fill(companion, layer, rows)


def _fill(marks: Shapes, layer: Shapes, rows: list[int]) -> None:
    if not rows:
        return
    colours = np.asarray(layer.edge_color, float)[rows]
    colours[:, 3] = 1.0
    marks.add(
        _outlines(layer, rows),
        shape_type="polygon",
        edge_width=_BROAD * edge_width(need_record(layer)),
        edge_color=colours,
        face_color=np.zeros((len(rows), 4)),
    )
    ids = layer.features["cell_id"].to_numpy()[rows]
    marks.features = pd.DataFrame({"cell_id": ids, "rank": [str(n) for n in range(1, len(rows) + 1)]})
    text: dict[str, Any] = {"string": "{rank}", "size": 11, "color": "black", "anchor": "center"}
    marks.text = text


def _outlines(layer: Shapes, rows: list[int]) -> list[NDArray[np.float64]]:
    place = np.array(need_record(layer).place, float)
    found = []
    for row in rows:
        drawn = outline_of(layer, row) - 0.5
        found.append(np.hstack([np.tile(place, (len(drawn), 1)), drawn]))
    return found

"""Whatever is done to the cells in whatever order, each stays itself and has only what it earned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from napari.layers import Image, Layer, Shapes

from napari_amil.core.base.types import Cells
from napari_amil.plugin.layers import readers as _readers
from napari_amil.plugin.layers import writers as _writers
from napari_amil.plugin.layers.cell_layer import need_record, set_scores, show_cells, show_scale
from napari_amil.plugin.layers.colour_scale import ColourScale
from napari_amil.plugin.layers.edits import set_cell_type, toggle_excluded
from napari_amil.plugin.layers.journal import journal_of, keep
from napari_amil.plugin.layers.rows import outline_of

BOX = np.array([[5.0, 5.0], [5.0, 15.0], [20.0, 15.0], [20.0, 5.0]])
DEEDS = ("add", "paste", "delete", "move", "relabel", "leave out")
DEEDS += ("score", "filter", "undo", "redo", "reload")
SEQUENCES = st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 10**6)), max_size=12)


def earned(layer: Shapes, row: int) -> float:
    """Return the only score that the cell in ``row`` may have: that of its number and its present outline."""
    return float(1000 * layer.features["cell_id"].iloc[row] + outline_of(layer, row).mean())


def rows_by_id(layer: Shapes) -> pd.DataFrame:
    table = layer.features.sort_values("cell_id").reset_index(drop=True)
    return table[sorted(table)]


def do(layer: Shapes, cells: Cells, deed: str, number: int, file: Path) -> Shapes:
    """Do one thing as a user does it; return the layer that is there afterwards."""
    row = number % layer.nshapes if layer.nshapes else -1
    match deed:
        case "add":
            layer.add(BOX + number % 100, shape_type="rectangle")
        case "paste" if row >= 0:
            layer.selected_data = {row}
            layer._copy_data()
            layer._paste_data()
        case "delete" if row >= 0:
            layer.remove([row])
        case "move" if row >= 0:
            layer._data_view.shift(row, np.array([1.0 + number % 3, 2.0]))
            layer.events.data(value=layer.data, action="changed", data_indices=(row,), vertex_indices=((),))
        case "relabel" if row >= 0:
            set_cell_type(layer, [row], f"type {layer.features['cell_id'].iloc[row]}")
        case "leave out" if row >= 0:
            layer.selected_data = {row}
            toggle_excluded(layer)
        case "score" if row >= 0:
            rows = [r for r in range(layer.nshapes) if (r + number) % 3]
            ids = layer.features["cell_id"].iloc[rows]
            scores = pd.DataFrame({"cell_id": ids, "anomaly": [earned(layer, r) for r in rows]})
            set_scores(layer, scores.sample(frac=1, random_state=number))
            show_scale(layer, ColourScale("anomaly", 0.0, 9000.0, "plasma"))
        case "filter":
            show_cells(layer, cells.take(cells.detection_score >= (number % 10) / 10))
        case "undo":
            journal_of(layer).undo()
        case "redo":
            journal_of(layer).redo()
        case "reload" if row >= 0:
            before = rows_by_id(layer)
            _writers.write_cells(str(file), *layer.as_layer_data_tuple()[:2])
            layer = Layer.create(*_readers.read(str(file))[0])
            keep(layer)
            pd.testing.assert_frame_equal(rows_by_id(layer), before)
    return layer


def check(layer: Shapes) -> None:
    """Every shape has its row; scores, types and colours are those of their own cell."""
    table = layer.features
    assert len(table) == layer.nshapes
    assert table["cell_id"].is_unique
    assert (table["cell_id"] < need_record(layer).next_id).all()
    assert not layer.nshapes or (layer.edge_color[:, 3] == 1).all()
    for row, (_, values) in enumerate(table.iterrows()):
        anomaly = values.get("anomaly", np.nan)
        assert np.isfinite(anomaly) == (values["status"] == "scored")
        if np.isfinite(anomaly):
            np.testing.assert_allclose(anomaly, earned(layer, row), atol=1e-3)
        assert values.get("cell_type", "") in ("", f"type {values['cell_id']}")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sequence=SEQUENCES)
def test_a_cell_stays_itself_through_any_sequence(
    sequence: list[tuple[str, int]],
    cells: Cells,
    image: Image,
    build_layer: Callable[..., Shapes],
    tmp_path: Path,
) -> None:
    layer = build_layer(cells, image)
    for deed, number in sequence:
        known, next_id = set(layer.features["cell_id"]), need_record(layer).next_id
        layer = do(layer, cells, deed, number, tmp_path / "cells.geojson")
        check(layer)
        fresh = set(layer.features["cell_id"]) - known
        if deed in {"add", "paste"}:
            assert len(fresh) == (1 if deed == "add" or known else 0)
            assert all(cell_id >= next_id for cell_id in fresh)  # never one that was given before
        assert need_record(layer).next_id >= next_id
    journal = journal_of(layer)
    before = rows_by_id(layer)
    if journal.undone:
        journal.redo()
        journal.undo()
    elif journal.done:
        journal.undo()
        journal.redo()
    after = rows_by_id(layer)
    pd.testing.assert_frame_equal(after[list(before)], before)

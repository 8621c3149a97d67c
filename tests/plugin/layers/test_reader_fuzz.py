"""Mutated files that are dropped into napari give layers or one sentence, and no layer."""

from __future__ import annotations

import json
import math
import os
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fuzzing import CASES_VARIABLE, SEED_VARIABLE, fuzz
from napari.layers import Layer, Shapes

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Cells, box_outline
from napari_amil.core.exchange.cell_files import write_cell_table
from napari_amil.core.exchange.coco import write_coco
from napari_amil.core.exchange.geojson import write_geojson
from napari_amil.plugin.layers import cell_layer as _layers
from napari_amil.plugin.layers import readers as _readers
from napari_amil.plugin.layers import writers as _writers

CASES = 150
BOXES = np.array([[5, 5, 25, 25], [10, 40, 30, 60]], np.float32)
CELLS = Cells(BOXES, tuple(box_outline(box)[:3] for box in BOXES), detection_score=np.array([0.9, 0.5]))


def drop(path: Path) -> None:
    """Open a file as napari does."""
    reader = _readers.get_reader(str(path))
    if reader is not None:
        for data in reader(str(path)):
            Layer.create(*data)


@pytest.mark.filterwarnings("default")
def test_mutated_files_are_opened_or_refused(
    layer: Shapes, some_scores: pd.DataFrame, tmp_path: Path
) -> None:
    _layers.set_scores(layer, some_scores)
    folder = tmp_path / "valid"
    folder.mkdir()
    _writers.write_cells(str(folder / "own.geojson"), *layer.as_layer_data_tuple()[:2])
    write_geojson(CELLS, None, folder / "a.geojson")
    write_coco({"a.png": ((40, 70), CELLS)}, folder / "a.json")
    scored = CELLS.table().assign(image="a.png", anomaly=[1.0, 2.0])
    write_cell_table(CELLS, scored, folder / "a.csv")
    write_cell_table(CELLS, scored, folder / "a.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counts = fuzz(drop, {path.name: path for path in folder.iterdir()}, tmp_path, CASES)
    assert counts["refused"]
    assert counts["read"]


WRONG: tuple[Any, ...] = (
    None,
    -1,
    0,
    1e999,
    math.nan,
    "x",
    "",
    [],
    {},
    True,
    2**70,
    [1],
    [[1]],
    {"a": 1},
    [-1, 2],
)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value in JSON, of lists of the first three."""
    yield above
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in list(inside)[: None if isinstance(value, dict) else 3]:
        yield from places(item, (*above, name))


def test_values_of_the_wrong_kind_in_an_own_file_are_opened_or_refused(
    layer: Shapes, some_scores: pd.DataFrame, tmp_path: Path
) -> None:
    """Numbers far outside of the image crashed the program, since NumPy and Numba draw without a check."""
    _layers.set_scores(layer, some_scores)
    path = tmp_path / "own.geojson"
    _writers.write_cells(str(path), *layer.as_layer_data_tuple()[:2])
    text = path.read_text()
    cases = [(place, value) for place in places(json.loads(text)["napari_amil"]) if place for value in WRONG]
    rng, messages = random.Random(int(os.environ.get(SEED_VARIABLE, "0"))), []
    for place, value in rng.sample(cases, min(len(cases), int(os.environ.get(CASES_VARIABLE, "100")))):
        content = json.loads(text)
        inner = content["napari_amil"]
        for name in place[:-1]:
            inner = inner[name]
        inner[place[-1]] = value
        path.write_text(json.dumps(content))
        try:
            drop(path)
        except AmilError as error:
            messages.append(str(error))
        except Exception as error:
            raise AssertionError(f"{value} at {place}") from error
    assert messages
    assert not any("\n" in message for message in messages)


def test_a_score_that_is_no_number_is_said(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    for word, is_read in (("n/a", True), ("1,5", True), ("high", False)):
        table.write_text(f"image;y0;x0;y1;x1;anomaly\na.png;5;5;25;25;2\na.png;30;5;55;25;{word}\n")
        if is_read:
            drop(table)
            continue
        with pytest.raises(AmilError, match=r"a\.csv' holds values that cannot be shown .*'high'\); correct"):
            drop(table)


def test_a_cell_far_outside_of_its_image_is_refused(layer: Shapes, tmp_path: Path) -> None:
    path = tmp_path / "own.geojson"
    _writers.write_cells(str(path), *layer.as_layer_data_tuple()[:2])
    for name, far in (("outline_points", [[1e30, 2.0]]), ("boxes", [[0.0, 0.0, 1e30, 2.0]])):
        content = json.loads(path.read_text())
        content["napari_amil"]["candidates"][name][:1] = far
        (tmp_path / "far.geojson").write_text(json.dumps(content))
        with pytest.raises(AmilError, match="far outside of the image"):
            drop(tmp_path / "far.geojson")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes")
@pytest.mark.parametrize("ending", ["csv", "json", "geojson", "parquet"])
def test_a_named_pipe_is_not_opened(tmp_path: Path, ending: str) -> None:
    os.mkfifo(tmp_path / f"a.{ending}")
    assert _readers.get_reader(str(tmp_path / f"a.{ending}")) is None

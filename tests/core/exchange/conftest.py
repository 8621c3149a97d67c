"""Cells as they come: outlines inside their boxes, some values unknown, any ids in any order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st

from napari_amil.core.base.types import Cells, box_outline, polygon_area
from napari_amil.core.exchange.project import Project

COORDINATES = st.floats(0, 4000, width=32, allow_subnormal=False)


@st.composite
def some_cells(draw: st.DrawFn, max_cells: int = 5) -> Cells:
    """Return cells whose outlines are polygons that reach all sides of their boxes."""
    n = draw(st.integers(0, max_cells))
    outlines = []
    for _ in range(n):
        y, x = draw(COORDINATES), draw(COORDINATES)
        height, width = draw(st.floats(6, 200)), draw(st.floats(6, 200))
        inner = draw(st.lists(st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)), max_size=6))
        shape = np.array([(0, 0), (0, 1), (1, 1), *inner])
        if polygon_area(shape) < 0.1:  # crosses itself
            shape = shape[:3]
        outlines.append((shape * [height, width] + [y, x]).astype(np.float32))
    boxes = [np.concatenate([o.min(axis=0), o.max(axis=0)]) for o in outlines]
    scores = st.one_of(st.just(float("nan")), st.floats(0, 1, width=32))
    ids = draw(st.lists(st.integers(1, 2**40), min_size=n, max_size=n, unique=True))
    return Cells(
        np.array(boxes, np.float32).reshape(-1, 4),
        tuple(outlines),
        detection_score=np.array([draw(scores) for _ in range(n)]),
        area_px=np.array([draw(st.floats(1, 1e6, width=32)) for _ in range(n)]),
        touches_border=np.array([draw(st.booleans()) for _ in range(n)]),
        overlaps=np.array([draw(st.booleans()) for _ in range(n)]),
        cell_id=np.array(ids),
    )


def assert_equal_cells(found: Cells, wanted: Cells) -> None:
    """Assert that two sets of cells have the same values in the same rows."""
    arrays, wanted_arrays = found.arrays(), wanted.arrays()
    assert arrays.keys() == wanted_arrays.keys()
    for name, values in wanted_arrays.items():
        assert arrays[name].dtype == values.dtype, name
        np.testing.assert_array_equal(arrays[name], values, err_msg=name)


@pytest.fixture
def three() -> Cells:
    """Three cells, of which one has no score and one an outline of its own."""
    boxes = np.array([[1.5, 2, 41.5, 52], [100, 100, 140, 130], [0, 200, 30, 240]], np.float32)
    outlines = [np.array([[b[0], b[1]], [b[0], b[3]], [b[2], b[3]]], np.float32) for b in boxes]
    return Cells(
        boxes,
        tuple(outlines),
        detection_score=np.array([0.9, np.nan, 0.1]),
        area_px=np.array([1000, 600, 700.25]),
        touches_border=np.array([False, False, True]),
        cell_id=np.array([7, 3, 12]),
    )


@pytest.fixture(scope="session")
def cells_strategy() -> Callable[..., st.SearchStrategy[Cells]]:
    return some_cells


@pytest.fixture(scope="session")
def assert_same() -> Callable[[Cells, Cells], None]:
    return assert_equal_cells


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a property."""
    return tmp_path_factory.mktemp("exchange")


@pytest.fixture
def project() -> Project:
    """Four cells of two bags in two images; one has no score, two no type, one patient is called 007."""
    boxes = np.array([[10, 20, 30, 50], [40, 40, 60, 70], [5, 5, 25, 25], [50, 80, 70, 99]], np.float32)
    cells = pd.DataFrame(boxes, columns=["y0", "x0", "y1", "x1"]).astype(np.float64)
    cells.insert(0, "bag", ["a", "a", "b", "b"])
    cells.insert(1, "image", ["x.png", "x.png", "sub/y.png", "sub/y.png"])
    cells.insert(2, "cell_id", [1, 2, 1, 2])
    cells["touches_border"] = [False, False, False, True]
    cells["anomaly"] = [1.5, 9.25, 3.0, np.nan]
    cells["anomaly_q"] = [0.9, 0.01, 0.4, np.nan]
    cells["cell_type"] = ["normal", None, "burr", None]
    bags = pd.DataFrame({"bag": ["a", "b"], "patient": ["p1", "007"], "label": ["control", "ill"]})
    bags = bags.assign(predicted=["control", "ill"], probability_ill=[0.25, 0.75], n_cells=[2, 1])
    outlines = tuple(box_outline(box)[:3] for box in boxes)
    embeddings = np.arange(12, dtype=np.float32).reshape(4, 3)
    card = {"control": "control", "classes": ["control", "ill"], "images": {}, "done": {}}
    return Project(cells, bags, embeddings, outlines, card)

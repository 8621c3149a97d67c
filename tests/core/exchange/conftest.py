"""Cells as they come: outlines inside their boxes, some values unknown, any ids in any order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from napari_amil.core.types import Cells

COORDINATES = st.floats(0, 4000, width=32, allow_subnormal=False)


@st.composite
def some_cells(draw: st.DrawFn, max_cells: int = 5) -> Cells:
    """Return cells whose outlines are polygons that reach all sides of their boxes."""
    n = draw(st.integers(0, max_cells))
    outlines = []
    for _ in range(n):
        y, x = draw(COORDINATES), draw(COORDINATES)
        height, width = draw(st.floats(1, 200)), draw(st.floats(1, 200))
        inner = draw(st.lists(st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)), max_size=6))
        shape = np.array([(0, 0), (0, 1), (1, 1), *inner])
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

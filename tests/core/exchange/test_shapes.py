"""Shapes that napari itself saved become boxes and outlines in pixels of the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.layers import Shapes
from napari_builtins.io import napari_write_shapes

from napari_amil.core.base.errors import AmilError
from napari_amil.core.exchange.shapes import read_shapes
from napari_amil.core.morphology.masks import has_outline

BOX = np.array([[9.5, 19.5], [9.5, 59.5], [39.5, 59.5], [39.5, 19.5]])
TRIANGLE = np.array([[100, 100], [140, 100], [140, 160]], float)


def saved(layer: Shapes, path: Path) -> Path:
    """Save a layer as napari's own writer does."""
    data, meta, _ = layer.as_layer_data_tuple()
    return Path(napari_write_shapes(str(path), data, meta))


def test_shapes_saved_by_napari(tmp_path: Path) -> None:
    layer = Shapes()
    layer.add_rectangles(BOX)
    layer.add_polygons(TRIANGLE)
    layer.add_ellipses(BOX + 100)
    path = saved(layer, tmp_path / "a.csv")
    cells = read_shapes(path)
    assert cells.boxes[0].tolist() == [10, 20, 40, 60]
    assert cells.boxes[1].tolist() == [100.5, 100.5, 140.5, 160.5]
    np.testing.assert_allclose(cells.boxes[2], [110, 120, 140, 160], atol=1e-3)
    assert has_outline(cells).tolist() == [False, True, True]
    np.testing.assert_allclose(cells.outlines[1], TRIANGLE + 0.5)
    assert cells.area_px.tolist() == pytest.approx([1200, 1200, np.pi * 15 * 20], rel=0.01)


def test_the_page_of_a_stack_is_the_first_axis(tmp_path: Path) -> None:
    shapes = [np.column_stack([np.full(4, page), BOX + 10 * page]) for page in (0, 2, 2)]
    path = saved(Shapes(shapes), tmp_path / "a.csv")
    assert [len(read_shapes(path, page)) for page in range(3)] == [1, 0, 2]
    assert read_shapes(path, 2).boxes[0].tolist() == [30, 40, 60, 80]


def test_what_encloses_nothing_is_refused_in_words(tmp_path: Path) -> None:
    path = saved(Shapes([np.array([[0, 0], [40, 40]])], shape_type="line"), tmp_path / "a.csv")
    with pytest.raises(AmilError, match=r"Shape 0 of '.*a\.csv' is a line without an area"):
        read_shapes(path)
    other = tmp_path / "b.csv"
    other.write_text("index,axis-0,axis-1\n0,1,2\n")
    with pytest.raises(AmilError, match=r"b\.csv' lacks shape-type, vertex-index; save the Shapes layer"):
        read_shapes(other)
    other.write_text("index,shape-type,vertex-index,axis-0,axis-1\n0,polygon,0,1,x\n")
    with pytest.raises(AmilError, match=r"b\.csv' needs numbers"):
        read_shapes(other)

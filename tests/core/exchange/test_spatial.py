"""SpatialData's own reader finds the pixels, outlines, centres and numbers that were written."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Image
from napari_amil.core.exchange.project import Project
from napari_amil.core.exchange.spatial import write_spatialdata

PIXELS = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def library() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("spatialdata")


def read(library: Any, path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return library.read_zarr(path)


def pixels_of(image: str) -> Image | None:
    return PIXELS if image == "x.png" else None


def test_spatialdata_reads_pixels_outlines_and_numbers(
    project: Project, library: Any, tmp_path: Path
) -> None:
    judged = replace(project, bags=project.bags.assign(verdict=["control", "abstain"]))
    write_spatialdata(judged, pixels_of, tmp_path / "cells.zarr")
    data = read(library, tmp_path / "cells.zarr")
    assert sorted(data.coordinate_systems) == ["sub_y.png", "x.png"]
    assert sorted(data.images) == ["x.png"]
    np.testing.assert_array_equal(data.images["x.png"].transpose("y", "x", "c").to_numpy(), PIXELS)
    polygon = data.shapes["sub_y.png_cells"].geometry.iloc[1]
    assert list(polygon.exterior.coords)[:3] == [(80, 50), (99, 50), (99, 70)]
    table = data.tables["cells"]
    np.testing.assert_array_equal(table.X, project.embeddings)
    np.testing.assert_array_equal(table.obs["anomaly"], project.cells["anomaly"])
    assert table.obs["verdict"].tolist() == ["control", "control", "abstain", "abstain"]
    centres = data.points["sub_y.png_centres"].compute()
    assert centres[["x", "y", "cell_id"]].to_numpy().tolist() == [[15, 15, 1], [89.5, 60, 2]]


def test_every_row_of_the_table_belongs_to_its_outline(
    project: Project, library: Any, tmp_path: Path
) -> None:
    write_spatialdata(project, pixels_of, tmp_path / "cells.zarr")
    data = read(library, tmp_path / "cells.zarr")
    elements, table = library.join_spatialelement_table(
        sdata=data, spatial_element_names=["sub_y.png_cells"], table_name="cells", how="inner"
    )
    shapes = elements["sub_y.png_cells"]
    assert table.obs["image"].tolist() == ["sub/y.png"] * 2
    np.testing.assert_allclose(shapes.geometry.bounds["minx"].to_numpy(), table.obs["x0"])
    np.testing.assert_allclose(shapes.geometry.bounds["maxy"].to_numpy(), table.obs["y1"])


def test_names_of_images_that_differ_little_stay_apart(
    project: Project, library: Any, tmp_path: Path
) -> None:
    images = ["a b.png", "a_b.png", "A_b.png", "../_x.png"]
    named = replace(project, cells=project.cells.assign(image=images))
    write_spatialdata(named, lambda image: None, tmp_path / "cells.zarr")
    data = read(library, tmp_path / "cells.zarr")
    assert sorted(data.coordinate_systems) == ["A_b.png-3", "a_b.png", "a_b.png-2", "x.png"]
    assert data.tables["cells"].obs["image"].tolist() == images


def test_without_a_cell_it_is_refused(project: Project, tmp_path: Path) -> None:
    with pytest.raises(AmilError, match="no cell to write as SpatialData"):
        write_spatialdata(project.rows(np.empty(0, np.int64)), pixels_of, tmp_path / "cells.zarr")

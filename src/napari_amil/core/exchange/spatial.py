"""A scored cohort as SpatialData: the images, outlines, centres and the table of cells in one Zarr folder."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.optional import optional
from napari_amil.core.base.types import Image
from napari_amil.core.exchange.h5ad import annotated_data
from napari_amil.core.exchange.polygons import ring
from napari_amil.core.exchange.project import Project

_POLYGON = 3  # of shapely.GeometryType
TABLE, REGION, INSTANCE = "cells", "region", "instance"


def write_spatialdata(project: Project, read: Callable[[str], Image | None], path: Path) -> None:
    """Write images, outlines, centres and table as `SpatialData <https://spatialdata.scverse.org>`_.

    Every image is a coordinate system of its own, in pixels, under its name in letters, digits, ``_``, ``-``
    and ``.``. In it lie the image, ``<image>_cells`` (polygons) and ``<image>_centres`` (points). The table
    ``cells`` is that of `write_h5ad` and annotates the polygons.

    Parameters
    ----------
    project
        A scored cohort.
    read
        Returns an image by its name, None where it is left out.
    path
        Folder to make.

    Raises
    ------
    AmilError
        If there is no cell.
    MissingExtraError
        If spatialdata is not installed.
    """
    if not len(project.cells):
        raise AmilError("There is no cell to write as SpatialData; score images in which cells are found.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        library, models = optional("spatialdata"), optional("spatialdata.models")
        keys = _keys(project.cells["image"].unique().tolist())
        shapes, points = {}, {}
        for image, key in keys.items():
            place = {key: optional("spatialdata.transformations").Identity()}
            shapes[f"{key}_cells"] = _outlines(project, image, models, place)
            points[f"{key}_centres"] = _centres(project, image, models, place)
        data = library.SpatialData(
            shapes=shapes, points=points, tables={TABLE: _table(project, keys, models)}
        )
        data.write(path)
        for image, key in keys.items():
            pixels = read(image)
            if pixels is not None:
                place = {key: optional("spatialdata.transformations").Identity()}
                planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))  # (3, height, width)
                data.images[key] = models.Image2DModel.parse(
                    planes, dims=("c", "y", "x"), c_coords=["r", "g", "b"], transformations=place
                )
                data.write_element(key)
                del data.images[key]  # one image at a time is in memory
        data.write_consolidated_metadata()


def _keys(images: list[str]) -> dict[str, str]:
    """Return a name for each image as SpatialData allows it, unique whatever its case."""
    keys: dict[str, str] = {}
    taken: set[str] = set()
    for image in images:
        stem = re.sub(r"[^A-Za-z0-9_.-]", "_", image).lstrip("_.") or "image"
        key, number = stem, 2
        while key.lower() in taken:
            key, number = f"{stem}-{number}", number + 1
        taken.add(key.lower())
        keys[image] = key
    return keys


def _outlines(project: Project, image: str, models: ModuleType, place: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return the cells of an image as polygons in x, y, indexed by their row of the table."""
    rows = np.flatnonzero((project.cells["image"] == image).to_numpy())
    boxes = project.cells[BOX_COLUMNS].to_numpy(np.float32)
    rings = [ring(project.outlines[row], boxes[row]) for row in rows]
    rings = [[*points, points[0]] for points in rings]
    ends = np.cumsum([0, *(len(points) for points in rings)])
    offsets = ends, np.arange(len(rings) + 1)
    corners = np.concatenate(rings).astype(np.float64)
    return models.ShapesModel.parse(
        corners, geometry=_POLYGON, offsets=offsets, index=rows, transformations=place
    )


def _centres(project: Project, image: str, models: ModuleType, place: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return the centres of the boxes of an image, with the id and the unusualness of each cell."""
    own = project.cells[project.cells["image"] == image]
    box = own[BOX_COLUMNS].to_numpy(np.float64)
    centres = np.stack([box[:, [1, 3]].mean(axis=1), box[:, [0, 2]].mean(axis=1)], axis=1)
    kept = [name for name in ("cell_id", "anomaly", "anomaly_percentile") if name in own]
    beside = pd.DataFrame(own[kept].reset_index(drop=True))
    return models.PointsModel.parse(centres, annotation=beside, transformations=place)


def _table(project: Project, keys: dict[str, str], models: ModuleType) -> Any:  # noqa: ANN401
    """Return the table of cells with the polygon that each row belongs to."""
    data = annotated_data(project)
    regions = [f"{key}_cells" for key in keys.values()]
    data.obs[REGION] = pd.Categorical([f"{keys[image]}_cells" for image in project.cells["image"]], regions)
    data.obs[INSTANCE] = np.arange(len(project.cells))
    return models.TableModel.parse(data, region=regions, region_key=REGION, instance_key=INSTANCE)

"""A score as a smooth field over the image: a local mean of cells, transparent where there are none."""

from __future__ import annotations

import numpy as np
from napari.layers import Image, Layer, Shapes
from napari.utils.colormaps import Colormap
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.plugin.layers.cell_layer import need_record
from napari_amil.plugin.layers.colour_scale import ColourScale, map_colours
from napari_amil.plugin.layers.companions import coarse_transform
from napari_amil.plugin.layers.rows import CellRecord, layer_name

DEFAULT_REACH = 1.0
"""Standard deviation of the kernel in cell diameters."""
REACH = "napari_amil_reach"
_LONGER_SIDE = 512
_STOPS = 64
_SHOWN_WITHIN = 2.0
"""The field is shown as far from a single cell as this many standard deviations."""


def smooth_field(
    centres: NDArray[np.float64], values: NDArray[np.float64], shape: tuple[int, int], sigma: float
) -> NDArray[np.float32]:
    """Return the kernel-weighted mean of ``values`` on a grid, NaN where no cell is near.

    ``f(x) = sum_n k(x - x_n) v_n / sum_n k(x - x_n)`` with a Gaussian kernel (Nadaraya 1964, Watson 1964).

    Parameters
    ----------
    centres
        ``(n_cells, 2)`` y, x in pixels of the grid, counted from the corner of the first pixel.
    values
        ``(n_cells,)``; cells whose value is NaN take no part.
    shape
        Of the grid.
    sigma
        Standard deviation of the kernel in pixels of the grid.
    """
    known = np.isfinite(values) & np.isfinite(centres).all(axis=1)
    rows, columns = (np.clip(centres[known, i].astype(int), 0, shape[i] - 1) for i in (0, 1))
    weight, weighted = np.zeros(shape), np.zeros(shape)
    np.add.at(weight, (rows, columns), 1.0)
    np.add.at(weighted, (rows, columns), values[known])
    reach = {"mode": "constant", "truncate": 2 * _SHOWN_WITHIN}
    weight, weighted = gaussian_filter(weight, sigma, **reach), gaussian_filter(weighted, sigma, **reach)
    near = weight > np.exp(-(_SHOWN_WITHIN**2) / 2) / (2 * np.pi * sigma**2)
    field = np.full(shape, np.nan)
    np.divide(weighted, weight, out=field, where=near)
    return field.astype(np.float32)


def make_field(layer: Shapes) -> Image:
    """Return the smooth field of the score that colours ``layer``."""
    record = need_record(layer)
    companion = Image(
        _pixels(layer, record),
        name=layer_name(record.image_name, "score field"),
        blending="translucent",
        interpolation2d="linear",
        **coarse_transform(layer, record.place, _step(record)),
    )
    _colour(companion, record.scale)
    return companion


def update_field(layer: Shapes, companion: Layer) -> None:
    """Bring the field up to date: score, colours, cells and transform."""
    assert isinstance(companion, Image)
    record = need_record(layer)
    companion.data = _pixels(layer, record)
    for name, value in coarse_transform(layer, record.place, _step(record)).items():
        setattr(companion, name, value)
    _colour(companion, record.scale)


def colormap_of(scale: ColourScale) -> Colormap:
    """Return the colours of a scale as a napari map that shows nothing where there is no value."""
    colours = map_colours(scale.colormap, np.linspace(0, 1, _STOPS))
    return Colormap(colours, name=f"{scale.colormap} of cells", nan_color=(0.0, 0.0, 0.0, 0.0))


def _colour(companion: Image, scale: ColourScale | None) -> None:
    if scale is not None:
        companion.colormap = colormap_of(scale)
        companion.contrast_limits_range = (scale.low, scale.high)
        companion.contrast_limits = (scale.low, scale.high)
        companion.opacity = scale.style.opacity


def _step(record: CellRecord) -> float:
    """Return the width of one pixel of the field in pixels of the image."""
    return max(max(record.image_shape) / _LONGER_SIDE, 1.0)


def _pixels(layer: Shapes, record: CellRecord) -> NDArray[np.float32]:
    """Return the field ``(1, ..., height, width)``, one plane of the stack that the image is."""
    step = _step(record)
    shape = tuple(int(np.ceil(side / step)) for side in record.image_shape)
    table = layer.features.iloc[: layer.nshapes]
    boxes = table[BOX_COLUMNS].to_numpy(float)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / step
    column = record.scale.column if record.scale is not None else ""
    values = table[column].to_numpy(float) if column in table else np.full(len(table), np.nan)
    values = np.where(table["status"].eq("excluded"), np.nan, values)
    diameter = float(np.median(boxes[:, 2:] - boxes[:, :2])) if len(boxes) else 1.0
    sigma = max(layer.metadata.get(REACH, DEFAULT_REACH) * diameter / step, 0.5)
    field = smooth_field(centres, values, (shape[0], shape[1]), sigma)
    return field.reshape((1,) * len(record.place) + field.shape)

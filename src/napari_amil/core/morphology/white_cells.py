"""Named measurements of white cells: nucleus, chromatin and cytoplasm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import graycomatrix, graycoprops, peak_local_max
from skimage.measure import regionprops

from napari_amil.core.base.types import Cells, Floats
from napari_amil.core.images.nucleus import WhiteCellMasks, optical_density, white_cell_masks

WHITE_NAMES = (
    "cell_diameter",
    "cell_form_factor",
    "nucleus_diameter",
    "nucleus_share",
    "nucleus_form_factor",
    "nucleus_solidity",
    "nucleus_aspect_ratio",
    "nucleus_lobes",
    "nucleus_offset",
    "chromatin_variation",
    "chromatin_contrast",
    "chromatin_clumps",
    "cytoplasm_density",
    "cytoplasm_blueness",
    "granularity",
    "vacuoles",
)
"""Names of the measurements, in the order of their columns; `measure_white` says what they are."""

_LEVELS = 16  # grey levels of the co-occurrence matrix
_DENSEST = 2.4  # optical density of the highest of them
_STEP = 1 / 48  # typical diameters between two pixels that texture compares
_LEAST_PIXELS = 12  # fewer pixels of nucleus or cytoplasm are not measured
_CLUMP = 1.2  # times the mean density of the nucleus above which chromatin is clumped
_VACUOLE = 0.12  # optical density by which a vacuole is clearer than the cytoplasm around it


def measure_white(normalised: NDArray[np.float32], cells: Cells, diameter_px: float) -> Floats:
    """Return the measurements ``(n_cells, n_measurements)`` of white cells, as `WHITE_NAMES`.

    Lengths are in typical diameters where nothing else is said; densities are the optical density
    ``-ln I``, mean of red, green and blue, after the nucleus was brought to a fixed one.

    ==================== ==========================================================================
    cell_diameter        diameter of a disc of the area of the cell
    cell_form_factor     circularity of the cell, ``4 pi area / perimeter^2``
    nucleus_diameter     diameter of a disc of the area of the nucleus
    nucleus_share        area of the nucleus over area of the cell
    nucleus_form_factor  circularity of the nucleus (the largest lobe)
    nucleus_solidity     area of the nucleus over area of its convex hull
    nucleus_aspect_ratio long over short axis of the ellipse with the same second moments
    nucleus_lobes        number of separate maxima of the distance from its outline
    nucleus_offset       distance between the centroids of nucleus and cell, in radii of the cell
    chromatin_variation  standard deviation of the density of the nucleus over its mean
    chromatin_contrast   contrast of the grey-level co-occurrence matrix of the nucleus
    chromatin_clumps     share of the nucleus that is 1.2 times as dense as its mean or more
    cytoplasm_density    mean density of the cytoplasm over that of the nucleus
    cytoplasm_blueness   ln(density in red / density in blue) of the cytoplasm
    granularity          standard deviation of the density of the cytoplasm at the scale of granules
    vacuoles             share of the cytoplasm in round clear holes
    ==================== ==========================================================================

    Where no nucleus is seen everything is NaN; without a rim of cytoplasm its measurements are.

    Parameters
    ----------
    normalised
        ``(height, width, 3)`` in 0 to 1 (`napari_amil.core.images.nucleus.normalise_by_nucleus`).
    cells
        Boxes of white cells, or one that is the whole image.
    diameter_px
        Typical diameter in pixels.
    """
    table = np.full((len(cells), len(WHITE_NAMES)), np.nan)
    for row, box in enumerate(cells.boxes):
        y0, x0 = np.floor(np.maximum(box[:2], 0)).astype(int)
        y1, x1 = np.ceil(box[2:]).astype(int)
        window = normalised[y0:y1, x0:x1]
        if min(window.shape[:2]) >= 4:
            found = _measured(window, diameter_px)
            table[row] = [found.get(name, np.nan) for name in WHITE_NAMES]
    return table


def _measured(window: NDArray[np.float32], diameter_px: float) -> dict[str, float]:
    """Return the measurements of the cell in a window; empty where no nucleus is seen."""
    masks = white_cell_masks(window)
    if masks.nucleus.sum() < _LEAST_PIXELS:
        return {}
    density = optical_density(window)
    grey = density.mean(axis=2)
    found = _shape(masks, diameter_px) | _chromatin(grey, masks.nucleus, diameter_px)
    rim = masks.cell & ~ndimage.binary_dilation(masks.nucleus)
    if rim.sum() >= _LEAST_PIXELS:
        found |= _cytoplasm(density, grey, rim, masks, diameter_px)
    return found


def _shape(masks: WhiteCellMasks, diameter_px: float) -> dict[str, float]:
    """Return size and form of nucleus and cell."""
    lobes = regionprops(ndimage.label(masks.nucleus)[0])
    largest: Any = max(lobes, key=lambda part: part.area)
    nucleus: Any = regionprops(masks.nucleus.astype(np.uint8))[0]
    cell: Any = regionprops(masks.cell.astype(np.uint8))[0]
    radius = math.sqrt(cell.area / math.pi)
    apart = np.linalg.norm(np.subtract(nucleus.centroid, cell.centroid))
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(masks.nucleus), 1.0)
    peaks = peak_local_max(
        depth,
        min_distance=max(2, round(0.12 * diameter_px)),
        threshold_abs=0.4 * depth.max(),
        labels=masks.nucleus.astype(np.int32),
        exclude_border=False,
    )
    return {
        "cell_diameter": 2 * radius / diameter_px,
        "cell_form_factor": _form_factor(cell),
        "nucleus_diameter": math.sqrt(4 / math.pi * nucleus.area) / diameter_px,
        "nucleus_share": float(nucleus.area / cell.area),
        "nucleus_form_factor": _form_factor(largest),
        "nucleus_solidity": float(nucleus.solidity),
        "nucleus_aspect_ratio": nucleus.axis_major_length / max(nucleus.axis_minor_length, 1.0),
        "nucleus_lobes": float(max(len(peaks), 1)),
        "nucleus_offset": float(apart) / max(radius, 1.0),
    }


def _form_factor(region: Any) -> float:  # noqa: ANN401 - scikit-image gives its properties no type
    return float(4 * math.pi * region.area / max(region.perimeter, 1.0) ** 2)


def _chromatin(grey: NDArray[np.float32], nucleus: NDArray[np.bool_], diameter_px: float) -> dict[str, float]:
    """Return the texture of the nucleus without its outermost pixels, which are blurred."""
    inside = ndimage.binary_erosion(nucleus, iterations=2)
    if inside.sum() < _LEAST_PIXELS:
        inside = nucleus
    values = grey[inside]
    mean = max(float(values.mean()), 1e-3)
    levels = 1 + np.clip(grey / _DENSEST * (_LEVELS - 1), 0, _LEVELS - 1).astype(np.uint8)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    part = np.where(inside, levels, 0)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    step = max(1, round(_STEP * diameter_px))
    pairs = graycomatrix(part, [step], [0, np.pi / 2], levels=_LEVELS + 1)[1:, 1:].astype(np.float64)
    pairs /= np.maximum(pairs.sum(axis=(0, 1)), 1)
    return {
        "chromatin_variation": float(values.std()) / mean,
        "chromatin_contrast": float(graycoprops(pairs, "contrast").mean()),
        "chromatin_clumps": float((values > _CLUMP * mean).mean()),
    }


def _cytoplasm(
    density: NDArray[np.float32],
    grey: NDArray[np.float32],
    rim: NDArray[np.bool_],
    masks: WhiteCellMasks,
    diameter_px: float,
) -> dict[str, float]:
    """Return colour and texture of the cytoplasm."""
    red, blue = (max(float(density[..., channel][rim].mean()), 1e-3) for channel in (0, 2))
    width = max(1.0, 0.03 * diameter_px)
    weight = ndimage.gaussian_filter(rim.astype(np.float32), width)
    around = ndimage.gaussian_filter(np.where(rim, grey, 0.0), width) / np.maximum(weight, 1e-3)
    detail = (grey - around)[rim]
    inner = ndimage.binary_erosion(masks.cell, iterations=2) & rim
    return {
        "cytoplasm_density": float(grey[rim].mean() / max(float(grey[masks.nucleus].mean()), 1e-3)),
        "cytoplasm_blueness": math.log(red / blue),
        "granularity": float(detail.std()),
        "vacuoles": float(((grey - around < -_VACUOLE) & inner).sum() / rim.sum()),
    }

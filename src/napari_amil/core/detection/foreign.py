"""Objects that are no red cells: nuclei, platelets and ink have colours that haemoglobin never has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon

from napari_amil.core.images.foreground import foreground_mask

_BLUER_BY = 0.04  # on labelled slides 998 of 1,000 red cells have fewer than a quarter of such pixels
_BLUER_THAN_TYPICAL = 0.10  # where typical cells are bluish, as in unusual light
_INK = 0.35  # no channel of a red cell is this dark in a normalised field
_STEP = 4  # pixels; a typical colour needs no more


def typical_redness(*normalised: NDArray[np.float32]) -> float:
    """Return by how much red exceeds blue in a typical cell of windows of one field, NaN without cells."""
    excess = []
    for window in normalised:
        cells = foreground_mask(window)[::_STEP, ::_STEP]
        sample = window[::_STEP, ::_STEP][cells]
        excess.append(sample[:, 0] - sample[:, 2])
    together = np.concatenate(excess)
    return float(np.median(together)) if len(together) else float("nan")


def foreign_mask(normalised: NDArray[np.float32], redness: float | None = None) -> NDArray[np.bool_]:
    """Return the pixels ``(height, width)`` of a normalised field that are bluer than red, or black.

    Where the normalised light still turns all cells bluish, bluer than a typical cell counts:
    ``redness`` is that of the whole field (`typical_redness`), None to take it as usual.
    """
    smooth = ndimage.gaussian_filter(normalised, (1, 1, 0))
    limit = -_BLUER_BY
    if redness is not None and np.isfinite(redness):
        limit = min(limit, redness - _BLUER_THAN_TYPICAL)
    bluer = smooth[..., 0] < smooth[..., 2] + limit
    return np.asarray(bluer | (smooth.max(axis=2) < _INK), dtype=bool)


def foreign_share(
    normalised: NDArray[np.float32],
    outlines: tuple[NDArray[np.float32], ...],
    redness: float | None = None,
) -> NDArray[np.float32]:
    """Return the share ``(n_cells,)`` of each outline that has a colour no red cell has.

    Parameters
    ----------
    normalised
        ``(height, width, 3)`` in 0 to 1, background 1.
    outlines
        Polygons ``(n_points, 2)``, y and x in pixels of this field.
    redness
        That of a typical cell of the field (`foreign_mask`).
    """
    foreign = foreign_mask(normalised, redness)
    inside = (polygon(outline[:, 0] - 0.5, outline[:, 1] - 0.5, foreign.shape) for outline in outlines)
    shares = [foreign[pixels].mean() if len(pixels[0]) else 0.0 for pixels in inside]
    return np.array(shares, dtype=np.float32)

"""Fields with cells of known shape and density, drawn by formula."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_amil.core.base.types import Cells

Floats = NDArray[np.float64]
RADIUS_PX = 20.0  # of a typical cell


@pytest.fixture
def draw() -> Callable[..., tuple[NDArray[np.float32], Cells]]:
    """A function that draws one cell in the middle of a field and returns field and box.

    ``radius(angle)`` is the outline in typical radii, ``profile(depth)`` the optical density at the share
    ``depth`` (0 at the centre, 1 at the outline) of the radius.
    """

    def drawn(
        radius: Callable[[Floats], Floats | float] = lambda angle: 1.0,
        profile: Callable[[Floats], Floats | float] = lambda share: 0.4,
        scale: float = 1.0,
    ) -> tuple[NDArray[np.float32], Cells]:
        side = round(4 * RADIUS_PX * scale)
        fine = 4
        axis = (np.arange(side * fine) + 0.5) / fine - side / 2
        y, x = axis[:, None], axis[None, :]
        outline = radius(np.arctan2(y, x)) * RADIUS_PX * scale
        share = np.hypot(y, x) / outline
        density = np.where(share <= 1, profile(share), 0.0)
        density = density.reshape(side, fine, side, fine).mean(axis=(1, 3))
        density = ndimage.gaussian_filter(density, 0.6 * scale)
        rows, columns = np.nonzero(density > 0.05)
        box = np.array([[rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]], dtype=np.float32)
        field = np.exp(-density[..., None] * np.array([0.6, 1.4, 1.0]))
        return field.astype(np.float32), Cells(box)

    return drawn

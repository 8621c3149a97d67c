"""A picture shows the cell where it lies, whatever the kind of image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from napari.layers import Image, Shapes

from napari_amil.core.base.types import Cells
from napari_amil.plugin.reasons.cell_picture import cell_picture, image_of

Build = Callable[..., Shapes]
SIDE = int(np.ceil(1.9 * 24))


def _expected_corner(layer: Shapes, row: int) -> np.ndarray:
    box = layer.features.loc[row, ["y0", "x0", "y1", "x1"]].to_numpy(float)
    return np.floor((box[:2] + box[2:] - SIDE) / 2).astype(int)


def test_the_outline_lies_on_the_cell(field: np.ndarray, cells: Cells, build_layer: Build) -> None:
    image = Image(field, rgb=True, scale=(0.5, 0.25), translate=(7.0, -3.0))
    layer = build_layer(cells, image)
    picture = cell_picture([image, layer], layer, 1)
    assert picture.pixels.shape == (SIDE, SIDE, 3)
    corner = _expected_corner(layer, 1)
    np.testing.assert_allclose(picture.outline + corner, cells.outlines[1], atol=0.3)
    raw = field[corner[0] : corner[0] + SIDE, corner[1] : corner[1] + SIDE].astype(float)
    np.testing.assert_array_equal(picture.pixels, np.rint(np.clip(raw * 240 / 230, 0, 255)))


@pytest.mark.parametrize("kind", ["grey 16 bit", "fractions", "alpha", "stack"])
def test_every_kind_of_image_gives_eight_bit_colour(
    field: np.ndarray, cells: Cells, build_layer: Build, kind: str
) -> None:
    place: tuple[int, ...] = ()
    if kind == "grey 16 bit":
        image = Image(field[..., 1].astype(np.uint16) * 100, contrast_limits=(0, 30000))
        dark, light = 90 * 100 / 30000, 230 * 100 / 30000
    elif kind == "fractions":
        image = Image(field / 255.0, rgb=True)
        dark, light = 90 / 255, 230 / 255
    elif kind == "alpha":
        image = Image(np.dstack([field, np.full(field.shape[:2], 255, np.uint8)]), rgb=True)
        dark, light = 90 / 255, 230 / 255
    else:
        image = Image(np.stack([np.full_like(field, 230), field]), rgb=True)
        dark, light, place = 90 / 255, 230 / 255, (1,)
    layer = build_layer(cells.take([0]), image, place)
    picture = cell_picture([image], layer, 0)
    assert picture.pixels.dtype == np.uint8
    ratio = picture.pixels[SIDE // 2 - 6, SIDE // 2 - 6, 1] / picture.pixels[0, 0, 1]
    assert ratio == pytest.approx(dark / light, abs=0.02)
    assert picture.pixels[0, 0, 1] == pytest.approx(240, abs=1)


def test_a_cell_at_the_corner_gets_a_whole_square(field: np.ndarray, build_layer: Build) -> None:
    image = Image(field, rgb=True)
    layer = build_layer(Cells(np.array([[0.0, 0, 10, 8], [150, 190, 160, 200]])), image)
    for row in (0, 1):
        assert cell_picture([image], layer, row).pixels.shape == (SIDE, SIDE, 3)


def test_without_the_image_there_is_no_picture(field: np.ndarray, layer: Shapes, image: Image) -> None:
    other = Image(field, rgb=True)
    assert image_of([other, layer], layer) is None
    assert cell_picture([other, layer], layer, 0) is None
    assert cell_picture([image], layer, 99) is None

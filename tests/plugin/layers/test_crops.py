"""None"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.layers import Image, Shapes
from PIL import Image as Picture

from napari_amil.core.base.types import Cells
from napari_amil.plugin.layers.crops import (
    cell_picture,
    cut,
    image_of,
    source_of_file,
    source_of_layer,
    square_around,
    to_rgb8,
)

Build = Callable[..., Shapes]
SIDE = int(np.ceil(1.9 * 24))


def test_files_of_all_kinds_become_rgb(tmp_path: Path, field: np.ndarray) -> None:
    Picture.fromarray(field).save(tmp_path / "a.png")
    np.testing.assert_array_equal(source_of_file(tmp_path / "a.png").load(), field)
    grey = field[..., 1]
    Picture.fromarray(grey).save(tmp_path / "g.png")
    np.testing.assert_array_equal(source_of_file(tmp_path / "g.png").load()[..., 2], grey)
    tifffile.imwrite(tmp_path / "s.tif", np.stack([field, 255 - field]), photometric="rgb")
    np.testing.assert_array_equal(source_of_file(tmp_path / "s.tif", 1).load(), 255 - field)
    tifffile.imwrite(tmp_path / "w.tif", grey.astype(np.uint16) * 256, photometric="minisblack")
    wide = source_of_file(tmp_path / "w.tif").load()
    assert (wide.min(), wide.max()) == (0, 255)
    seen = np.dstack([field, np.full(field.shape[:2], 255, np.uint8)])
    seen[:50, :, 3] = 0
    Picture.fromarray(seen).save(tmp_path / "alpha.png")
    loaded = source_of_file(tmp_path / "alpha.png").load()
    assert (loaded[:50] == 255).all()
    np.testing.assert_array_equal(loaded[50:], field[50:])


def test_the_plane_of_a_layer_is_stretched_as_it_is_shown(field: np.ndarray) -> None:
    stack = np.stack([field[..., 0]] * 3).astype(np.uint16)
    stack[2] += 100
    layer = Image(stack, contrast_limits=(180, 380))
    np.testing.assert_array_equal(source_of_layer(layer, (2,)).load(), to_rgb8(stack[2], (180.0, 380.0)))
    assert source_of_layer(layer, (2,)).key != source_of_layer(layer, (1,)).key


def test_windows_have_one_size_unless_a_cell_is_larger() -> None:
    assert square_around(np.array([10.0, 20, 30, 40]), 40.0) == (-4, 6, 48)
    assert square_around(np.array([10.0, 20, 110, 40]), 40.0)[2] == 120


def test_a_window_over_the_border_repeats_the_border(field: np.ndarray) -> None:
    part = cut(field, (-10, -10, 40), 40)
    np.testing.assert_array_equal(part[10:, 10:], field[:30, :30])
    np.testing.assert_array_equal(part[0, 10:], field[0, :30])
    assert cut(field, (100, 190, 40), 128).shape == (128, 128, 3)
    with pytest.raises(ValueError, match="outside"):
        cut(field, (500, 500, 40), 40)


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

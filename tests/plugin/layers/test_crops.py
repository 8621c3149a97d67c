from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.layers import Image
from PIL import Image as Picture

from napari_amil.plugin.layers.crops import cut, field_of_file, field_of_layer, to_rgb8, window_of


def test_files_of_all_kinds_become_rgb(tmp_path: Path, field: np.ndarray) -> None:
    Picture.fromarray(field).save(tmp_path / "a.png")
    np.testing.assert_array_equal(field_of_file(tmp_path / "a.png").load(), field)
    grey = field[..., 1]
    Picture.fromarray(grey).save(tmp_path / "g.png")
    np.testing.assert_array_equal(field_of_file(tmp_path / "g.png").load()[..., 2], grey)
    tifffile.imwrite(tmp_path / "s.tif", np.stack([field, 255 - field]), photometric="rgb")
    np.testing.assert_array_equal(field_of_file(tmp_path / "s.tif", 1).load(), 255 - field)
    tifffile.imwrite(tmp_path / "w.tif", grey.astype(np.uint16) * 256, photometric="minisblack")
    wide = field_of_file(tmp_path / "w.tif").load()
    assert (wide.min(), wide.max()) == (0, 255)
    seen = np.dstack([field, np.full(field.shape[:2], 255, np.uint8)])
    seen[:50, :, 3] = 0
    Picture.fromarray(seen).save(tmp_path / "alpha.png")
    loaded = field_of_file(tmp_path / "alpha.png").load()
    assert (loaded[:50] == 255).all()
    np.testing.assert_array_equal(loaded[50:], field[50:])


def test_the_plane_of_a_layer_is_stretched_as_it_is_shown(field: np.ndarray) -> None:
    stack = np.stack([field[..., 0]] * 3).astype(np.uint16)
    stack[2] += 100
    layer = Image(stack, contrast_limits=(180, 380))
    np.testing.assert_array_equal(field_of_layer(layer, (2,)).load(), to_rgb8(stack[2], (180.0, 380.0)))
    assert field_of_layer(layer, (2,)).key != field_of_layer(layer, (1,)).key


def test_windows_have_one_size_unless_a_cell_is_larger() -> None:
    assert window_of(np.array([10.0, 20, 30, 40]), 40.0) == (-4, 6, 48)
    assert window_of(np.array([10.0, 20, 110, 40]), 40.0)[2] == 120


def test_a_window_over_the_border_repeats_the_border(field: np.ndarray) -> None:
    part = cut(field, (-10, -10, 40), 40)
    np.testing.assert_array_equal(part[10:, 10:], field[:30, :30])
    np.testing.assert_array_equal(part[0, 10:], field[0, :30])
    assert cut(field, (100, 190, 40), 128).shape == (128, 128, 3)
    with pytest.raises(ValueError, match="outside"):
        cut(field, (500, 500, 40), 40)

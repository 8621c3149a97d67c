from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_amil.core.base.errors import ImageError
from napari_amil.core.images.read import read_image
from napari_amil.plugin.layers import planes as _planes
from napari_amil.plugin.layers.planes import shown_plane


def _read(path: Path) -> np.ndarray:
    return np.load(path) if path.suffix == ".npy" else read_image(path)


def _plane(viewer: ViewerModel, pixels: object, tmp_path: Path, **kwargs: object) -> np.ndarray:
    layer = viewer.add_image(pixels, **kwargs)
    return _read(shown_plane(viewer, layer).write(tmp_path))


def test_rgb_goes_as_it_is(viewer: ViewerModel, field: np.ndarray, tmp_path: Path) -> None:
    np.testing.assert_array_equal(_plane(viewer, field, tmp_path, rgb=True), field)


def test_alpha_is_laid_on_white(viewer: ViewerModel, field: np.ndarray, tmp_path: Path) -> None:
    alpha = np.full((*field.shape[:2], 1), 255, np.uint8)
    alpha[:50] = 0
    read = _plane(viewer, np.concatenate([field, alpha], axis=2), tmp_path, rgb=True)
    assert (read[:50] == 255).all()
    np.testing.assert_array_equal(read[50:], field[50:])


def test_grey_becomes_three_equal_channels(viewer: ViewerModel, field: np.ndarray, tmp_path: Path) -> None:
    read = _plane(viewer, field[..., 1], tmp_path, rgb=False)
    np.testing.assert_array_equal(read, np.repeat(field[..., 1:2], 3, axis=2))


def test_16_bits_are_scaled_as_the_reader_of_files_does(
    viewer: ViewerModel, field: np.ndarray, tmp_path: Path
) -> None:
    read = _plane(viewer, field[..., 1].astype(np.uint16) * 257, tmp_path, rgb=False)
    np.testing.assert_array_equal(read[..., 0], field[..., 1])
    read = _plane(viewer, field.astype(np.uint16) * 257, tmp_path, rgb=True)
    np.testing.assert_array_equal(read, field)


def test_fractions_are_scaled_to_8_bits(viewer: ViewerModel, field: np.ndarray, tmp_path: Path) -> None:
    np.testing.assert_array_equal(_plane(viewer, field / 255, tmp_path, rgb=True), field)


@pytest.mark.parametrize("factor", [1, 257])
def test_floats_of_8_and_16_bits_are_scaled_as_those_in_files(
    viewer: ViewerModel, field: np.ndarray, tmp_path: Path, factor: int
) -> None:
    read = _plane(viewer, field.astype(np.float64) * factor, tmp_path, rgb=True)
    np.testing.assert_array_equal(read, field)


def test_the_shown_plane_of_a_lazy_stack_is_taken(
    viewer: ViewerModel, field: np.ndarray, tmp_path: Path
) -> None:
    stack = np.stack([field[..., 0] + n for n in range(3)])
    layer = viewer.add_image(da.from_array(stack), rgb=False, scale=(5, 0.5, 0.5), translate=(10, 3, 3))
    viewer.dims.set_point(0, 20)
    plane = shown_plane(viewer, layer)
    assert plane.place == (2,)
    assert plane.name.endswith("#3")
    np.testing.assert_array_equal(_read(plane.write(tmp_path))[..., 0], stack[2])
    np.testing.assert_array_equal(plane.at((0,)).pixels, stack[0])


def test_a_large_lazy_plane_is_written_in_bands(
    viewer: ViewerModel, field: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_planes, "LARGE_PX", 1000)
    monkeypatch.setattr(_planes, "_BAND_PX", 50)
    asked: list[int] = []

    def seen(block: np.ndarray) -> np.ndarray:
        asked.append(len(block))
        return block

    lazy = da.from_array(field, chunks=(50, -1, -1)).map_blocks(seen, dtype=field.dtype, meta=field[:0])
    layer = viewer.add_image(lazy, rgb=True)
    asked.clear()
    plane = shown_plane(viewer, layer)
    assert plane.record().image_shape == field.shape[:2]
    assert not asked
    np.testing.assert_array_equal(_read(plane.write(tmp_path)), field)
    assert max(asked) <= 50
    np.testing.assert_array_equal(
        _plane(viewer, da.from_array(field[..., 1]), tmp_path)[..., 0], field[..., 1]
    )


def test_the_finest_level_of_a_pyramid_is_taken(
    viewer: ViewerModel, field: np.ndarray, tmp_path: Path
) -> None:
    levels = [field, field[::2, ::2]]
    np.testing.assert_array_equal(_plane(viewer, levels, tmp_path, rgb=True, multiscale=True), field)


def test_a_2d_image_beside_a_stack_is_itself(viewer: ViewerModel, field: np.ndarray, tmp_path: Path) -> None:
    viewer.add_image(np.zeros((4, 50, 50)))
    np.testing.assert_array_equal(_plane(viewer, field, tmp_path, rgb=True), field)


def test_tables_name_the_layer_where_there_is_no_file(viewer: ViewerModel, field: np.ndarray) -> None:
    record = shown_plane(viewer, viewer.add_image(field, name="smear")).record()
    assert (record.image_name, record.image_shape, record.place) == ("smear", (160, 200), ())


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((64, 64), -3.0), "values from -3 to -3"),
        (np.full((64, 64), 70000, np.uint32), "values from 70000"),
        (np.full((64, 64), np.nan), "values from nan"),
        (np.zeros((20, 64), np.uint8), "only 64 x 20 pixels"),
    ],
)
@pytest.mark.filterwarnings("ignore:All-NaN")
def test_what_cannot_be_used_is_refused_in_a_sentence(
    viewer: ViewerModel, pixels: np.ndarray, reason: str
) -> None:
    layer = viewer.add_image(pixels, contrast_limits=(0, 1))
    with pytest.raises(ImageError, match=reason):
        shown_plane(viewer, layer)


def test_a_view_in_3d_or_with_rolled_axes_is_refused(viewer: ViewerModel) -> None:
    layer = viewer.add_image(np.zeros((40, 50, 60), np.uint8))
    viewer.dims.roll()
    with pytest.raises(ImageError, match="axes of the view are rolled"):
        shown_plane(viewer, layer)
    viewer.dims.ndisplay = 3
    with pytest.raises(ImageError, match="3D"):
        shown_plane(viewer, layer)


def test_a_plane_is_linked_to_its_layer(viewer: ViewerModel, image: Image) -> None:
    viewer.add_layer(image)
    assert shown_plane(viewer, image).record().image_id == str(image.unique_id)

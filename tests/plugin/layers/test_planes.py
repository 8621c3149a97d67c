from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import PIL.Image
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image
from napari.layers._source import layer_source
from napari.plugins import _initialize_plugins
from napari.plugins.io import read_data_with_plugins

from napari_amil.core.base.errors import ImageError
from napari_amil.core.images.read import read_image
from napari_amil.plugin.layers import planes as _planes
from napari_amil.plugin.layers.planes import Plane, shown_plane
from napari_amil.worker.inputs import load_image
from napari_amil.worker.protocol.messages import FieldInput


def _read(plane: Plane, folder: Path) -> np.ndarray:
    """Return the pixels that the worker sees."""
    return load_image(FieldInput(**plane.input(folder)))


def _plane(viewer: ViewerModel, pixels: object, tmp_path: Path, **kwargs: object) -> np.ndarray:
    layer = viewer.add_image(pixels, **kwargs)
    return _read(shown_plane(viewer, layer), tmp_path)


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
    np.testing.assert_array_equal(_read(plane, tmp_path)[..., 0], stack[2])
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
    np.testing.assert_array_equal(_read(plane, tmp_path), field)
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
        (np.full((64, 64), -3.0), "The image 'odd' has values from -3 to -3"),
        (np.full((64, 64), 70000, np.uint32), "The image 'odd' has values from 70000"),
        (np.full((64, 64), np.nan), "The image 'odd' holds values that are not numbers"),
        (np.zeros((64, 64), bool), "The image 'odd' holds numbers of the type bool"),
        (np.zeros((20, 64), np.uint8), "The image 'odd' is only 64 x 20 pixels"),
    ],
)
@pytest.mark.filterwarnings("ignore:All-NaN")
def test_an_array_that_cannot_be_used_is_refused_by_its_name(
    viewer: ViewerModel, pixels: np.ndarray, reason: str, tmp_path: Path
) -> None:
    layer = viewer.add_image(pixels, contrast_limits=(0, 1), name="odd")
    with pytest.raises(ImageError, match=reason):
        _read(shown_plane(viewer, layer), tmp_path)


def _files(field: np.ndarray, folder: Path) -> dict[str, Path]:
    """Write the field in every way in which laboratories store smears."""
    picture, grey = PIL.Image.fromarray(field), np.ascontiguousarray(field[..., 1])
    opaque, planes = np.full_like(grey, 255), np.ascontiguousarray(np.moveaxis(field, 2, 0))
    alpha = PIL.Image.fromarray(np.where(grey < 200, 255, 128).astype(np.uint8))
    picture.save(folder / "rgb.png")
    picture.save(folder / "rgb.jpg")
    picture.save(folder / "rgb.bmp")
    picture.save(folder / "rgb.webp")
    picture.quantize(16).save(folder / "palette.png")
    picture.quantize(16).save(folder / "palette.tif")
    PIL.Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "16.png")
    PIL.Image.merge("RGBA", [*picture.split(), alpha]).save(folder / "alpha.png")
    write = tifffile.imwrite
    write(folder / "miniswhite.tif", 255 - grey, photometric="miniswhite")
    write(folder / "12.tif", grey.astype(np.uint16) * 16 + 3, photometric="minisblack")
    write(folder / "16.tif", field.astype(np.uint16) * 257, photometric="rgb")
    write(folder / "float.tif", (field / 255).astype(np.float32), photometric="rgb")
    write(folder / "stack.tif", np.stack([grey, grey[::-1]]), photometric="minisblack")
    write(folder / "planar.tif", planes, photometric="rgb", planarconfig="separate")
    write(folder / "composite.tif", planes, imagej=True, metadata={"axes": "CYX", "mode": "composite"})
    write(folder / "greyalpha.tif", np.dstack([grey, opaque]), extrasamples=["unassalpha"])
    picture.convert("CMYK").save(folder / "cmyk.jpg")
    return {path.name: path for path in sorted(folder.iterdir())}


def _opened(viewer: ViewerModel, path: Path) -> Image:
    """Open a file as napari's own reader does."""
    ((pixels, *_),), _ = read_data_with_plugins([str(path)], plugin="napari", stack=False)
    with layer_source(path=str(path)):
        layer: Image = viewer.add_image(pixels, name=path.stem)
    return layer


@pytest.mark.parametrize(
    "name",
    [
        *("rgb.png", "rgb.jpg", "rgb.bmp", "rgb.webp", "palette.png", "palette.tif", "16.png", "alpha.png"),
        *("miniswhite.tif", "12.tif", "16.tif", "float.tif"),
    ],
)
def test_a_file_has_the_same_pixels_in_the_window_and_on_the_command_line(
    viewer: ViewerModel, field: np.ndarray, tmp_path: Path, name: str
) -> None:
    _initialize_plugins()
    path = _files(field, tmp_path)[name]
    plane = shown_plane(viewer, _opened(viewer, path))
    np.testing.assert_array_equal(_read(plane, tmp_path), read_image(path))


def test_every_page_of_a_file_is_that_page(viewer: ViewerModel, field: np.ndarray, tmp_path: Path) -> None:
    _initialize_plugins()
    path = _files(field, tmp_path)["stack.tif"]
    layer = _opened(viewer, path)
    for page in (0, 1):
        plane = shown_plane(viewer, layer).at((page,))
        assert plane.input(tmp_path) == {"image": path, "page": page, "name": plane.name, "source": path}
        np.testing.assert_array_equal(_read(plane, tmp_path), read_image(path, page))


def test_a_file_that_the_command_line_refuses_is_refused_in_the_same_words(
    viewer: ViewerModel, field: np.ndarray, tmp_path: Path
) -> None:
    _initialize_plugins()
    path = _files(field, tmp_path)["cmyk.jpg"]
    plane = shown_plane(viewer, _opened(viewer, path))
    with pytest.raises(ImageError, match=r"^The image 'cmyk\.jpg' has the colour mode CMYK"):
        _read(plane, tmp_path)


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

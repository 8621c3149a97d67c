"""Windows of stored fields are the same parts of the image that is read as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from napari_amil.core.base.errors import ImageError
from napari_amil.core.images import fields, refusals
from napari_amil.core.images.fields import ArrayField, StoredField, is_large, open_field
from napari_amil.core.images.read import find_images, read_image
from napari_amil.core.images.samples import sample_windows

SHAPE = (300, 700)
WINDOWS = [(slice(0, 40), slice(0, 50)), (slice(30, 210), slice(420, 700)), (slice(299, 300), slice(0, 700))]


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "WHOLE_PX", 1000)


def colours(dtype: type = np.uint8, brightest: int = 255) -> NDArray[Any]:
    values = np.random.default_rng(0).integers(0, brightest, (*SHAPE, 3), dtype=dtype)
    values[0, 0] = values[150, 350] = brightest
    return values


STORED: dict[str, dict[str, Any]] = {
    "tiled": {"tile": (64, 64), "compression": "zlib"},
    "OME": {"tile": (64, 64), "ome": True, "metadata": {"axes": "YXS"}},
    "strips": {"rowsperstrip": 16, "compression": "zlib"},
    "one uncompressed piece": {},
    "big-endian": {"byteorder": ">"},
}


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize(("dtype", "brightest"), [(np.uint8, 255), (np.uint16, 4000)])
def test_windows_of_tiff(tmp_path: Path, kind: str, dtype: type, brightest: int) -> None:
    path = tmp_path / "field.tif"
    tifffile.imwrite(path, colours(dtype, brightest), photometric="rgb", **STORED[kind])
    whole = read_image(path)
    with open_field(path) as field:
        assert isinstance(field, StoredField)
        assert field.shape == SHAPE
        for rows, columns in [*WINDOWS, *WINDOWS]:
            np.testing.assert_array_equal(field.window(rows, columns), whole[rows, columns])


def test_pages_grey_and_planes_of_colours(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    pages = np.random.default_rng(0).integers(0, 255, (3, *SHAPE), dtype=np.uint8)
    tifffile.imwrite(path, pages, photometric="minisblack", tile=(64, 64), metadata={"axes": "TYX"})
    with open_field(path, 2) as field:
        np.testing.assert_array_equal(field.window(*WINDOWS[1])[..., 1], pages[(2, *WINDOWS[1])])
    planes = tmp_path / "planes.ome.tif"
    tifffile.imwrite(planes, pages, photometric="minisblack", tile=(64, 64), metadata={"axes": "CYX"})
    with open_field(planes) as field:
        np.testing.assert_array_equal(field.window(*WINDOWS[1]), np.moveaxis(pages, 0, 2)[WINDOWS[1]])
    with pytest.raises(ImageError, match="no page 2"), open_field(planes, 1):
        pass


def test_zarr_is_one_image_with_its_pixel_size(tmp_path: Path) -> None:
    plain = zarr.create_array(tmp_path / "plain.zarr", data=colours(), chunks=(100, 100, 3))
    assert plain.shape == (*SHAPE, 3)
    group = zarr.open_group(tmp_path / "smear.ome.zarr", mode="w")
    group.create_array("0", data=np.moveaxis(colours(), 2, 0), chunks=(1, 100, 100))
    axes = [{"name": "c"}, {"name": "y", "unit": "micrometer"}, {"name": "x", "unit": "micrometer"}]
    scale = [{"type": "scale", "scale": [1, 0.2, 0.2]}]
    levels = [{"path": "0", "coordinateTransformations": scale}]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": levels}]
    sources = find_images([tmp_path])
    assert [source.name for source in sources] == ["plain.zarr", "smear.ome.zarr"]
    assert find_images([tmp_path / "plain.zarr"])[0].name == "plain.zarr"
    for source, pixel_um in zip(sources, (None, 0.2), strict=True):
        with open_field(source.path) as field:
            assert field.pixel_um == pixel_um
            np.testing.assert_array_equal(field.window(*WINDOWS[1]), colours()[WINDOWS[1]])
    with pytest.raises(ImageError, match="only 'detect' and 'score' read"):
        read_image(tmp_path / "plain.zarr")


@pytest.mark.parametrize(
    ("shape", "dtype", "said"),
    [((5, 64, 64), "u1", "has the shape"), ((64, 64, 3), "c8", "complex64"), ((8, 64, 3), "u1", "smaller")],
)
def test_zarr_that_is_no_smear_is_refused(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, said: str
) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=shape, dtype=dtype)
    with pytest.raises(ImageError, match=said), open_field(tmp_path / "a.zarr"):
        pass


def test_what_cannot_be_read_in_parts_is_read_as_a_whole_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "piece.tif"
    values = np.zeros((2500, 600, 3), np.uint8)
    tifffile.imwrite(path, values, photometric="rgb", compression="zlib", rowsperstrip=2500)
    with open_field(path) as field:
        assert isinstance(field, ArrayField)
    monkeypatch.setattr(refusals, "MAX_PIXELS", 2500 * 600 - 1)
    with pytest.raises(ImageError, match="save it as a tiled TIFF"), open_field(path):
        pass
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ImageError, match=r"cut short|damaged"), open_field(path):
        pass


def test_small_fields_are_read_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "WHOLE_PX", 300 * 700)
    assert not is_large(SHAPE)
    assert is_large((301, 700))
    path = tmp_path / "small.tif"
    tifffile.imwrite(path, colours(), photometric="rgb", tile=(64, 64))
    with open_field(path) as field:
        assert isinstance(field, ArrayField)
        np.testing.assert_array_equal(field.image, colours())


@pytest.mark.parametrize("shape", [(32, 40), (600, 512), (5000, 20000)])
def test_samples_lie_inside_and_reach_the_corners(shape: tuple[int, int]) -> None:
    windows = sample_windows(shape)
    assert len(windows) <= 25
    for axis, length in enumerate(shape):
        assert min(window[axis].start for window in windows) == 0
        assert max(window[axis].stop for window in windows) == length
        assert all(window[axis].stop - window[axis].start == min(length, 512) for window in windows)

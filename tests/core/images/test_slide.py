"""Slides: the levels of a pyramid in the formats of scanners, TIFF and Zarr."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from napari_amil.core.base.errors import ImageError, MissingExtraError
from napari_amil.core.base.types import Image
from napari_amil.core.images.read import read_image
from napari_amil.core.images.slide import open_slide

APERIO = "Aperio Image Library v10.0\r\n512x384 [0,0 512x384] (64x64) JPEG/RGB Q=90|AppMag = 40|MPP = 0.2500"


@pytest.fixture
def picture() -> Image:
    """A picture of 384 x 512 pixels without fine detail, so that no level looks different."""
    y, x = np.mgrid[:384, :512]
    return np.stack([x // 4 + 60, y // 4 + 40, (x + y) // 8 + 20], axis=2).astype(np.uint8)


def levels_of(picture: Image) -> list[Image]:
    """The picture, half and a quarter of it."""
    return [picture[::step, ::step] for step in (1, 2, 4)]


def write_pyramid(path: Path, picture: Image) -> None:
    options = {"tile": (64, 64), "photometric": "rgb", "compression": "zlib"}
    full, *smaller = levels_of(picture)
    with tifffile.TiffWriter(path, ome=True) as tif:
        described = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeXUnit": "µm"}
        tif.write(full, subifds=2, metadata=described, **options)
        for level in smaller:
            tif.write(level, subfiletype=1, **options)


def write_ome_zarr(path: Path, picture: Image, version: str) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=2 if version == "0.4" else 3)
    for number, level in enumerate(levels_of(picture)):
        group.create_array(str(number), data=np.moveaxis(level, 2, 0), chunks=(3, 64, 64))
    axes = [
        {"name": "c", "type": "channel"},
        *({"name": n, "type": "space", "unit": "micrometer"} for n in "yx"),
    ]
    scales = [[1, 0.25 * step, 0.25 * step] for step in (1, 2, 4)]
    datasets = [
        {"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        for number, scale in enumerate(scales)
    ]
    described = [{"version": version, "axes": axes, "datasets": datasets}]
    group.attrs.update(
        {"multiscales": described}
        if version == "0.4"
        else {"ome": {"version": version, "multiscales": described}}
    )


@pytest.mark.parametrize("kind", ["ome.tif", "0.4", "0.5"])
def test_a_pyramid_is_read_at_every_scale(tmp_path: Path, picture: Image, kind: str) -> None:
    path = tmp_path / ("slide.ome.tif" if kind == "ome.tif" else "slide.ome.zarr")
    if kind == "ome.tif":
        write_pyramid(path, picture)
    else:
        write_ome_zarr(path, picture, kind)
    with open_slide(path) as slide:
        assert [level.shape for level in slide.levels] == [(384, 512), (192, 256), (96, 128)]
        assert [level.pixel_um for level in slide.levels] == [0.25, 0.5, 1.0]
        rows, columns = slice(100, 260), slice(40, 200)
        np.testing.assert_array_equal(slide.read(rows, columns), picture[rows, columns])
        np.testing.assert_array_equal(slide.read(rows, columns, 4.0), picture[100:260:4, 40:200:4])
        between = slide.read(rows, columns, 3.2)
        assert between.shape == (50, 50, 3)
        assert abs(between.mean(axis=(0, 1)) - picture[rows, columns].mean(axis=(0, 1))).max() < 1


def test_an_image_without_pyramid_is_a_slide_of_one_level(tmp_path: Path, picture: Image) -> None:
    tifffile.imwrite(tmp_path / "field.tif", picture, photometric="rgb")
    with open_slide(tmp_path / "field.tif") as slide:
        assert [level.shape for level in slide.levels] == [(384, 512)]


def test_a_slide_of_a_scanner_is_read(tmp_path: Path, picture: Image) -> None:
    pytest.importorskip("openslide", reason="the extra 'slides' is not installed")
    path = tmp_path / "slide.svs"
    options = {"tile": (64, 64), "photometric": "rgb", "compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(path) as tif:
        for number, level in enumerate(levels_of(picture)):
            tif.write(level, description=APERIO, subfiletype=bool(number), **options)
    with open_slide(path) as slide:
        assert [level.shape for level in slide.levels] == [(384, 512), (192, 256), (96, 128)]
        assert [level.pixel_um for level in slide.levels] == [0.25, 0.5, 1.0]
        for level, shown in zip(slide.levels, levels_of(picture), strict=True):
            part = level.window(slice(10, 70), slice(20, 90)).astype(int)
            assert abs(part - shown[10:70, 20:90]).max() < 12  # JPEG
    with pytest.raises(ImageError, match="napari-amil slide"):
        read_image(path)


def test_a_czi_is_read(tmp_path: Path, picture: Image) -> None:
    czi = pytest.importorskip("pylibCZIrw.czi", reason="the extra 'czi' is not installed")
    path = tmp_path / "slide.czi"
    large = np.tile(picture, (4, 4, 1))
    with czi.create_czi(str(path)) as document:
        document.write(np.ascontiguousarray(large[..., ::-1]))
        document.write_metadata("slide", scale_x=0.25e-6, scale_y=0.25e-6)
    with open_slide(path) as slide:
        assert [level.shape for level in slide.levels] == [(1536, 2048), (768, 1024)]
        assert [level.pixel_um for level in slide.levels] == [0.25, 0.5]
        np.testing.assert_array_equal(slide.read(slice(9, 99), slice(5, 77)), large[9:99, 5:77])
        half = slide.levels[1].window(slice(50, 90), slice(10, 70)).astype(int)
        assert abs(half - large[100:180:2, 20:140:2]).max() <= 2


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, package, extra in (("a.mrxs", "openslide", "slides"), ("a.czi", "pylibCZIrw.czi", "czi")):
        (tmp_path / name).write_bytes(b"x")
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingExtraError, match=rf"napari-amil\[{extra}\]"), open_slide(tmp_path / name):
            pass


def test_a_missing_slide_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.svs' does not exist"), open_slide(tmp_path / "none.svs"):
        pass

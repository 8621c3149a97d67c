"""Mutated images are read or refused in a sentence, within bounded time and memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr
from fuzzing import fuzz

from napari_amil.core.images.fields import is_large, open_field, pixel_um_of, sampled_pixels
from napari_amil.core.images.read import find_images

CASES = {"pictures": 300, "tiff": 500, "zarr": 120}
"""Cases of each kind; a few seconds together."""
COLOUR = np.tile(np.random.default_rng(0).integers(0, 256, (8, 10, 3), dtype=np.uint8), (5, 5, 1))


def pictures(folder: Path) -> dict[str, Path]:
    picture = PIL.Image.fromarray(COLOUR)
    files = {
        "PNG": (picture, "a.png", {}),
        "PNG with palette": (picture.quantize(16), "b.png", {}),
        "PNG of 16 bits": (PIL.Image.fromarray(COLOUR[..., 0].astype(np.uint16) * 16), "c.png", {}),
        "JPEG": (picture, "d.jpg", {"quality": 90}),
        "progressive JPEG": (picture, "e.jpeg", {"progressive": True}),
        "BMP": (picture, "f.bmp", {}),
        "BMP with palette": (picture.quantize(16), "g.bmp", {}),
        "WebP": (picture, "h.webp", {"lossless": True}),
    }
    for image, name, options in files.values():
        image.save(folder / name, **options)
    return {kind: folder / name for kind, (_, name, _) in files.items()}


def tiffs(folder: Path) -> dict[str, Path]:
    stack = np.stack([COLOUR[..., 0]] * 3)
    deep = COLOUR.astype(np.uint16) * 16
    files = {
        "plain": (COLOUR, {"photometric": "rgb"}),
        "LZW": (COLOUR, {"photometric": "rgb", "compression": "lzw", "rowsperstrip": 8}),
        "tiles": (COLOUR, {"photometric": "rgb", "compression": "zlib", "tile": (16, 16)}),
        "JPEG": (COLOUR, {"photometric": "ycbcr", "compression": "jpeg", "tile": (16, 16)}),
        "OME": (stack, {"ome": True, "metadata": {"axes": "CYX", "PhysicalSizeX": 0.2}}),
        "ImageJ": (stack, {"imagej": True, "metadata": {"axes": "TYX", "unit": "um"}, "resolution": (5, 5)}),
        "16 bits": (deep, {"photometric": "rgb", "byteorder": ">", "bigtiff": True}),
        "fractions": ((COLOUR / 255).astype(np.float32), {"photometric": "rgb", "compression": "zstd"}),
    }
    for kind, (values, options) in files.items():
        tifffile.imwrite(folder / f"{kind}.tif", values, **options)
    return {kind: folder / f"{kind}.tif" for kind in files}


def zarrs(folder: Path) -> dict[str, Path]:
    for version in (2, 3):
        zarr.create_array(
            folder / f"array{version}.zarr", data=COLOUR, chunks=(20, 25, 3), zarr_format=version
        )
        group = zarr.open_group(folder / f"image{version}.zarr", mode="w", zarr_format=version)
        group.create_array("0", data=np.moveaxis(COLOUR, 2, 0), chunks=(1, 40, 50))
        axes = [{"name": "c"}, {"name": "y", "unit": "micrometer"}, {"name": "x", "unit": "micrometer"}]
        scale = [{"type": "scale", "scale": [1, 0.2, 0.2]}]
        described = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]
        group.attrs.update(
            {"multiscales": described} if version == 2 else {"ome": {"multiscales": described}}
        )
    packed = {"chunks": (20, 25, 3), "shards": (40, 50, 3), "compressors": zarr.codecs.BloscCodec()}
    zarr.create_array(folder / "shards.zarr", data=COLOUR, **packed)
    return {path.name: path for path in folder.iterdir()}


def read(path: Path) -> None:
    """List, open and read an image as a command does."""
    for source in find_images([path])[:3]:
        pixel_um_of(source.path)
        with open_field(source.path, source.page) as field:
            if not is_large(field.shape):
                height, width = field.shape
                image = field.window(slice(0, height), slice(0, width))
                assert image.shape == (height, width, 3)
            assert sampled_pixels(field).dtype == np.uint8


KINDS = {"pictures": pictures, "tiff": tiffs, "zarr": zarrs}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", KINDS)
def test_mutated_images_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "valid").mkdir()
    valid = KINDS[kind](tmp_path / "valid")
    for path in valid.values():
        read(path)
    counts = fuzz(read, valid, tmp_path, CASES[kind])
    assert counts["refused"]

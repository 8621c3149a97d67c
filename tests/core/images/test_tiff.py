"""TIFF files: sets of files, claimed sizes, palettes, and odd metadata."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_amil.core.base.errors import ImageError
from napari_amil.core.images.fields import open_field
from napari_amil.core.images.read import find_images, n_pages, read_image

SHAPE = (40, 50)
GREY = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), dtype=np.uint8)


def described(path: Path, text: str, pixels: NDArray[Any] = GREY[0], **options: Any) -> Path:
    tifffile.imwrite(path, pixels, description=text, metadata=None, **options)
    return path


def ome(planes: str, size_t: int = 1) -> str:
    return (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
        'UUID="urn:uuid:0">'
        f'<Image ID="Image:0"><Pixels DimensionOrder="XYCZT" Type="uint8" SizeX="50" SizeY="40" SizeC="1" '
        f'SizeZ="1" SizeT="{size_t}"><Channel ID="c" SamplesPerPixel="1"/>{planes}</Pixels></Image></OME>'
    )


def test_each_file_of_an_ome_set_is_one_image_with_its_own_pixels(tmp_path: Path) -> None:
    for own in range(3):
        planes = "".join(
            f'<TiffData FirstT="{t}" PlaneCount="1"><UUID FileName="t{t}.ome.tif">urn:uuid:{t}</UUID>'
            "</TiffData>"
            for t in range(3)
        )
        text = ome(planes, 3).replace('UUID="urn:uuid:0"', f'UUID="urn:uuid:{own}"')
        described(tmp_path / f"t{own}.ome.tif", text, GREY[own])
    found = find_images([tmp_path])
    assert [source.name for source in found] == ["t0.ome.tif", "t1.ome.tif", "t2.ome.tif"]
    for own, source in enumerate(found):
        np.testing.assert_array_equal(read_image(source.path)[..., 0], GREY[own])


@pytest.mark.parametrize(
    "text",
    [
        ome('<TiffData IFD="0" PlaneCount="1000000000"/>', 10**9),
        ome("<TiffData/>", 10**9),
        ome('<TiffData FirstT="999999999" IFD="0"/>', 10**9),
        ome('<TiffData IFD="many"/>'),
        ome("<TiffData/>").replace('SizeT="1"', 'SizeT=""'),
        "ImageJ=1.53\nimages=1000000000\nslices=1000000000\n",
        '{"shape": [1000000000, 40, 50]}',
    ],
    ids=["planes", "times", "first", "letters", "empty", "ImageJ", "tifffile"],
)
def test_one_page_is_read_whatever_number_its_description_claims(tmp_path: Path, text: str) -> None:
    path = described(tmp_path / "a.tif", text)
    began = time.process_time()
    assert n_pages(path) == 1
    np.testing.assert_array_equal(read_image(path)[..., 0], GREY[0])
    assert time.process_time() - began < 5


def changed(path: Path, tag: int, value: int) -> None:
    """Write another number into a tag of the first page of a little-endian TIFF."""
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (n_tags,) = struct.unpack_from("<H", content, start)
    for entry in range(start + 2, start + 2 + 12 * n_tags, 12):
        code, kind = struct.unpack_from("<HH", content, entry)
        if code == tag:
            struct.pack_into("<H" if kind == 3 else "<I", content, entry + 8, value)
    path.write_bytes(bytes(content))


WIDTH, LENGTH, BITS, SAMPLES, TILE_WIDTH, TILE_LENGTH = 256, 257, 258, 277, 322, 323


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({WIDTH: 60_000, LENGTH: 60_000}, "claims 3,600,000,000 bytes of pixels but stores only"),
        ({WIDTH: 5_000, LENGTH: 5_000}, "claims 25,000,000 bytes of pixels but stores only"),
        ({SAMPLES: 65_535}, "65535 samples per pixel"),
    ],
)
def test_claimed_sizes_are_held_against_the_file(
    tmp_path: Path, changes: dict[int, int], reason: str
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY[0], metadata=None)
    for tag, value in changes.items():
        changed(path, tag, value)
    began = time.process_time()
    assert len(find_images([tmp_path])) == 1
    with pytest.raises(ImageError, match=reason):
        read_image(path)
    assert time.process_time() - began < 5


def test_tiles_larger_than_any_field_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY[0], tile=(48, 64), metadata=None, compression="zlib")
    changed(path, TILE_WIDTH, 65_520)
    changed(path, TILE_LENGTH, 65_520)
    with pytest.raises(ImageError, match="tiles of 65520 x 65520"):
        read_image(path)


def test_palette_is_looked_up_alike_in_large_and_small_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    numbers = GREY[0] % 4
    colours = np.zeros((3, 256), np.uint16)
    colours[:, :4] = np.array([[10, 200, 30, 250], [1, 2, 3, 4], [99, 98, 97, 96]]) * 257
    tifffile.imwrite(path, numbers, photometric="palette", colormap=colours, metadata=None)
    wanted = np.moveaxis(colours // 257, 0, 1)[numbers]
    np.testing.assert_array_equal(read_image(path), wanted)
    monkeypatch.setattr("napari_amil.core.images.fields.WHOLE_PX", 100)
    with open_field(path) as field:
        np.testing.assert_array_equal(field.window(slice(0, 40), slice(0, 50)), wanted)


def test_planes_of_colours_in_a_stack_are_read_one_field_at_a_time(tmp_path: Path) -> None:
    stack = np.random.default_rng(1).integers(0, 256, (4, 3, *SHAPE), dtype=np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "TCYX"})
    assert n_pages(path) == 4
    np.testing.assert_array_equal(read_image(path, 2), np.moveaxis(stack[2], 0, 2))

"""The pixel size is read where a file says it, and not believed where no microscope has it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_amil.core.images.fields import open_field, pixel_um_of

PIXELS = np.zeros((40, 50, 3), np.uint8)
OME = {"axes": "YXS", "PhysicalSizeX": 0.13}
NANOMETRES = {"axes": "YXS", "PhysicalSizeX": 130, "PhysicalSizeXUnit": "nm"}
FILES: dict[str, tuple[dict[str, Any], float | None]] = {
    "OME": ({"ome": True, "metadata": OME}, 0.13),
    "OME in nanometres": ({"ome": True, "metadata": NANOMETRES}, 0.13),
    "OME in pixels": ({"ome": True, "metadata": {**OME, "PhysicalSizeXUnit": "pixel"}}, None),
    "OME without": ({"ome": True, "metadata": {"axes": "YXS"}}, None),
    "centimetres": ({"resolution": (50_000, 50_000), "resolutionunit": "CENTIMETER"}, 0.2),
    "inches": ({"resolution": (254_000, 254_000), "resolutionunit": "INCH"}, 0.1),
    "a screen": ({"resolution": (72, 72), "resolutionunit": "INCH"}, None),
    "nothing": ({}, None),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_tiff(tmp_path: Path, kind: str) -> None:
    options, expected = FILES[kind]
    path = tmp_path / "field.tif"
    tifffile.imwrite(path, PIXELS, photometric="rgb", **options)
    assert pixel_um_of(path) == (None if expected is None else pytest.approx(expected, rel=1e-4))
    with open_field(path) as field:
        assert field.pixel_um == pixel_um_of(path)


@pytest.mark.parametrize(
    ("kind", "value", "um"),
    [
        (11, struct.pack("<f", 50_000), 0.2),
        (3, struct.pack("<HH", 50_000, 0), 0.2),
        (4, struct.pack("<I", 50_000), 0.2),
        (11, struct.pack("<f", float("nan")), None),
        (3, bytes(4), None),
        (2, b"a\0\0\0", None),
    ],
    ids=["FLOAT", "SHORT", "LONG", "NaN", "zero", "text"],
)
def test_resolution_of_any_type_costs_no_image(
    tmp_path: Path, kind: int, value: bytes, um: float | None
) -> None:
    path = tmp_path / "field.tif"
    tifffile.imwrite(path, PIXELS, photometric="rgb", resolution=(5, 5), resolutionunit="CENTIMETER")
    content = path.read_bytes()
    entry = struct.pack("<HHI", 282, 5, 1)
    assert content.count(entry) == 1
    place = content.index(entry)
    path.write_bytes(content[:place] + struct.pack("<HHI", 282, kind, 1) + value + content[place + 12 :])
    with open_field(path) as field:
        assert field.shape == (40, 50)
        assert field.pixel_um == (None if um is None else pytest.approx(um, rel=1e-4))
        assert bool(field.notes) == (um is None)


@pytest.mark.parametrize("fraction", [(0, 0), (1, 0), (0, 1)])
def test_resolution_of_zero_or_infinity_is_unknown(tmp_path: Path, fraction: tuple[int, int]) -> None:
    path = tmp_path / "field.tif"
    tifffile.imwrite(path, PIXELS, photometric="rgb", resolution=(5, 5), resolutionunit="CENTIMETER")
    content = bytearray(path.read_bytes())
    (place,) = struct.unpack_from("<I", content, content.index(struct.pack("<HHI", 282, 5, 1)) + 8)
    struct.pack_into("<II", content, place, *fraction)
    path.write_bytes(bytes(content))
    with open_field(path) as field:
        assert field.shape == (40, 50)
        assert field.pixel_um is None
        assert field.notes


@pytest.mark.parametrize(
    ("written", "um", "note"),
    [
        ("0,25", 0.25, "its pixel size, '0,25', is read as 0.25"),
        ("", None, "its pixel size, '', is no number and is taken as unknown"),
        ("NaN", None, "its pixel size, 'NaN', is no number and is taken as unknown"),
        ("1.234,5", None, "its pixel size, '1.234,5', is no number and is taken as unknown"),
        ("-1", None, "its pixel size, '-1', is not above 0 and is taken as unknown"),
        (
            '1" PhysicalSizeXUnit="furlong',
            None,
            "its pixel size is given in 'furlong' and is taken as unknown",
        ),
        ("0.25", 0.25, ""),
    ],
)
def test_odd_sizes_in_ome_cost_no_image(tmp_path: Path, written: str, um: float | None, note: str) -> None:
    path = tmp_path / "field.ome.tif"
    tifffile.imwrite(
        path, PIXELS, photometric="rgb", ome=True, metadata={"axes": "YXS", "PhysicalSizeX": 0.13}
    )
    described = tifffile.tiffcomment(path).replace('PhysicalSizeX="0.13"', f'PhysicalSizeX="{written}"')
    tifffile.tiffcomment(path, described.encode())
    with open_field(path) as field:
        assert field.shape == (40, 50)
        assert field.pixel_um == um
        assert field.notes == ((note,) if note else ())


def test_imagej(tmp_path: Path) -> None:
    path = tmp_path / "field.tif"
    tifffile.imwrite(path, PIXELS, imagej=True, resolution=(8, 8), metadata={"unit": "um", "axes": "YXS"})
    assert pixel_um_of(path) == pytest.approx(0.125)


def test_other_files_do_not_tell(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "field.png")
    (tmp_path / "broken.tif").write_bytes(b"II*\0" + b"\xff" * 20)
    assert pixel_um_of(tmp_path / "field.png") is None
    assert pixel_um_of(tmp_path / "broken.tif") is None
    assert pixel_um_of(tmp_path / "absent.tif") is None

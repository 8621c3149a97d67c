"""The pixel size is read where a file says it, and not believed where no microscope has it."""

from __future__ import annotations

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

"""OME-Zarr in the layouts of its versions and of converters."""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from napari_amil.core.base.errors import ImageError
from napari_amil.core.images.fields import open_field, pixel_um_of
from napari_amil.core.images.read import find_images

COLOUR = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
PLANES = np.moveaxis(COLOUR, 2, 0)
FIVE = PLANES[None, :, None]
UM = {"unit": "micrometer"}
NAMED = [{"name": "c"}, {"name": "y", **UM}, {"name": "x", **UM}]
SCALE = [{"type": "scale", "scale": [1, 0.2, 0.2]}]


def read(path: Path) -> NDArray[np.uint8]:
    with open_field(path) as field:
        return field.window(slice(0, 40), slice(0, 50))


def image(group: Any, values: NDArray[Any], zarr_format: int = 2, **described: Any) -> None:
    group.create_array("0", data=values)
    multiscales = [{"datasets": [{"path": "0"}], **described}]
    group.attrs.update(
        {"ome": {"multiscales": multiscales}} if zarr_format == 3 else {"multiscales": multiscales}
    )


LAYOUTS: dict[str, tuple[int, NDArray[Any], dict[str, Any]]] = {
    "0.1 without axes": (2, FIVE, {"version": "0.1"}),
    "0.3 with letters": (2, PLANES, {"version": "0.3", "axes": ["c", "y", "x"]}),
    "0.4": (2, PLANES, {"version": "0.4", "axes": NAMED}),
    "0.5 under ome": (3, PLANES, {"axes": NAMED}),
    "axis called channel": (2, PLANES, {"axes": [{"name": "channel"}, *NAMED[1:]]}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("converted", [False, True])
def test_every_version_gives_the_same_image(tmp_path: Path, layout: str, converted: bool) -> None:
    version, values, described = LAYOUTS[layout]
    path = tmp_path / "a.ome.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=version)
    if converted:
        root.attrs["bioformats2raw.layout"] = 3
        root.create_group("OME").attrs["series"] = ["0"]
        (path / "OME" / "METADATA.ome.xml").write_text("<OME/>")
    image(root.create_group("0") if converted else root, values, version, **described)
    assert [source.path for source in find_images([tmp_path])] == [path]
    np.testing.assert_array_equal(read(path), COLOUR)


def test_labels_beside_an_image_are_not_its_pixels(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    image(root, PLANES, axes=NAMED)
    labels = root.create_group("labels").create_group("cells")
    image(labels, PLANES[:1], axes=NAMED)
    labels.attrs["image-label"] = {}
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), COLOUR)
    with pytest.raises(ImageError, match="holds labels of cells, no image"):
        read(tmp_path / "a.zarr" / "labels" / "cells")


def test_several_images_are_refused_with_the_folders_to_give(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    for name in "01":
        image(root.create_group(name), PLANES, axes=NAMED)
    with pytest.raises(ImageError, match=r"holds 2 images; .* such as 'a.zarr/0', 'a.zarr/1'"):
        read(tmp_path / "a.zarr")
    root.attrs["plate"] = {"rows": []}
    with pytest.raises(ImageError, match="holds a plate"):
        read(tmp_path / "a.zarr")


@pytest.mark.parametrize(("scale", "um"), [(0.2, 0.2), ("0,2", 0.2), ("wide", None), (None, None)])
def test_odd_pixel_sizes_do_not_cost_the_image(tmp_path: Path, scale: Any, um: float | None) -> None:
    path = tmp_path / "a.zarr"
    changes = [{"type": "scale", "scale": [1, scale, scale]}]
    image(
        zarr.open_group(path, mode="w", zarr_format=2),
        PLANES,
        axes=NAMED,
        datasets=[{"path": "0", "coordinateTransformations": changes}],
    )
    np.testing.assert_array_equal(read(path), COLOUR)
    assert pixel_um_of(path) == um
    with open_field(path) as field:
        assert bool(field.notes) == (scale != 0.2)


def test_claimed_sizes_and_foreign_codecs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=(64, 64, 3), chunks=(64, 64, 3), dtype="u1", zarr_format=2)[:] = 7
    described = json.loads((path / ".zarray").read_text())
    for change, reason in (
        ({"shape": [10**6, 10**6, 3]}, "claims 3,000,000,000,000 bytes of pixels but stores only"),
        ({"chunks": [10**6, 10**6, 3]}, "is stored in chunks of"),
        ({"filters": [{"id": "base64"}]}, "is compressed with 'base64'"),
    ):
        (path / ".zarray").write_text(json.dumps(described | change))
        with pytest.raises(ImageError, match=reason):
            read(path)


@pytest.mark.parametrize("filters", [["pickle"], ["zlib", "pickle"], ["pickle", "zlib"]])
def test_a_codec_that_runs_code_is_refused_and_never_decoded(tmp_path: Path, filters: list[str]) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=(64, 64, 3), chunks=(64, 64, 3), dtype="u1", zarr_format=2)[:] = 7
    described = json.loads((path / ".zarray").read_text())
    described |= {"compressor": None, "filters": [{"id": name} for name in filters]}
    (path / ".zarray").write_text(json.dumps(described))
    program = f"__import__('pathlib').Path({str(tmp_path / 'executed')!r}).touch()"
    data = b"cbuiltins\nexec\n(V" + program.encode() + b"\ntR."
    chunk = next(each for each in path.rglob("*") if each.is_file() and not each.name.startswith(".z"))
    chunk.write_bytes(zlib.compress(data) if filters[-1] == "zlib" else data)
    with pytest.raises(ImageError, match=r"(is compressed with 'pickle', which|No Zarr data type)"):
        read(path)
    assert not (tmp_path / "executed").exists()
    pickle.loads(data)
    assert (tmp_path / "executed").exists()

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image
from napari.layers._source import layer_source

from napari_amil.core.base.errors import ImageError
from napari_amil.plugin.layers.slides import (
    get_slide_reader,
    is_searched_in_parts,
    part_of_slide,
    read_slides,
)

pytest.importorskip("openslide", reason="the extra 'slides' is not installed")

SIDE = 6000
APERIO = (
    f"Aperio Image Library v10.0\r\n{SIDE}x{SIDE} [0,0 {SIDE}x{SIDE}] (256x256) JPEG/RGB Q=90|MPP = 0.2500"
)


@pytest.fixture(scope="module")
def slide_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 36 megapixels in three levels: red grows downwards, green to the right."""
    y, x = np.mgrid[:SIDE, :SIDE]
    picture = np.stack([y // 30 + 20, x // 30 + 20, np.full_like(x, 200)], axis=2).astype(np.uint8)
    path = tmp_path_factory.mktemp("slide") / "smear.svs"
    options = {"tile": (256, 256), "photometric": "rgb", "compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(path) as tif:
        for number, step in enumerate((1, 4, 16)):
            tif.write(picture[::step, ::step], description=APERIO, subfiletype=bool(number), **options)
    return path


@pytest.fixture
def slide(viewer: ViewerModel, slide_path: Path) -> Image:
    levels, attributes, kind = read_slides(str(slide_path))[0]
    assert kind == "image"
    with layer_source(path=str(slide_path)):
        layer: Image = viewer.add_image(levels, **attributes)
    return layer


def _colour(row: float, column: float) -> list[float]:
    return [row / 30 + 20, column / 30 + 20, 200]


def test_a_slide_is_a_lazy_pyramid(slide: Image, slide_path: Path) -> None:
    assert slide.name == "smear.svs"
    assert [level.shape for level in slide.data] == [(6000, 6000, 3), (1500, 1500, 3), (375, 375, 3)]
    window = np.asarray(slide.data[0][3000:3010, 4500:4510]).astype(float)
    assert abs(window.mean(axis=(0, 1)) - _colour(3005, 4505)).max() < 3
    assert get_slide_reader(str(slide_path)) is read_slides
    assert get_slide_reader([str(slide_path), "cells.csv"]) is None


def test_slides_of_scanners_and_huge_pyramids_are_searched_in_parts(
    viewer: ViewerModel, slide: Image
) -> None:
    assert is_searched_in_parts(slide)
    assert not is_searched_in_parts(viewer.add_image(np.zeros((64, 64, 3), np.uint8), rgb=True))
    for side, wanted in ((20_000, False), (20_100, True)):
        finest = da.zeros((side, side, 3), dtype=np.uint8, chunks=(2000, 2000, 3))
        layer = viewer.add_image([finest, finest[::16, ::16]], rgb=True, multiscale=True)
        assert is_searched_in_parts(layer) is wanted


def test_the_part_is_the_rectangle_drawn_last_and_lies_over_the_slide(
    viewer: ViewerModel, slide: Image
) -> None:
    slide.scale, slide.translate = (0.25, 0.25), (7, 5)
    corners = np.array([[[600, 900], [600, 1500], [1100, 1500], [1100, 900]]], float) * 0.25 + [7, 5]
    viewer.add_shapes(corners, shape_type="rectangle")
    part = part_of_slide(viewer, slide)
    assert part.data.shape == (500, 600, 3)
    assert part.name == "smear.svs at 900, 600"
    np.testing.assert_allclose(part.translate, [600 * 0.25 + 7, 900 * 0.25 + 5])
    np.testing.assert_allclose(part.data_to_world((0, 0)), slide.data_to_world((600, 900)))
    assert abs(part.data[:10, :10].mean(axis=(0, 1)) - _colour(605, 905)).max() < 3


def test_without_a_rectangle_the_part_is_what_the_canvas_shows(slide: Image, viewer: ViewerModel) -> None:
    slide.scale = (0.5, 0.5)
    viewer.canvas.size = (400, 500)
    viewer.scene.camera.zoom = 1.0
    viewer.scene.camera.center = (0.0, 600 / 2 + 100, 1300 / 2)
    part = part_of_slide(viewer, slide)
    assert part.name == "smear.svs at 800, 400"
    assert part.data.shape == (800, 1000, 3)


@pytest.mark.parametrize(
    ("corners", "message"),
    [
        (
            [[0, 0], [0, 5500], [5500, 5500], [5500, 0]],
            "The rectangle has 5,500 x 5,500 pixels of 'smear.svs'",
        ),
        ([[-90, -90], [-90, -10], [-10, -10], [-10, -90]], "lies beside the slide"),
    ],
)
def test_a_part_that_cannot_be_searched_is_refused(
    viewer: ViewerModel, slide: Image, corners: list[list[float]], message: str
) -> None:
    viewer.add_shapes([np.array(corners, float)], shape_type="rectangle")
    with pytest.raises(ImageError, match=message):
        part_of_slide(viewer, slide)

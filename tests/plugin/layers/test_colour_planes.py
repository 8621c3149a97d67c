"""Grey planes of a colour image are recognised and joined; other grey images are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image
from napari.layers._source import layer_source
from pytestqt.qtbot import QtBot

from napari_amil.plugin.layers.colour_planes import grey_planes
from napari_amil.plugin.layers.offers import JoinBar


def _planes(field: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(field, 2, 0))


@pytest.mark.parametrize("names", [("x R", "x G", "x B"), ("x", "x [1]", "x [2]"), ("red", "green", "blue")])
def test_three_layers_of_one_name_are_joined(
    viewer: ViewerModel, field: np.ndarray, names: tuple[str, ...], qtbot: QtBot
) -> None:
    for number in range(3):
        viewer.add_image(field[..., number], name=names[number], scale=(2, 2))
    bar = JoinBar(viewer)
    qtbot.addWidget(bar)
    bar.offer(viewer.layers[1])
    assert not bar.isHidden()
    bar.join()
    (joined,) = viewer.layers
    assert joined.rgb
    assert tuple(joined.scale) == (2, 2)
    np.testing.assert_array_equal(joined.data, field)


def test_colours_in_another_order_come_right(viewer: ViewerModel, field: np.ndarray) -> None:
    for number, colour in ((2, "blue"), (0, "red"), (1, "green")):
        viewer.add_image(field[..., number], name="smear", colormap=colour)
    found = grey_planes(viewer.layers[0], viewer.layers)
    np.testing.assert_array_equal(found.joined().data, field)


@pytest.mark.parametrize("kind", ["planar", "composite", "alpha"])
def test_a_file_of_one_picture_is_shown_as_one(field: np.ndarray, tmp_path: Path, kind: str) -> None:
    path, shown = tmp_path / "smear.tif", _planes(field)
    if kind == "planar":
        tifffile.imwrite(path, shown, photometric="rgb", planarconfig="separate")
    elif kind == "composite":
        tifffile.imwrite(path, shown, imagej=True, metadata={"axes": "CYX", "mode": "composite"})
    else:
        path, grey = tmp_path / "smear.png", PIL.Image.fromarray(field[..., 1])
        PIL.Image.merge("LA", [grey, PIL.Image.new("L", grey.size, 255)]).save(path)
        shown, field = np.asarray(PIL.Image.open(path)), np.repeat(field[..., 1:2], 3, axis=2)
    with layer_source(path=str(path)):
        layer = Image(shown, name="smear")
    joined = grey_planes(layer, [layer]).joined()
    assert joined.source.path == str(path)
    np.testing.assert_array_equal(joined.data, field)


def test_a_stack_and_unlike_layers_stay_as_they_are(
    viewer: ViewerModel, field: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, _planes(field), photometric="minisblack")
    with layer_source(path=str(path)):
        stack = Image(_planes(field), name="stack")
    assert grey_planes(stack, [stack]) is None
    for name in ("monday", "tuesday", "friday"):
        viewer.add_image(field[..., 1], name=name)
    assert grey_planes(viewer.layers[0], viewer.layers) is None
    assert grey_planes(None, viewer.layers) is None

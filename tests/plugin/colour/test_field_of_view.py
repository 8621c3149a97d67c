"""The tint over what does not count as smear."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from pytestqt.qtbot import QtBot

from napari_amil.plugin.colour.field_of_view import FieldOfViewBox
from napari_amil.plugin.window.follow import LayerCombo
from napari_amil.plugin.window.work import Worker

_WAIT_MS = 60_000


@pytest.fixture
def disc() -> np.ndarray:
    """A round field of radius 60 around (80, 100) on black."""
    y, x = np.mgrid[:160, :200]
    inside = np.hypot(y - 80, x - 100) < 60
    return np.where(inside[..., None], 220, 3).astype(np.uint8).repeat(3, axis=2)


@pytest.fixture
def box(qtbot: QtBot, viewer: ViewerModel, worker: Worker) -> FieldOfViewBox:
    combo = LayerCombo(viewer, lambda layer: isinstance(layer, Image), "open an image first")
    box = FieldOfViewBox(viewer, worker, combo)
    for widget in (combo, box):
        qtbot.addWidget(widget)
    return box


def tints(viewer: ViewerModel) -> list[Labels]:
    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def test_without_an_image_there_is_nothing_to_show(box: FieldOfViewBox) -> None:
    assert not box.isEnabled()
    assert "black surround" in box.toolTip()


def test_a_click_tints_what_is_no_smear_and_another_takes_it_away(
    box: FieldOfViewBox, viewer: ViewerModel, disc: np.ndarray, qtbot: QtBot
) -> None:
    image = viewer.add_image(disc, rgb=True, name="round.png", scale=(2, 2))
    box.click()
    assert (box.isEnabled(), box.isChecked()) == (False, True)  # until the answer is there
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=_WAIT_MS)
    (tint,) = tints(viewer)
    assert (box.isEnabled(), box.isChecked()) == (True, True)
    assert tint.name == "outside the field of view of round"
    assert tint.data[[0, 80, 80, 159], [0, 100, 20, 199]].tolist() == [1, 0, 1, 1]
    assert (tint.data == 0).sum() == pytest.approx(np.pi * 58**2, rel=0.06)
    np.testing.assert_allclose(tint.scale, (2, 2))
    assert list(viewer.layers) == [image, tint]
    assert viewer.layers.selection.active is image
    image.translate = (5, 7)
    np.testing.assert_allclose(tint.translate, (5, 7))
    box.click()
    assert list(viewer.layers) == [image]
    assert not box.isChecked()


def test_an_image_that_is_all_smear_says_so(
    box: FieldOfViewBox, viewer: ViewerModel, field: np.ndarray, qtbot: QtBot
) -> None:
    viewer.add_image(field, rgb=True)
    with qtbot.waitSignal(box.messaged, timeout=_WAIT_MS) as told:
        box.click()
    assert told.args == ["All of this image counts as smear.", ""]
    qtbot.waitUntil(lambda: box.isEnabled() and not box.isChecked())
    assert tints(viewer) == []


def test_each_plane_of_a_stack_has_its_own(
    box: FieldOfViewBox, viewer: ViewerModel, field: np.ndarray, disc: np.ndarray, qtbot: QtBot
) -> None:
    viewer.add_image(np.stack([field, disc]), rgb=True, name="stack")
    viewer.dims.set_current_step(0, 1)
    box.click()
    qtbot.waitUntil(lambda: len(tints(viewer)) == 1, timeout=_WAIT_MS)
    (tint,) = tints(viewer)
    assert tint.data.shape == (1, 160, 200)
    np.testing.assert_allclose(tint.translate, (1, 0, 0))
    viewer.dims.set_current_step(0, 0)
    assert not box.isChecked()
    viewer.dims.set_current_step(0, 1)
    assert box.isChecked()


def test_a_tint_that_the_user_deletes_or_whose_image_goes_is_gone(
    box: FieldOfViewBox, viewer: ViewerModel, disc: np.ndarray, qtbot: QtBot
) -> None:
    image = viewer.add_image(disc, rgb=True)
    box.click()
    qtbot.waitUntil(lambda: len(tints(viewer)) == 1, timeout=_WAIT_MS)
    viewer.layers.remove(tints(viewer)[0])
    assert not box.isChecked()
    box.click()
    qtbot.waitUntil(lambda: len(tints(viewer)) == 1, timeout=_WAIT_MS)
    viewer.layers.remove(image)
    qtbot.waitUntil(lambda: len(viewer.layers) == 0)
    assert not box.isEnabled()


def test_a_tint_of_a_large_image_is_coarse_and_lies_where_it_belongs(
    box: FieldOfViewBox, viewer: ViewerModel, disc: np.ndarray, qtbot: QtBot
) -> None:
    large = disc.repeat(8, axis=0).repeat(8, axis=1)
    image = viewer.add_image(large, rgb=True)
    box.click()
    qtbot.waitUntil(lambda: len(tints(viewer)) == 1, timeout=_WAIT_MS)
    (tint,) = tints(viewer)
    step = tint.scale[0]
    assert step == 3
    for x, expected in ((800, 0), (800 - 8 * 62, 1)):
        y_x = np.rint(tint.world_to_data(image.data_to_world((640, x)))).astype(int)
        assert tint.data[tuple(y_x)] == expected
    np.testing.assert_allclose(tint.translate, (1, 1))  # the middle of the first element


def test_a_field_that_cannot_be_used_is_explained(
    box: FieldOfViewBox, viewer: ViewerModel, qtbot: QtBot
) -> None:
    viewer.add_image(np.zeros((10, 10), np.uint8), name="tiny")
    with qtbot.waitSignal(box.messaged, timeout=_WAIT_MS) as told:
        box.click()
    assert told.args[0].startswith("The image 'tiny' is only 10 x 10 pixels")
    assert told.args[1] == "error"
    assert (box.isEnabled(), box.isChecked()) == (True, False)

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Shapes
from pytestqt.qtbot import QtBot

from napari_amil.core.base.types import Cells
from napari_amil.plugin.layers import autosave as _autosave
from napari_amil.plugin.layers import cell_layer as _layers
from napari_amil.plugin.layers.autosave import Autosave, content_key
from napari_amil.plugin.layers.care import look_after
from napari_amil.plugin.layers.edits import set_cell_type
from napari_amil.plugin.layers.journal import journal_of
from napari_amil.plugin.layers.offers import RestoreBar
from napari_amil.plugin.layers.writers import write_cells

BOX = np.array([[5.0, 5], [5, 20], [20, 20], [20, 5]])
Build = Callable[..., Shapes]
Session = tuple[ViewerModel, Autosave, Shapes]


@pytest.fixture
def session(qtbot: QtBot, field: np.ndarray, cells: Cells, build_layer: Build) -> Callable[[], Session]:
    """Open the same image with the same cells in a window of its own."""

    open_viewers = []

    def start() -> Session:
        viewer = ViewerModel()
        open_viewers.append(viewer)
        care = look_after(viewer)
        image = viewer.add_image(field, rgb=True, name="smear.png")
        layer = viewer.add_layer(build_layer(cells, image))
        return viewer, care.autosave, layer

    return start


def test_work_by_hand_is_written_a_moment_later(
    session: Callable[[], Session], autosave_folder: Path, qtbot: QtBot
) -> None:
    _, _, layer = session()
    layer.add(BOX, shape_type="rectangle")
    qtbot.waitUntil(lambda: len(list(autosave_folder.glob("*.geojson"))) == 1, timeout=30_000)


def test_what_the_detector_found_is_no_work(session: Callable[[], Session], autosave_folder: Path) -> None:
    _, autosave, layer = session()
    _layers.set_scores(layer, pd.DataFrame({"cell_id": [1], "anomaly": [1.0]}))
    autosave.flush()
    assert list(autosave_folder.iterdir()) == []


def test_undone_work_is_forgotten(session: Callable[[], Session], autosave_folder: Path) -> None:
    _, autosave, layer = session()
    set_cell_type(layer, [0], "burr cell")
    autosave.flush()
    assert len(list(autosave_folder.iterdir())) == 1
    journal_of(layer).undo()
    autosave.flush()
    assert list(autosave_folder.iterdir()) == []


def test_work_of_a_crashed_session_is_offered_and_restored(
    session: Callable[[], Session], autosave_folder: Path, qtbot: QtBot
) -> None:
    _, first, layer = session()
    layer.add(BOX, shape_type="rectangle")
    layer.remove([0])
    set_cell_type(layer, [1], "burr cell")
    first.flush()
    viewer, second, found = session()
    bar = RestoreBar(second)
    qtbot.addWidget(bar)
    assert not bar.isHidden()
    assert "cells of 'smear.png' were not saved" in bar.text.text()
    bar.restore.click()
    restored = viewer.layers[-1]
    pd.testing.assert_frame_equal(restored.features, layer.features)
    assert not found.visible
    assert bar.isHidden()
    assert len(list(autosave_folder.iterdir())) == 1  # what was restored is kept under its own name, once
    restored.add(BOX + 9, shape_type="rectangle")
    assert restored.features["cell_id"].iloc[-1] == 7


def test_a_new_session_never_writes_over_what_it_offers(
    session: Callable[[], Session], autosave_folder: Path
) -> None:
    _, first, layer = session()
    layer.remove([0])
    first.flush()
    (kept,) = autosave_folder.iterdir()
    before = kept.read_bytes()
    _, second, other = session()
    other.remove([1, 2])
    second.flush()
    assert kept.read_bytes() == before
    assert len(list(autosave_folder.iterdir())) == 2


def test_work_that_was_saved_is_not_kept_twice(
    session: Callable[[], Session], autosave_folder: Path, tmp_path: Path
) -> None:
    _, autosave, layer = session()
    layer.remove([0])
    autosave.flush()
    write_cells(str(tmp_path / "cells.geojson"), *layer.as_layer_data_tuple()[:2])
    autosave.flush()
    assert list(autosave_folder.iterdir()) == []
    layer.remove([0])
    autosave.flush()
    assert len(list(autosave_folder.iterdir())) == 1


def test_work_can_be_thrown_away(session: Callable[[], Session], autosave_folder: Path, qtbot: QtBot) -> None:
    _, first, layer = session()
    layer.remove([0])
    first.flush()
    _, second, _ = session()
    bar = RestoreBar(second)
    qtbot.addWidget(bar)
    bar.discard.click()
    assert list(autosave_folder.iterdir()) == []
    assert bar.isHidden()


def test_old_work_and_work_on_other_images_is_not_offered(
    session: Callable[[], Session], autosave_folder: Path, qtbot: QtBot
) -> None:
    _, first, layer = session()
    layer.remove([0])
    first.flush()
    other = ViewerModel()
    second = look_after(other).autosave
    other.add_image(np.zeros((160, 200, 3), np.uint8), rgb=True, name="smear.png")
    assert second.offers == []
    (kept,) = autosave_folder.iterdir()
    long_ago = time.time() - 40 * 86400
    os.utime(kept, (long_ago, long_ago))
    _, third, _ = session()
    assert third.offers == []
    assert not kept.exists()


def test_a_damaged_file_is_said_and_can_be_discarded(
    session: Callable[[], Session], autosave_folder: Path, qtbot: QtBot
) -> None:
    _, first, layer = session()
    layer.remove([0])
    first.flush()
    (kept,) = autosave_folder.iterdir()
    kept.write_text("{")
    _, second, _ = session()
    bar = RestoreBar(second)
    qtbot.addWidget(bar)
    bar.restore.click()
    assert "JSON" in bar.text.text()


def test_it_is_off_when_it_is_not_wanted(
    session: Callable[[], Session], autosave_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_autosave, "preference", lambda *_: False)
    _, autosave, layer = session()
    layer.remove([0])
    autosave.flush()
    assert list(autosave_folder.iterdir()) == []


def test_the_pixels_name_an_image(session: Callable[[], Session], field: np.ndarray) -> None:
    viewer = ViewerModel()
    same = [content_key(viewer.add_image(field, rgb=True, name=name)) for name in ("a", "b")]
    changed = field.copy()
    changed[16, 16] = 0
    assert same[0] == same[1] != content_key(viewer.add_image(changed, rgb=True))

from __future__ import annotations

import threading

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from napari_amil.plugin.cohorts.thumbnails import SIZE_PX, Crop, Thumbnails
from napari_amil.plugin.layers.crops import PixelSource
from napari_amil.plugin.window.background import Background

WAIT_MS = 30_000


def test_crops_arrive_with_their_pixels(qtbot: QtBot, field: np.ndarray) -> None:
    thumbnails = Thumbnails()
    crop = Crop(PixelSource("a", lambda: field), (15, 15, SIZE_PX))
    assert thumbnails.get(crop) is None
    with qtbot.waitSignal(thumbnails.arrived, timeout=WAIT_MS):
        thumbnails.want([crop])
    image = thumbnails.get(crop)
    assert image is not None
    assert image.pixelColor(10, 10).getRgb()[:3] == tuple(field[25, 25])
    assert image.pixelColor(35, 35).getRgb()[:3] == tuple(field[50, 50])


def test_an_image_is_read_once_and_never_by_the_window(qtbot: QtBot, field: np.ndarray) -> None:
    thumbnails, readers = Thumbnails(), []

    def load() -> np.ndarray:
        readers.append(threading.current_thread())
        return field

    here = PixelSource("a", load)
    crops = [Crop(here, (y, 5, 30)) for y in range(20)]
    thumbnails.want(crops)
    qtbot.waitUntil(lambda: all(thumbnails.get(crop) is not None for crop in crops), timeout=WAIT_MS)
    thumbnails.want([*crops, Crop(here, (60, 60, 30))])
    qtbot.waitUntil(lambda: thumbnails.get(Crop(here, (60, 60, 30))) is not None, timeout=WAIT_MS)
    assert len(readers) == 1
    assert readers[0] is not threading.main_thread()


def test_what_has_scrolled_away_is_not_cut(qtbot: QtBot, field: np.ndarray) -> None:
    thumbnails, gate, loaded = Thumbnails(), threading.Event(), []

    def load(name: str) -> np.ndarray:
        assert gate.wait(WAIT_MS / 1000)
        loaded.append(name)
        return field

    fields = [PixelSource(name, lambda name=name: load(name)) for name in "abcd"]
    thumbnails.want([Crop(one, (0, 0, 20)) for one in fields[:3]])
    last = Crop(fields[3], (0, 0, 20))
    thumbnails.want([last])
    gate.set()
    qtbot.waitUntil(lambda: thumbnails.get(last) is not None, timeout=WAIT_MS)
    assert set(loaded) <= {"a", "d"}


def test_a_lost_image_is_told_and_tried_again(qtbot: QtBot, field: np.ndarray) -> None:
    thumbnails, is_there = Thumbnails(), []

    def load() -> np.ndarray:
        if not is_there:
            raise FileNotFoundError("gone")
        return field

    crop = Crop(PixelSource("a", load), (0, 0, 20))
    with qtbot.waitSignal(thumbnails.arrived, timeout=WAIT_MS):
        thumbnails.want([crop])
    assert thumbnails.is_lost(crop)
    is_there.append(True)
    thumbnails.clear_lost()
    assert not thumbnails.is_lost(crop)
    with qtbot.waitSignal(thumbnails.arrived, timeout=WAIT_MS):
        thumbnails.want([crop])
    assert thumbnails.get(crop) is not None


def test_only_the_latest_reading_is_heard(qtbot: QtBot) -> None:
    background, gate, heard = Background(), threading.Event(), []
    background.finished.connect(heard.append)
    background.start(lambda: gate.wait(WAIT_MS / 1000) and "old")
    with qtbot.waitSignal(background.finished, timeout=WAIT_MS):
        background.start(lambda: "new")
    gate.set()
    with qtbot.waitSignal(background.errored, timeout=WAIT_MS) as said:
        background.start(lambda: 1 / 0)
    assert said.args == ["The work stopped: ZeroDivisionError: division by zero."]
    assert heard == ["new"]


@pytest.fixture(autouse=True)
def _no_thread_stays(qtbot: QtBot) -> object:
    yield
    qtbot.waitUntil(
        lambda: not any(thread.name.startswith("napari-amil") for thread in threading.enumerate()),
        timeout=WAIT_MS,
    )

"""A table of many images dropped on one: the cells of the others wait, and their images are offered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers._source import layer_source
from pytestqt.qtbot import QtBot
from skimage.io import imread, imsave

from napari_amil.core.base.types import Cells
from napari_amil.plugin.cohorts import open_bar as _bar
from napari_amil.plugin.layers import readers as _readers
from napari_amil.plugin.layers.care import look_after
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.rows import record_of

NAMES = ["P1/001.png", "P2/001.png", "P3/001.png"]


class OpeningViewer(ViewerModel):
    """Opens images without a window, as napari does."""

    def open(self, path: str, **_: Any) -> list[Any]:
        with layer_source(path=path):
            return [self.add_image(imread(path), rgb=True, name=Path(path).stem)]


@pytest.fixture
def viewer() -> OpeningViewer:
    return OpeningViewer()


@pytest.fixture
def dropped(viewer: OpeningViewer, field: np.ndarray, cells: Cells, tmp_path: Path) -> OpeningViewer:
    """``images/P1/001.png`` is open, and the table of three images in ``scored`` is dropped on it."""
    look_after(viewer)
    for name in NAMES:
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        imsave(tmp_path / "images" / name, field)
    viewer.open(str(tmp_path / "images" / NAMES[0]))
    (tmp_path / "scored").mkdir()
    path = tmp_path / "scored" / "cells.csv"
    parts = [cells.table().assign(image=name, anomaly_percentile=99.9, anomaly=9.0) for name in NAMES]
    pd.concat(parts).to_csv(path, index=False)
    with layer_source(path=str(path)):
        for data in _readers.read(str(path)):
            viewer._add_layer_from_data(*data)
    return viewer


def _seen(viewer: ViewerModel) -> dict[str, bool]:
    return {record_of(layer).image_name: layer.visible for layer in cell_layers(viewer.layers)}


def test_other_images_are_offered_and_opened_with_their_cells(dropped: OpeningViewer, qtbot: QtBot) -> None:
    bar = _bar.OpenBar(dropped)
    qtbot.addWidget(bar)
    assert _seen(dropped) == dict(zip(NAMES, (True, False, False), strict=True))
    bar.look()
    assert bar.isVisibleTo(None)
    assert bar.text.text() == "The file of cells tells of images that are not open: P2/001.png, P3/001.png."
    assert bar.button.text() == "Open them"
    bar.button.click()
    assert _seen(dropped) == dict.fromkeys(NAMES, True)
    assert not bar.isVisibleTo(None)
    own = {record_of(layer).image_id for layer in cell_layers(dropped.layers)}
    assert len(own) == 3


def test_a_folder_is_asked_for_where_the_images_are_not_found(
    dropped: OpeningViewer, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").rename(tmp_path / ".elsewhere")
    (tmp_path / ".elsewhere" / NAMES[1]).unlink()
    asked: list[str] = []

    def ask(_: object, title: str, take: Any, **__: Any) -> None:
        asked.append(title)
        take(str(tmp_path / ".elsewhere"))

    monkeypatch.setattr(_bar, "ask_path", ask)
    bar = _bar.OpenBar(dropped)
    qtbot.addWidget(bar)
    bar.open_images()
    assert asked == ["Folder of P2/001.png"]
    assert _seen(dropped) == dict(zip(NAMES, (True, False, True), strict=True))
    assert bar.text.text().startswith(f"Not opened, since they are not in '{tmp_path / '.elsewhere'}'")

"""A made-up field with twelve discs, a viewer without a window, and a real child process without networks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QSettings
from qtpy.QtWidgets import QApplication
from skimage.io import imsave

from napari_amil.core.base.types import Cells
from napari_amil.core.detection.select import Candidates
from napari_amil.core.exchange.project import Project, write_project
from napari_amil.plugin.layers import care as _care
from napari_amil.plugin.layers import cell_layer as _layers
from napari_amil.plugin.layers.rows import CellRecord
from napari_amil.plugin.window.work import Worker

TINY = (sys.executable, str(Path(__file__).with_name("tiny_worker.py")))
WAIT_MS = 120_000


@pytest.fixture(autouse=True)
def autosave_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Unsaved work of a test stays with the test."""
    folder = tmp_path_factory.mktemp("autosave")
    monkeypatch.setattr(_care, "autosave_folder", lambda: folder)
    return folder


@pytest.fixture(autouse=True)
def remembered_choices(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a test chooses is forgotten with it, and nothing that the user chose matters."""
    folder = str(tmp_path_factory.mktemp("remembered"))
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, folder)


@pytest.fixture
def field() -> np.ndarray:
    """A field of 160 x 200 pixels with twelve dark discs on a light ground."""
    y, x = np.mgrid[:160, :200]
    pixels = np.full((160, 200, 3), 230, np.uint8)
    for number in range(12):
        middle = (25 + 50 * (number // 4), 25 + 48 * (number % 4))
        inside = (y - middle[0]) ** 2 + (x - middle[1]) ** 2 < (10 + number / 2) ** 2
        pixels[inside] = (180, 90, 110)
    return pixels


@pytest.fixture
def cells() -> Cells:
    """Five hexagonal cells whose detection scores fall from 0.9 to 0.3."""
    turn = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    middles = [(30, 30), (30, 90), (80, 50), (100, 120), (130, 30)]
    outlines = [np.stack([y + 12 * np.sin(turn), x + 12 * np.cos(turn)], axis=1) for y, x in middles]
    boxes = np.array([[*o.min(axis=0), *o.max(axis=0)] for o in outlines])
    return Cells(boxes, tuple(outlines), detection_score=np.linspace(0.9, 0.3, 5))


@pytest.fixture
def image(field: np.ndarray) -> Image:
    return Image(field, rgb=True, name="smear", scale=(0.5, 0.25), translate=(7.0, -3.0))


@pytest.fixture
def layer(cells: Cells, image: Image) -> Shapes:
    return build_layer(cells, image)


@pytest.fixture(name="build_layer")
def _build_layer() -> Callable[..., Shapes]:
    return build_layer


@pytest.fixture(name="draw_by_hand")
def _draw_by_hand() -> Callable[[Shapes, np.ndarray], None]:
    return draw_by_hand


def build_layer(cells: Cells, image: Image, place: tuple[int, ...] = ()) -> Shapes:
    record = CellRecord(str(image.unique_id), "smear.png", place, (160, 200))
    record.candidates = Candidates.from_cells(cells, 24.0)
    return _layers.make_layer(cells, record, image)


@pytest.fixture
def some_scores() -> pd.DataFrame:
    """Scores of the cells 5, 1 and 3, in that order."""
    return pd.DataFrame(
        {"cell_id": [5, 1, 3], "anomaly": [9.0, 1.0, 4.0], "anomaly_percentile": [99.0, 20.0, 60.0]}
    )


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture(scope="session")
def worker(qapp: QApplication) -> Iterator[Worker]:
    """One child for all tests of the panels: it is warm, as in the window."""
    worker = Worker(TINY)
    worker.warm_up()
    yield worker
    worker.close()


@pytest.fixture
def done(qtbot: QtBot) -> Callable[[Any], Any]:
    """Wait for a signal and return what it carried."""

    def wait(signal: Any, trigger: Callable[[], Any] | None = None) -> Any:
        with qtbot.waitSignal(signal, timeout=WAIT_MS) as blocker:
            if trigger is not None:
                trigger()
        return blocker.args[0] if blocker.args else None

    return wait


def draw_by_hand(layer: Shapes, corners: np.ndarray, mode: str = "add_rectangle") -> None:
    """Draw a shape the way napari's mouse bindings do."""
    layer.mode = mode
    layer.add(corners, shape_type="rectangle", gui=True)
    layer._value = (layer.nshapes - 1, 4)
    layer._moving_value = layer._value
    layer._is_creating = True
    layer._finish_drawing()
    layer.mode = "pan_zoom"


@pytest.fixture
def scored_cohort(tmp_path: Path, field: np.ndarray, cells: Cells) -> Path:
    """A folder as ``score --out`` leaves it: two bags, three images that lie in a folder beside it."""
    images, folder = tmp_path / "smears", tmp_path / "scored"
    (images / "sub").mkdir(parents=True)
    folder.mkdir()
    parts = []
    for number, (bag, name) in enumerate((("p1", "one.png"), ("p2", "sub/two.png"), ("p2", "sub/three.png"))):
        imsave(images / name, np.roll(field, number, axis=2), check_contrast=False)
        table = cells.table().assign(bag=bag, image=name, status="scored")
        parts.append(table.assign(anomaly=np.arange(5) + 0.1 * number, anomaly_q=0.2))
    pd.concat(parts).to_csv(folder / "cells.csv", index=False)
    bags = pd.DataFrame({"bag": ["p1", "p2"], "predicted": ["control", "thal"], "n_cells": [5, 10]})
    bags["probability_control"], bags["probability_thal"] = [0.8, 0.1], [0.2, 0.9]
    bags.to_csv(folder / "bags.csv", index=False)
    return folder


@pytest.fixture
def scored(scored_project: Path) -> Path:
    return scored_project


@pytest.fixture
def scored_project(tmp_path: Path, field: np.ndarray, cells: Cells) -> Path:
    """Three bags of two patients; cell 3 of the second bag is the most anomalous of its bag."""
    tables = []
    files = {}
    for number in range(3):
        name = f"{number}.png"
        PIL.Image.fromarray(field).save(tmp_path / name)
        files[name] = [str(tmp_path / name), 0]
        anomaly = np.array([1.0, 2, 3 + 10 * number, 1, np.nan])
        table = cells.table().assign(bag=f"bag {number}", image=name, anomaly=anomaly)
        tables.append(table.assign(anomaly_percentile=np.array([20.0, 60, 99, 30, np.nan])))
    bags = pd.DataFrame({"bag": ["bag 0", "bag 1", "bag 2"], "patient": ["p", "q", "q"]})
    bags["label"] = ["control", "ill", None]
    bags["verdict"] = ["control", "ill", "unlike anything seen"]
    bags = bags.assign(predicted=["control", "ill", "ill"], novelty_p=[0.9, 0.4, 0.01], n_cells=[4, 4, 4])
    bags = bags.assign(share_q05=[0.0, 0.1, 0.3], anomaly_p95=[2.0, 9.0, 10.0])
    embeddings = np.stack([np.arange(15), np.arange(15) % 2, np.zeros(15)], axis=1).astype(np.float32)
    card = {"control": "control", "classes": ["control", "ill"], "images": files, "done": {}}
    project = Project(pd.concat(tables, ignore_index=True), bags, embeddings, cells.outlines * 3, card)
    write_project(project, tmp_path / "scored")
    return tmp_path / "scored"

"""The window's process never loads torch: on Linux that crashes it where Mesa draws."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys, tempfile
from pathlib import Path
import napari_amil.plugin
for module in pkgutil.walk_packages(napari_amil.plugin.__path__, "napari_amil.plugin."):
    importlib.import_module(module.name)
from qtpy.QtWidgets import QApplication
from napari.components import ViewerModel
from napari_amil.plugin.entry.menus import synthetic_smear
from napari_amil.plugin.window.work import Worker
from napari_amil.plugin.panels.verdict import VerdictPanel
from napari_amil.plugin.panels.cell_card import CellCard
from napari_amil.plugin.panels.detect import DetectPanel
from napari_amil.plugin.panels.gallery import GalleryPanel
from napari_amil.plugin.panels.score import ScorePanel
from napari_amil.plugin.training.run_folders import RunRegistry
from napari_amil.plugin.panels.arrange import ArrangePanel
from napari_amil.plugin.panels.calibrate import CalibratePanel
from napari_amil.plugin.panels.train import TrainPanel
application = QApplication([])
viewer = ViewerModel()
pixels, attributes, _ = synthetic_smear()[0]
viewer.add_image(pixels, **attributes)
worker = Worker([sys.executable, "-c", "pass"])
kinds = DetectPanel, ScorePanel, CellCard, VerdictPanel, CalibratePanel, ArrangePanel
panels = [kind(viewer, worker) for kind in kinds]
panels += [TrainPanel(viewer, worker, RunRegistry(Path(tempfile.mkdtemp()))), GalleryPanel(viewer)]
from napari_amil.plugin.entry import demo
from napari_amil.plugin.entry import demo_window as _demo_window
demo.window.run
print(*sorted({name.split(".")[0] for name in sys.modules} & {"torch", "torchvision"}), sep=",", end="|")
"""


def test_the_panels_are_built_without_torch() -> None:
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "|"

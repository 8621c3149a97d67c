"""The window on a cohort of photographed white cells: ``python -m docs.white_cells_window OUT``.

Patients are drawn by the program (``synth --cells white``): 40 teach a small ``lympho-moe``, 12 others are
scored and opened. It takes some minutes; ``--work FOLDER`` keeps what was made, and takes it up again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from napari.settings import get_settings

from benchmarks.lymphocytosis import SMALL
from docs.panel_windows import Window
from napari_amil.core.base.events import drain
from napari_amil.core.cohort.cell_image_synth import CellImageCohortSettings, writing_cell_image_cohort
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.entry.demo import some_display
from napari_amil.plugin.layers.selection import keys_of, selection_of

PATIENTS, OTHERS = 40, 12
CELLS = (24, 32)
CLASSES = "reactive", "malignant"


def drawn(folder: Path, patients: int, first: int) -> Path:
    """Draw a cohort whose label is carried by cells in half of the patients, by the count in the others."""
    values = {"patients": patients, "first": first, "cells": CELLS, "size_px": 64, "carrier": "both"}
    if not folder.exists():
        table = drain(writing_cell_image_cohort(folder, CellImageCohortSettings.parse(values)))
        clinical = pd.read_csv(table)
        clinical["LABEL"] = clinical["LABEL"].map(dict(enumerate(CLASSES)))
        clinical.to_csv(table, index=False)
    return folder


def scored(work: Path) -> Path:
    """Train on the first patients, score the others, and return the scored folder."""
    out, run, settings = work / "scored", work / "run", work / "small.yaml"
    if not (out / "project.json").exists():
        settings.write_text(yaml.safe_dump(SMALL | {"control": CLASSES[0]}), encoding="utf-8")
        cohort = drawn(work / "cohort", PATIENTS, 0)
        others = drawn(work / "others", OTHERS, PATIENTS)
        program = [sys.executable, "-m", "napari_amil"]
        train = [
            "train",
            str(cohort),
            "--preset",
            "lympho-moe",
            "--settings",
            str(settings),
            "--out",
            str(run),
        ]
        score = ["score", str(others), "--bundle", str(run / "bundle.safetensors"), "--out", str(out)]
        for command in (train, score):
            subprocess.run([*program, *command], check=True)
    return out


class Cohort(Window):
    """A window in which one patient of the cohort is open, its most unusual cell chosen."""

    def open_patient(self) -> None:
        """Open the malignant patient of the most unusual cell."""
        self.open("cohort")
        cohort = self.panels["cohort"]
        cells = open_results_of(self.viewer).project.cells
        bag = cells.loc[cells["anomaly"].idxmax(), "bag"]
        row = next(r for r in range(cohort.rows.rowCount()) if bag in str(cohort.rows.index(r, 0).data()))
        cohort.view.clicked.emit(cohort.rows.index(row, 0))
        self.rest(3)

    def choose_cell(self) -> Any:  # noqa: ANN401 - a layer
        """Choose the most unusual cell of the patient that is open."""
        layer = next(layer for layer in self.viewer.layers if "anomaly" in getattr(layer, "features", {}))
        key = keys_of(layer, [int(layer.features["anomaly"].argmax())])[0]
        selection_of(self.viewer).choose([key], key)
        return layer


def main() -> int:
    """Save the pictures of cohort, card and verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("--work", type=Path, help="where cohorts, model and scores are made")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, some_display(2732, 1536):
        work = options.work or Path(folder, "work")
        work.mkdir(parents=True, exist_ok=True)
        get_settings(Path(folder, "settings.yaml"))  # the settings of whoever runs this stay as they are
        os.environ["XDG_CONFIG_HOME"] = folder
        window = Cohort(None, scored(work))
        window.viewer.theme = "dark"
        window.open_patient()
        window.take(options.out / "white-cohort-dark.png")
        window.choose_cell()
        for panel in ("card", "verdict"):
            window.open(panel)
            window.take(options.out / f"white-{panel}-dark.png")
        window.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

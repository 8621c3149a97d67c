"""The Calibrate panel: fit the reference statistics of a model to your own control smears."""

from __future__ import annotations

import re
import time
from pathlib import Path

from napari.layers import Shapes
from napari.viewer import Viewer
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QFormLayout, QPushButton

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.training.cohort_check import ProblemList
from napari_amil.plugin.training.run_folders import user_folder
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.model_choice import ModelChoice
from napari_amil.plugin.window.panel import Panel, ScoringPanel, find_or_open_panels
from napari_amil.plugin.window.path_choice import PathChoice
from napari_amil.plugin.window.theme import wrapped
from napari_amil.plugin.window.work import Worker, shared_worker
from napari_amil.worker.protocol.messages import Calibrate, Calibrated, Problem

_INTRODUCTION = (
    "Percentiles and p-values say how unusual a cell is among control cells. With controls of your own "
    "microscope and stain they mean what they say. The network stays as it is; nothing is trained."
)
_WATCH_MS = 100


class CalibratePanel(Panel):
    """Controls, model, Calibrate; then the differences, and the button that scores all open images again."""

    TITLE = "Calibrate on my controls"
    TERMS = ("Calibration", "Control", "Drift", "p-value")
    calibrated = Signal(str)
    """The path of the calibrated model."""
    rescored = Signal(int)
    """Number of images scored with it."""

    def __init__(self, napari_viewer: Viewer, worker: Worker | None = None) -> None:
        super().__init__(napari_viewer)
        self._worker = worker if worker is not None else shared_worker()
        self._model: str | None = None
        self._build()
        self.job.wanted.connect(self.run)
        self.job.finished.connect(self._on_finished)
        self.use.clicked.connect(self.rescore)

    def _build(self) -> None:
        self.controls = PathChoice("Choose a folder of control smears", "drop a folder", "Cell lists (*.csv)")
        self.controls.setToolTip(
            "<patient>/<image>, or images alone; at least 50 whole cells, better 300 of five patients."
        )
        self.model = ModelChoice(self._worker)
        self.job = JobBar("Calibrate", "Fit what is compared with, and the p-values, anew to these smears.")
        self.drift = ProblemList()
        self.drift.setAccessibleName("How these controls differ from those of the training")
        self.use = QPushButton("Score all open images with it")
        self.use.setToolTip(
            "Choose the calibrated model in Look at a smear and score every cell layer again."
        )
        self.use.setEnabled(False)
        self.note = wrapped()
        layout = self._scrolling_layout()
        rows = QFormLayout()
        rows.addRow("Controls", self.controls)
        rows.addRow("Model", self.model)
        layout.addWidget(wrapped(_INTRODUCTION))
        layout.addLayout(rows)
        for widget in (self.job, self.drift, self.use, self.note):
            layout.addWidget(widget)
        layout.addStretch(1)

    def run(self) -> None:
        """Send the controls to the worker; the model is written among the user's own files."""
        folder = self.controls.value()
        if folder is None:
            self.job.say("Choose the folder of your control smears first.", "error")
            return
        self.drift.clear()
        self.use.setEnabled(False)
        request = Calibrate(controls=folder.absolute(), target=_target(folder), bundle=self.model.value())
        self.job.follow(self._worker.start(request))

    def rescore(self) -> None:
        """Score every cell layer that has scores with the calibrated model."""
        if self._model is None:
            return
        try:
            panel = find_or_open_panels(self, self._viewer, ScoringPanel)[0]
        except AmilError as error:
            self.note.setText(str(error))
            return
        panel.model.setValue(self._model)
        layers = [layer for layer in self._viewer.layers if isinstance(layer, Shapes) and record_of(layer)]
        self.use.setEnabled(False)
        self.note.setText(f"Scoring {len(layers)} images …" if layers else "No cells are open.")
        rescoring = LayerScoring(panel, layers, self)
        rescoring.finished.connect(self._on_rescored)
        rescoring.start()

    def _on_finished(self, found: Calibrated) -> None:
        self._model = found.bundle
        problems = [
            Problem(severity="warning" if found.differs else "", message=sentence, kind="drift")
            for sentence in found.sentences
        ]
        self.drift.show_problems(problems)
        self.use.setEnabled(True)
        self.note.setText(f"The calibrated model is {self._model}")
        self.calibrated.emit(self._model)

    def _on_rescored(self, n_scored: int, failures: str) -> None:
        self.use.setEnabled(True)
        text = f"{n_scored} images are scored against your controls."
        if not n_scored and not failures:
            text = "No cells are open; Look at a smear will use this model for those that you find."
        self.note.setText(f"{text} {failures}".strip())
        self.rescored.emit(n_scored)


def _target(controls: Path) -> Path:
    """Return the file of the calibrated model: a file of its own for each day."""
    name = re.sub(r"[^\w-]+", "-", controls.absolute().stem) or "controls"
    return user_folder() / "models" / f"{name}-{time.strftime('%Y-%m-%d-%H%M%S')}.safetensors"


class LayerScoring(QObject):
    """Presses Score for every layer.

    Parameters
    ----------
    panel
        The page Scores, with the wanted model chosen.
    layers
        Cell layers of open images.
    parent
        Owner in the sense of Qt.
    """

    finished = Signal(int, str)
    """Number of images scored, and the message of those that failed."""

    def __init__(self, panel: ScoringPanel, layers: list[Shapes], parent: QObject) -> None:
        super().__init__(parent)
        self._panel = panel
        self._left = list(layers)
        self._n_scored = 0
        self._failures: list[str] = []
        self._is_waiting = False
        panel.scored.connect(self._on_scored)
        panel.errored.connect(self._on_errored)
        self._watch = QTimer(self)
        self._watch.setInterval(_WATCH_MS)
        self._watch.timeout.connect(self._on_watch)

    def start(self) -> None:
        """Score the first layer, and the others after it."""
        self._watch.start()
        self._next()

    def _next(self) -> None:
        """Score the next layer, or end."""
        if not self._left:
            self._end()
        elif not self._panel.job.is_running:  # else the user's own scoring is awaited
            self._is_waiting = True
            self._panel.cells.set_layer(self._left.pop(0))
            self._panel.run()

    def _end(self) -> None:
        self._watch.stop()
        self._panel.scored.disconnect(self._on_scored)
        self._panel.errored.disconnect(self._on_errored)
        self.finished.emit(self._n_scored, " ".join(self._failures))
        self.deleteLater()

    def _on_scored(self, _: Shapes) -> None:
        self._n_scored += self._is_waiting
        self._is_waiting = False

    def _on_errored(self, message: str) -> None:
        self._failures.append(message)
        self._is_waiting = False

    def _on_watch(self) -> None:
        """Go on when a layer is done; a scoring that was cancelled ends the rest as well."""
        if self._panel.job.is_running:
            return
        if self._is_waiting:
            self._left = []
            self._failures.append("The rest was cancelled.")
        self._next()

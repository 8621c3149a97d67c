"""The page that prepares a detector's fine-tuning: annotated images, held-out share, Start."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Failed
from napari_amil.core.base.settings import DetectorTrainingSettings
from napari_amil.plugin.training.annotations import (
    AnnotationList,
    hold_out_words,
    refusal,
    weak_points,
    write_layer,
)
from napari_amil.plugin.training.cohort_check import ProblemList
from napari_amil.plugin.training.run_commands import DetectorCommand
from napari_amil.plugin.training.run_folders import fresh_folder, user_folder
from napari_amil.plugin.window.forms import SettingsForm
from napari_amil.plugin.window.model_choice import ModelChoice
from napari_amil.plugin.window.panel import scrolling
from napari_amil.plugin.window.path_choice import PathChoice
from napari_amil.plugin.window.theme import wrapped
from napari_amil.plugin.window.work import Task, Worker
from napari_amil.worker.protocol.messages import (
    AnnotatedRead,
    AnnotatedWritten,
    ListChoices,
    Problem,
    ReadAnnotated,
    TrainingChoices,
    WriteAnnotated,
)

_INTRODUCTION = (
    "Correct the cells of some fields (Correct cells), or choose a folder with annotated images: the "
    "detector learns from them, and you compare old and new on images that it did not learn from."
)
_SHOWN = {"steps": "Steps"}
_FOLDED = {
    "validation_share": "Share held out",
    "learning_rate": "Step size",
    "freeze": "Keep fixed",
    "seed": "Seed",
}


class DetectorPage(QWidget):
    """Open layers or a folder, problems in words, settings, and the button that starts.

    Parameters
    ----------
    viewer
        Viewer with the layers.
    worker
        Child process that reads and writes annotated folders.
    """

    wanted = Signal(object)
    """The user wants to start this `DetectorCommand`."""

    def __init__(self, viewer: ViewerModel, worker: Worker) -> None:
        super().__init__()
        self._viewer, self._worker = viewer, worker
        self._task: Task | None = None
        self._plan: DetectorCommand | None = None
        self._to_copy = False
        self._read_problems: list[str] = []
        self._build()
        self._lay_out()
        self.folder.changed.connect(self._on_folder_changed)
        self.images.changed.connect(self._show_start)
        self.settings.valueChanged.connect(self._show_start)
        self.start.clicked.connect(self._on_start)
        self.copy.clicked.connect(self._on_copy)
        worker.start(ListChoices()).finished.connect(self._on_choices)
        self._show_start()

    def _build(self) -> None:
        self.folder = PathChoice(
            "Choose a folder with annotated images",
            "the open layers; or drop a folder",
            "COCO, tables (*.json *.csv)",
        )
        self.folder.setToolTip(
            "Empty: the ticked layers. Else images with COCO, label images, GeoJSON, Pascal VOC, or Shapes "
            "saved from napari beside them."
        )
        self.images = AnnotationList(self._viewer)
        self.problems = ProblemList()
        self.whole = QCheckBox("Every cell is outlined")
        self.whole.setChecked(True)
        self.whole.setToolTip(
            "Of these images. If not, what has no outline is unknown and painted over, not background."
        )
        self.model = ModelChoice(self._worker)
        self.device = QComboBox()
        self.device.addItem("Best available", "auto")
        self.device.setAccessibleName("Compute on")
        self.device.setToolTip("Where the network computes.")
        self.device.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.device.setMinimumContentsLength(10)
        self.settings = SettingsForm(DetectorTrainingSettings, _SHOWN, _FOLDED)
        self.settings.setValue(DetectorTrainingSettings.fine_tuning())
        self.start = QPushButton("Start fine-tuning")
        self.start.setMinimumHeight(32)
        self.start.setStyleSheet("QPushButton { font-weight: 600; }")
        self.copy = QPushButton("Copy as command")
        self.copy.setToolTip(
            "Write the annotated folder and copy the line for a terminal that does the same."
        )
        self.why = wrapped()
        self.note = wrapped()

    def _lay_out(self) -> None:
        layout = scrolling(self)
        first, last = QFormLayout(), QFormLayout()
        first.addRow("Learn from", self.folder)
        last.addRow("Start from", self.model)
        last.addRow("Compute on", self.device)
        layout.addWidget(wrapped(_INTRODUCTION))
        layout.addLayout(first)
        layout.addWidget(self.images)
        layout.addWidget(self.whole)
        layout.addWidget(self.problems)
        layout.addLayout(last)
        layout.addWidget(self.settings)
        layout.addStretch(1)
        foot = QVBoxLayout()  # always in view
        foot.setContentsMargins(10, 4, 10, 8)
        buttons = QHBoxLayout()
        buttons.addWidget(self.start, 2)
        buttons.addWidget(self.copy, 1)
        foot.addWidget(self.why)
        foot.addWidget(self.note)
        foot.addLayout(buttons)
        outer = self.layout()
        assert isinstance(outer, QVBoxLayout)
        outer.addLayout(foot)

    def plan(self) -> DetectorCommand:
        """Return the command of the training as the form stands.

        Raises
        ------
        AmilError
            If there is too little to learn from, or nothing that could judge; the sentence says what to do.
        """
        if self._task is not None:
            raise AmilError("The annotations are being read or written …")
        learned = self.images.learned()
        refused = refusal(learned, is_folder=self.folder.value() is not None)
        if refused:
            raise AmilError(refused)
        folder, out = self.folder.value(), self._run_folder()
        annotated = folder.absolute() if folder is not None else out.with_name(f"{out.name}-annotated")
        return DetectorCommand(
            annotated,
            out,
            self.settings.value(),
            self.model.value(),
            str(self.device.currentData()),
            not self.whole.isChecked(),
        )

    def refuse(self, message: str) -> None:
        """Show the reason why the training did not start."""
        self.why.setText(message)
        self.why.show()

    def _run_folder(self) -> Path:
        folder = self.folder.value()
        if folder is not None:
            return fresh_folder(folder)
        base, day = user_folder() / "detectors", time.strftime("%Y-%m-%d")
        names = (f"{day}-{number}" for number in count(1))
        return next(
            base / name
            for name in names
            if not any((base / f"{name}{end}").exists() for end in ("", "-annotated"))
        )

    def _on_choices(self, found: TrainingChoices) -> None:
        self.device.clear()
        self.device.addItem(f"Best available: {next(iter(found.devices.values()))}", "auto")
        for name, words in found.devices.items():
            self.device.addItem(words, name)

    def _on_folder_changed(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self._read_problems = []
        folder = self.folder.value()
        self.images.show_folder(None if folder is None else [])
        if folder is not None:
            share = self.settings.value().validation_share
            self._follow(self._worker.start(ReadAnnotated(place=folder, share=share)), self._on_read)
        self._show_start()

    def _follow(self, task: Task, slot: Any) -> None:  # noqa: ANN401
        self._task = task
        task.finished.connect(slot)
        task.errored.connect(self._on_errored)
        task.cancelled.connect(self._on_cancelled)
        task.warned.connect(self._on_warned)
        task.failed.connect(self._on_failed)

    def _on_read(self, found: AnnotatedRead) -> None:
        self._task = None
        self.images.show_folder(found.images)
        self._show_start()

    def _on_errored(self, message: str) -> None:
        self._task = None
        self._read_problems = [message]
        self._show_start()
        self.refuse(message)

    def _on_cancelled(self) -> None:
        self._task = None
        self._show_start()

    def _on_warned(self, message: str) -> None:
        self._read_problems.append(message)

    def _on_failed(self, failure: Failed) -> None:
        self._read_problems.append(f"{failure.source}: {failure.reason}")

    def _show_start(self) -> None:
        """List the weak points; enable the start, or show the reason why it cannot."""
        learned, share = self.images.learned(), self.settings.value().validation_share
        parts = [*self._read_problems, *weak_points(learned)]
        rows = [Problem(severity="warning", message=text, kind="annotation") for text in parts]
        if not refusal(learned, is_folder=False):
            sentence = hold_out_words(learned, share)
            rows.append(Problem(severity="", message=sentence, kind="annotation"))
        self.problems.clear()
        if rows:
            self.problems.show_problems(rows)
        try:
            self.plan()
        except AmilError as error:
            self.why.setText(str(error))
        else:
            self.why.setText("")
        self.why.setVisible(bool(self.why.text()))
        self.note.setVisible(bool(self.note.text()))
        for button in (self.start, self.copy):
            button.setEnabled(not self.why.text())

    def _on_start(self) -> None:
        self._go(to_copy=False)

    def _on_copy(self) -> None:
        self._go(to_copy=True)

    def _go(self, *, to_copy: bool) -> None:
        """Start, or copy the command; the ticked layers are written first."""
        try:
            self._plan, self._to_copy = self.plan(), to_copy
            if self.folder.value() is not None:
                self._done()
                return
            written = [
                write_layer(known, self._viewer, self._worker.new_folder()) for known in self.images.learned()
            ]
        except (AmilError, OSError) as error:
            self.refuse(str(error))
            return
        task = self._worker.start(WriteAnnotated(images=tuple(written), target=self._plan.annotated))
        self._follow(task, self._on_written)
        self._show_start()

    def _on_written(self, _: AnnotatedWritten) -> None:
        self._task = None
        self._show_start()
        self._done()

    def _done(self) -> None:
        plan = self._plan
        if plan is None:
            return
        if not self._to_copy:
            self.wanted.emit(plan)
            return
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(plan.command())
        self.note.setText(f"Copied at {time.strftime('%H:%M:%S')}: {plan.command()}")
        self.note.show()

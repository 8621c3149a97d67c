"""The view of one run: state, curves, results, and the buttons that fit its state."""

from __future__ import annotations

import time

from napari.components import ViewerModel
from qtpy.QtCore import QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QGridLayout,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import RunSettings
from napari_amil.plugin.training.curves import Curves, DetectorCurves, LivePlot, NetworkCurves
from napari_amil.plugin.training.detector_results import DetectorResults
from napari_amil.plugin.training.run_commands import ABLATION, DETECTOR, NETWORKS, TRAINING
from napari_amil.plugin.training.run_log import TrainingLog
from napari_amil.plugin.training.run_progress import in_words, progress
from napari_amil.plugin.training.run_receipt import receipt_words
from napari_amil.plugin.training.run_results import RowResults, RunResults
from napari_amil.plugin.training.runs import Run, Status
from napari_amil.plugin.training.twin_sheet import TwinSheet
from napari_amil.plugin.window.follow import hear
from napari_amil.plugin.window.forms import Folded
from napari_amil.plugin.window.theme import sized, wrapped

_BUTTONS = {
    "pause": ("Pause", "Wait between two steps, so that the machine is free; press again to go on."),
    "stop": ("Stop, keep best", "End after this epoch; the best weights so far become the model."),
    "cancel": ("Cancel", "End at once; the checkpoint of the last whole epoch stays, so that it can go on."),
    "use": ("Use this model", "Choose this model for scoring, in Look at a smear."),
    "accept": ("Use the new detector", "Choose it in Look at a smear: the old model with it."),
    "back": ("Go back to the old", "Choose the model that this one started from in these panels."),
    "row": (
        "Repeat with other seeds",
        "Train this three times more in every test, with other seeds: how far the results vary.",
    ),
    "resume": ("Resume", "Go on after the last whole epoch; the result is as if it had never stopped."),
    "open": ("Open folder", "Show the run folder in the file manager."),
    "copy": ("Copy as command", "Copy the line for a terminal that does the same."),
    "delete": ("Delete", "Move the run folder to the bin."),
}
_USES = {TRAINING: ["use", "row"], DETECTOR: ["accept", "back"], ABLATION: [], NETWORKS: ["use"]}
"""Buttons of a finished run of each kind."""
_COLUMNS = 2


class RunView(QWidget):
    """The run that was chosen."""

    modelWanted = Signal(str)  # noqa: N815 - Qt's manner
    """The user wants to score with the model at this path."""
    detectorWanted = Signal(object)  # noqa: N815 - Qt's manner
    """The user wants to find cells with the detector of the model at this path; None: of the starter."""
    compareWanted = Signal(object)  # noqa: N815 - Qt's manner
    """The user wants to see a held-out image, as `DetectorResults` has it."""
    rowWanted = Signal(object)  # noqa: N815 - Qt's manner
    """The user wants the row of this run in the ablation table."""
    deleted = Signal(object)
    """A run was thrown away."""

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.run: Run | None = None
        self._settings = RunSettings()
        self._shown: Status | None = None
        self.title = sized(wrapped(), 1.1, bold=True)
        self.sentence = wrapped()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(8)
        self.bar.setAccessibleName("Progress")
        self.which = QComboBox()
        self.which.setToolTip("Which training of this run is drawn.")
        self.which.setAccessibleName("Training")
        self._all_curves: dict[str, LivePlot] = {
            TRAINING: Curves(viewer.theme),
            DETECTOR: DetectorCurves(viewer.theme),
            NETWORKS: NetworkCurves(viewer.theme),
        }
        of_detector = DetectorResults()
        of_detector.compareWanted.connect(self.compareWanted)
        self._all_results: dict[str, RunResults | DetectorResults | RowResults | TwinSheet] = {
            TRAINING: RunResults(),
            DETECTOR: of_detector,
            ABLATION: RowResults(),
            NETWORKS: TwinSheet(),
        }
        self.curves: LivePlot | None = None
        self.results = self._all_results[TRAINING]
        self.receipt = wrapped()
        self.notes = wrapped()
        self.more = Folded("Notes")
        self.more.body.addWidget(self.notes)
        self.buttons = {name: _button(name) for name in _BUTTONS}
        self._lay_out()
        hear(self, viewer.events.theme, self._on_theme_changed)
        self.which.activated.connect(self._on_which)
        self.show_run(None)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (self.title, self.sentence, self.bar):
            layout.addWidget(widget)
        self._grid = QGridLayout()
        self._grid.setSpacing(6)
        layout.addLayout(self._grid)
        decision, *others = (self._all_results[kind] for kind in (DETECTOR, TRAINING, ABLATION, NETWORKS))
        parts: list[QWidget] = [self.which, decision, self.receipt, *self._all_curves.values(), *others]
        for part in [*parts, self.more]:
            layout.addWidget(part)
        for name, button in self.buttons.items():
            button.setParent(self)  # else it would be a window of its own until it is first offered
            button.hide()
            button.clicked.connect(getattr(self, f"_on_{name}"))

    def show_run(self, run: Run | None) -> None:
        """Show another run, or none."""
        self.run, self._shown = run, None
        self.which.clear()
        self.which.hide()
        self.receipt.setText("")
        self._face(run.kind if run is not None else TRAINING)
        self.results.clear()
        self.setVisible(run is not None)
        if run is None:
            return
        self.title.setText(f"{run.folder.parent.name.removesuffix('-runs')} · {run.folder.name}")
        self.title.setToolTip(str(run.folder))
        try:
            self._settings = RunSettings.from_yaml(run.folder / "run.yaml")
        except AmilError:
            self._settings = RunSettings()
        self.refresh()

    def _face(self, kind: str) -> None:
        """Show the curves and results that this kind of run has."""
        self.curves = self._all_curves.get(kind)
        self.results = self._all_results[kind]
        faces: list[QWidget] = [*self._all_curves.values(), *self._all_results.values()]
        for face in faces:
            face.setVisible(face is self.curves or face is self.results)

    def refresh(self) -> None:
        """Show the present state of the run; the caller has read its log."""
        run = self.run
        if run is None:
            return
        status = run.status()
        self._offer_trainings(run)
        if self.curves is not None:
            self.curves.show_training(self._chosen(run))
        self.sentence.setText(in_words(run, status, self._settings))
        self._show_progress(run, status)
        self.notes.setText("\n".join(run.log.notes))
        self.more.button.setText(f"Notes ({len(run.log.notes)})")
        self.more.setVisible(bool(run.log.notes))
        if self._shown is None or self._shown.state != status.state:
            self._offer_buttons(run, status)
            self.results.setVisible(not status.is_alive or run.kind == NETWORKS)
            if not status.is_alive:
                self.results.show_folder(run.folder)
        if status.is_alive or not self.receipt.text():  # it is written last
            self._show_receipt(run, is_over=not status.is_alive)
        if status.is_alive and run.kind == NETWORKS:
            self.results.show_folder(run.folder)
        self._shown = status

    def _show_receipt(self, run: Run, *, is_over: bool) -> None:
        sentence, details = receipt_words(run.folder) if is_over else ("", "")
        self.receipt.setText(sentence)
        self.receipt.setToolTip(details)
        self.receipt.setVisible(bool(sentence))

    def _offer_trainings(self, run: Run) -> None:
        trainings = sorted(run.log.trainings, key=lambda training: training.number)
        if len(trainings) < 2 or self.which.count() == len(trainings):
            return
        follows = self.which.currentIndex() in {-1, self.which.count() - 1}
        self.which.clear()
        for training in trainings:
            words = f"{training.number} of {training.total}: {training.name}"
            self.which.addItem(words, training.number)
        self.which.setVisible(True)
        if follows:
            self.which.setCurrentIndex(self.which.count() - 1)

    def _chosen(self, run: Run) -> TrainingLog | None:
        number = self.which.currentData()
        chosen = next((training for training in run.log.trainings if training.number == number), None)
        return chosen or run.log.now

    def _show_progress(self, run: Run, status: Status) -> None:
        self.bar.setVisible(status.is_alive)
        done, total = progress(run)
        self.bar.setRange(0, total)
        self.bar.setValue(done)

    def _offer_buttons(self, run: Run, status: Status) -> None:
        offered = _offered(run, status)
        self.buttons["pause"].setText("Go on" if status.state == "paused" else "Pause")
        for name, button in self.buttons.items():
            self._grid.removeWidget(button)
            button.setVisible(name in offered)
        for number, name in enumerate(offered):
            self._grid.addWidget(self.buttons[name], number // _COLUMNS, number % _COLUMNS)

    def _say(self, text: str) -> None:
        self.sentence.setText(text)

    def _try(self, action: str, *arguments: object) -> None:
        """Do something with the run, or say in its place why not."""
        if self.run is None:
            return
        try:
            getattr(self.run, action)(*arguments)
        except AmilError as error:
            self._say(str(error))
        except OSError as error:
            self._say(f"'{self.run.folder}' cannot be written ({error.strerror}); is the drive still there?")
        else:
            self.refresh()

    def _on_pause(self) -> None:
        self._try("pause", self._shown is None or self._shown.state != "paused")

    def _on_stop(self) -> None:
        self._try("stop")

    def _on_cancel(self) -> None:
        self._try("cancel")

    def _on_resume(self) -> None:
        self._try("start")

    def _on_use(self) -> None:
        model = self.run.model() if self.run is not None else None
        if model is not None:
            self.modelWanted.emit(str(model))

    def _on_accept(self) -> None:
        model = self.run.model() if self.run is not None else None
        if model is not None:
            self.detectorWanted.emit(str(model))

    def _on_back(self) -> None:
        if self.run is not None:
            self.detectorWanted.emit(self.run.start_model())

    def _on_row(self) -> None:
        self.rowWanted.emit(self.run)

    def _on_open(self) -> None:
        if self.run is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.run.folder)))

    def _on_copy(self) -> None:
        clipboard = QApplication.clipboard()
        if self.run is not None and clipboard is not None:
            clipboard.setText(self.run.command())
            self.buttons["copy"].setToolTip(f"Copied at {time.strftime('%H:%M:%S')}:\n{self.run.command()}")

    def _on_delete(self) -> None:
        run = self.run
        if run is None:
            return
        try:
            run.throw_away()
        except AmilError as error:
            self._say(str(error))
            return
        self.deleted.emit(run)

    def _on_which(self, _: int) -> None:
        self.refresh()

    def _on_theme_changed(self, _: object) -> None:
        for curves in self._all_curves.values():
            curves.set_theme(self._viewer.theme)


def _button(name: str) -> QPushButton:
    text, tip = _BUTTONS[name]
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setMinimumHeight(26)
    return button


def _offered(run: Run, status: Status) -> list[str]:
    """Return the names of the buttons that fit a run."""
    if status.is_alive:
        hears = status.state not in {"starting", "stopping"}  # what was asked before it listens is lost
        offered = ["pause"] if hears else []
        offered += ["stop"] if hears and run.kind not in {ABLATION, NETWORKS} else []
        offered += ["cancel"]
    else:
        is_done = status.state == "finished"
        offered = _USES[run.kind] if is_done and run.model() is not None else []
        offered = [name for name in offered if name != "row" or run.can_resume()]
        offered += ["resume"] if not is_done and run.can_resume() else []
    offered += ["open"] if status.state != "missing" else []
    offered += ["copy"] if run.can_resume() else []
    return offered if status.is_alive else [*offered, "delete"]

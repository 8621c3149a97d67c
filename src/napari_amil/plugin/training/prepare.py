"""Prepare a training: choose a cohort, see and check it, choose settings, start."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Step
from napari_amil.plugin.training.cohort_check import CohortPreview, ProblemList
from napari_amil.plugin.training.networks_form import NetworksForm
from napari_amil.plugin.training.run_commands import NetworksCommand, TrainingCommand
from napari_amil.plugin.training.run_folders import fresh_folder
from napari_amil.plugin.training.run_progress import duration
from napari_amil.plugin.training.training_form import TrainingForm
from napari_amil.plugin.window.model_choice import ModelChoice
from napari_amil.plugin.window.panel import scrolling
from napari_amil.plugin.window.path_choice import PathChoice
from napari_amil.plugin.window.theme import sized, wrapped
from napari_amil.plugin.window.work import Task, Worker
from napari_amil.worker.protocol.messages import (
    CheckCohort,
    CohortChecked,
    CohortRead,
    Estimated,
    EstimateTraining,
    ListChoices,
    ReadCohort,
    TrainingChoices,
)

_NO_COHORT = "Choose or drop a cohort: a folder class/patient/image, or a list of cells or images (CSV)."
_ASK_CONTROL = "No class has the name of a control class; choose the control class above."


class PreparePage(QWidget):
    """Cohort, preview, problems, settings, and the button that starts.

    Parameters
    ----------
    worker
        A child process of its own: checking many images would keep other panels waiting.
    """

    wanted = Signal(object)
    """The user wants to start this `TrainingCommand` or `NetworksCommand`."""
    checked = Signal()
    """All images of the cohort were looked at."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self._worker = worker
        self._task: Task | None = None
        self._estimating: Task | None = None
        self._bags: pd.DataFrame | None = None
        self._unsupported = ""
        self._proposed: Path | None = None
        self._build()
        self._connect()
        worker.start(ListChoices()).finished.connect(self._on_choices)
        self._show_start()

    def _build(self) -> None:
        self.cohort = PathChoice("Choose a cohort", "drop a folder or table", "Tables (*.csv)")
        self.cohort.setToolTip("A folder class/patient/image, or a table of cells or images; drop it here.")
        self.control = QComboBox()
        self.control.setToolTip("The class of the healthy samples, with which all cells are compared.")
        self.control.setAccessibleName("Control class")
        self.preview = CohortPreview()
        self.checking = wrapped()
        self.problems = ProblemList()
        self.what = QComboBox()
        self.what.addItems(["A model of samples and cells", "Networks that redraw cells"])
        self.what.setAccessibleName("What is trained")
        self.what.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.what.setMinimumContentsLength(10)
        self.what.setToolTip(
            "A model that names samples, or further anomaly scores for a model that there is."
        )
        self.form, self.networks = TrainingForm(), NetworksForm()
        self.networks.hide()
        self.detector = ModelChoice(self._worker)
        self.out = PathChoice("Choose a folder for the run", "new folder")
        self.out.setToolTip("Everything of this run goes into this new folder.")
        self.estimate = wrapped()
        self.measure = QPushButton("Estimate time and memory")
        self.measure.setToolTip("Reads a few images and does a few real steps; takes some seconds.")
        self.start = QPushButton("Start training")
        self.start.setMinimumHeight(32)
        self.start.setStyleSheet("QPushButton { font-weight: 600; }")
        self.copy = QPushButton("Copy as command")
        self.copy.setToolTip("Write run.yaml and copy the line for a terminal that does the same.")
        self.why = wrapped()
        self.note = wrapped()
        self.note.hide()
        self._lay_out()

    def _lay_out(self) -> None:
        layout = scrolling(self)
        first, last = QFormLayout(), QFormLayout()
        first.addRow("Cohort", self.cohort)
        first.addRow("Controls", self.control)
        self.whose = QLabel("Cells found by")
        last.addRow(self.whose, self.detector)
        last.addRow("Run folder", self.out)
        layout.addLayout(first)
        layout.addWidget(self.preview)
        layout.addWidget(self.checking)
        layout.addWidget(self.problems)
        layout.addWidget(sized(QLabel("Training"), 1.0, bold=True))
        for part in (self.what, self.form, self.networks):
            layout.addWidget(part)
        layout.addLayout(last)
        layout.addWidget(self.measure)
        layout.addStretch(1)
        foot = QVBoxLayout()  # always in view
        foot.setContentsMargins(10, 4, 10, 8)
        buttons = QHBoxLayout()
        buttons.addWidget(self.start, 2)
        buttons.addWidget(self.copy, 1)
        for label in (self.why, self.estimate, self.note):
            foot.addWidget(label)
        foot.addLayout(buttons)
        outer = self.layout()
        assert isinstance(outer, QVBoxLayout)
        outer.addLayout(foot)

    def _connect(self) -> None:
        self.cohort.changed.connect(self._on_cohort_changed)
        self.control.activated.connect(self._on_control_chosen)
        self.problems.changed.connect(self._show_start)
        self.out.changed.connect(self._show_start)
        self.form.changed.connect(self._on_form_changed)
        self.networks.changed.connect(self._on_form_changed)
        self.what.currentIndexChanged.connect(self._on_what_changed)
        self.measure.clicked.connect(self._on_measure)
        self.start.clicked.connect(self._on_start)
        self.copy.clicked.connect(self._on_copy)

    def plan(self) -> TrainingCommand | NetworksCommand:
        """Return the command of the training as the form stands.

        Raises
        ------
        AmilError
            If something is missing or does not fit; the sentence says what to do.
        """
        cohort, out = self.cohort.value(), self.out.value()
        if cohort is None:
            raise AmilError(_NO_COHORT)
        if self._bags is None:
            raise AmilError(self.checking.text() or "The cohort is being read.")
        if self._unsupported:
            raise AmilError(self._unsupported)
        if self.problems.refused():
            raise AmilError("Solve the problems marked red, or accept them; then the training can start.")
        if out is None:
            raise AmilError("Name a new folder for the run.")
        if self._adds_networks:
            return self._network_plan(cohort.absolute(), out.absolute())
        settings = self.form.value().changed({"control": self.control.currentText()})
        return TrainingCommand(
            cohort.absolute(),
            out.absolute(),
            settings,
            self.detector.value(),
            self.form.device(),
            self.form.hold_out_fold(),
            self.form.n_folds(),
            self.problems.allowed(),
        )

    @property
    def _adds_networks(self) -> bool:
        return self.what.currentIndex() == 1

    def _network_plan(self, cohort: Path, out: Path) -> NetworksCommand:
        names, steps, device = self.networks.names(), self.networks.steps.value(), self.networks.device
        if not names:
            raise AmilError("Tick a network.")
        model, control = self.detector.value(), self.control.currentText()
        return NetworksCommand(cohort, out, names, model, str(device.currentData()), steps, control)

    def propose_folder(self) -> None:
        """Name a new folder beside the cohort, unless the user named one that is still free."""
        cohort, named = self.cohort.value(), self.out.value()
        if cohort is not None and (named is None or named == self._proposed):
            self._proposed = fresh_folder(cohort)
            self.out.setValue(self._proposed)

    def _on_choices(self, found: TrainingChoices) -> None:
        self.form.offer(found.presets, found.devices)
        self.networks.offer(found.devices)

    def _on_cohort_changed(self) -> None:
        self.control.clear()
        self._read("")

    def _on_control_chosen(self, _: int) -> None:
        self._read(self.control.currentText())

    def _read(self, control: str) -> None:
        """Request the bags of the cohort; an earlier request is cancelled."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self._bags = None
        self.preview.clear()
        self.problems.clear()
        self.estimate.hide()
        path = self.cohort.value()
        self._say("" if path is None else "Reading …")
        if path is not None:
            self.propose_folder()
            folder = self._worker.new_folder()
            task = self._worker.start(ReadCohort(cohort=path, control=control or None, out=folder))
            task.finished.connect(self._on_read)
            task.errored.connect(self._on_refused)
            self._task = task
        self._show_start()

    def _on_read(self, found: CohortRead) -> None:
        self._task = None
        self.control.clear()
        self.control.addItems(found.classes)
        self.control.setCurrentText(found.control or "")
        if found.control is None or found.bags is None:
            self.control.setCurrentIndex(-1)
            self.problems.say(_ASK_CONTROL, "error")
            self._say("")
            return
        self._bags = pd.read_csv(found.bags, dtype={"bag": str, "patient": str, "label": str})
        self.preview.show_cohort(self._bags, found.control, list(found.clinical), found.notes)
        self._unsupported = found.unsupported
        folds = sorted(int(fold) for fold in self._bags["fold"].dropna().unique())
        self.form.offer_folds(folds, self._bags.groupby("label")["patient"].nunique().to_dict())
        self._show_detector()
        self._check(found.control)
        self._show_start()

    def _show_detector(self) -> None:
        """Label the choice of the model by its use; listed cells need no detector."""
        has_cells = self._bags is not None and bool(self._bags["cells"].notna().any())
        self.whose.setText("Added to" if self._adds_networks else "Cells found by")
        self.detector.setEnabled(self._adds_networks or not has_cells)
        self.detector.setToolTip("" if self.detector.isEnabled() else "The cells are listed already.")

    def _on_what_changed(self, _: int) -> None:
        self.form.setVisible(not self._adds_networks)
        self.networks.setVisible(self._adds_networks)
        self.measure.setVisible(not self._adds_networks)
        self._show_detector()
        self._on_form_changed()

    def _on_refused(self, message: str) -> None:
        self._task = None
        self._say("")
        self.problems.say(message, "error")
        self._show_start()

    def _check(self, control: str) -> None:
        """Look at every image of the cohort."""
        cohort = self.cohort.value()
        if cohort is None:
            return
        request = CheckCohort(cohort=cohort, control=control, settings=self.form.value())
        task = self._worker.start(request)
        task.progress.connect(self._on_check_progress)
        task.finished.connect(self._on_checked)
        task.errored.connect(self._on_refused)
        self._task = task
        self._say("Looking at the images …")

    def _on_check_progress(self, step: Step) -> None:
        self._say(f"Looking at image {min(step.done + 1, step.total)} of {step.total} …")

    def _on_checked(self, found: CohortChecked) -> None:
        self._task = None
        self._say("")
        self.problems.show_problems(found.problems)
        self._show_start()
        self.checked.emit()

    def _say(self, text: str) -> None:
        self.checking.setText(text)
        self.checking.setVisible(bool(text))

    def _on_form_changed(self) -> None:
        self.estimate.hide()
        self._show_start()

    def _show_start(self) -> None:
        """Let the training start, or say why it cannot; a command that was copied is no longer this one."""
        self.note.hide()
        try:
            self.plan()
        except AmilError as error:
            self.why.setText(str(error))
        else:
            self.why.setText("")
        self.why.setVisible(bool(self.why.text()))
        for button in (self.start, self.copy, self.measure):
            button.setEnabled(not self.why.text())

    def _on_start(self) -> None:
        try:
            self.wanted.emit(self.plan())
        except AmilError as error:
            self.refuse(str(error))

    def refuse(self, message: str) -> None:
        """Show the reason why the training did not start."""
        self.why.setText(message)
        self.why.show()

    def _on_copy(self) -> None:
        clipboard = QApplication.clipboard()
        try:
            plan = self.plan()
            plan.write_settings()
        except AmilError as error:
            self.refuse(str(error))
            return
        if clipboard is not None:
            clipboard.setText(plan.command())
        self.note.setText(f"Copied at {time.strftime('%H:%M:%S')}: {plan.command()}")
        self.note.show()

    def _on_measure(self) -> None:
        if self._estimating is not None:
            return
        try:
            plan = self.plan()
        except AmilError as error:
            self.refuse(str(error))
            return
        if isinstance(plan, NetworksCommand):
            return
        n_tests = plan.folds if plan.folds is not None and plan.hold_out_fold is None else 0
        request = EstimateTraining(
            cohort=plan.cohort,
            settings=plan.settings,
            bundle=plan.bundle,
            device=plan.device,
            trainings=n_tests + 1,
        )
        task = self._worker.start(request)
        task.finished.connect(self._on_estimated)
        task.errored.connect(self._on_not_estimated)
        task.cancelled.connect(self._on_not_estimated)
        self._estimating = task
        self.estimate.setText("Doing a few real steps …")
        self.estimate.show()

    def _on_estimated(self, found: Estimated) -> None:
        self._estimating = None
        place = "processor" if found.device == "cpu" else "graphics card"
        self.estimate.setText(
            f"About {duration(found.seconds)} on this {place} and {found.gigabytes:.1f} GB of memory "
            f"for {found.n_cells:,} cells; measured on {found.n_measured:,} of them."
        )

    def _on_not_estimated(self, message: str = "") -> None:
        self._estimating = None
        self.estimate.setText(message)
        self.estimate.setVisible(bool(message))

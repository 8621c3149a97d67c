"""The Arrange panel: make a cohort from loose images by dragging; the originals are not changed."""

from __future__ import annotations

import os
from collections import Counter
from itertools import count
from pathlib import Path

from napari.viewer import Viewer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QPushButton

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.training.image_tree import CLASS, PATIENT, ImageTree
from napari_amil.plugin.training.run_list import TrainingPanel
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.panel import Panel, find_or_open_panels
from napari_amil.plugin.window.path_choice import PathChoice
from napari_amil.plugin.window.theme import wrapped
from napari_amil.plugin.window.work import Worker, shared_worker
from napari_amil.worker.protocol.messages import Arrange, Arranged, PlacedImage

_INTRODUCTION = (
    "Drop images or folders below, and drag them to their class and patient. A folder becomes a class, the "
    "folders in it its patients. Your files stay where they are: the cohort gets copies."
)
_TREE_PX = 300


class ArrangePanel(Panel):
    """The tree, the folder for the cohort, and the button that writes it."""

    TITLE = "Make a cohort of loose images"
    TERMS = ("Cohort", "Patient", "Control")
    arranged = Signal(str)
    """The folder of the cohort that was written."""

    def __init__(self, napari_viewer: Viewer, worker: Worker | None = None) -> None:
        super().__init__(napari_viewer)
        self._worker = worker if worker is not None else shared_worker()
        self.tree = ImageTree()
        self.tree.setMinimumHeight(_TREE_PX)
        self.sums = wrapped()
        self.out = PathChoice("Choose a folder for the cohort", "new folder")
        self.job = JobBar("Write the cohort", "Copy the images to class/patient/sample and write images.csv.")
        self.train = QPushButton("Train with it")
        self.train.setToolTip("Show the cohort in the Train panel.")
        self.train.setVisible(False)
        self._lay_out()
        self.tree.changed.connect(self._show_sums)
        self.job.wanted.connect(self.run)
        self.job.finished.connect(self._on_finished)
        self.train.clicked.connect(self.use)
        self._show_sums()

    def _lay_out(self) -> None:
        layout = self._scrolling_layout()
        buttons = QHBoxLayout()
        self.add_class = _button("Add class", "Add an empty class; F2 renames it.")
        self.add_patient = _button("Add patient", "Add an empty patient to the chosen class; F2 renames it.")
        self.remove = _button("Remove", "Remove the chosen rows from the tree; the files stay.")
        for button in (self.add_class, self.add_patient, self.remove):
            buttons.addWidget(button)
        self.add_class.clicked.connect(self._on_add_class)
        self.add_patient.clicked.connect(self._on_add_patient)
        self.remove.clicked.connect(self.tree.remove_chosen)
        rows = QFormLayout()
        rows.addRow("New folder", self.out)
        layout.addWidget(wrapped(_INTRODUCTION))
        layout.addWidget(self.tree, 1)
        layout.addLayout(buttons)
        layout.addWidget(self.sums)
        layout.addLayout(rows)
        layout.addWidget(self.job)
        layout.addWidget(self.train)

    def run(self) -> None:
        """Let the worker copy the images."""
        folder = self.out.value()
        if folder is None:
            self.job.say("Name a new folder for the cohort.", "error")
            return
        images = [
            PlacedImage(path=Path(path), label=label, patient=patient, sample=sample)
            for path, label, patient, sample in self.tree.placed()
        ]
        request = Arrange(images=tuple(images), target=folder.absolute())
        self.job.follow(self._worker.start(request))

    def use(self) -> None:
        """Show the cohort in the Train panel of this window, opening one if there is none."""
        try:
            panels = find_or_open_panels(self, self._viewer, TrainingPanel)
        except AmilError as error:
            self.job.say(str(error), "warning")
            return
        for panel in panels:
            panel.use_cohort(self.out.value())
        self.job.say("The Train panel shows this cohort now.")

    def _on_finished(self, found: Arranged) -> None:
        self.out.setValue(found.cohort)
        self.job.say(f"The cohort is in {found.cohort}; images.csv there says where each image came from.")
        self.train.setVisible(True)
        self.arranged.emit(str(found.cohort))

    def _show_sums(self) -> None:
        rows = self.tree.placed()
        classes = {label for _, label, _, _ in rows}
        patients = {(label, patient) for _, label, patient, _ in rows}
        numbers = {"image": len(rows), "patient": len(patients), "class": len(classes)}
        images, of, within = (_counted(number, what) for what, number in numbers.items())
        message = f"{images} of {of} in {within}."
        times = Counter(patient for _, patient in patients)
        twice = sorted(patient for patient, number in times.items() if number > 1)
        if twice:
            message += f" '{twice[0]}' stands in several classes and counts as another patient in each."
        self.sums.setText(message if rows else "No image yet.")
        self.job.button.setEnabled(bool(rows))
        if rows and self.out.value() is None:
            self.out.setValue(_new_folder(_place([path for path, *_ in rows])))

    def _on_add_class(self) -> None:
        self.tree.add_group(CLASS)

    def _on_add_patient(self) -> None:
        if self.tree.add_group(PATIENT) is None:
            self.job.say("Choose the class of the new patient first.", "warning")


def _place(images: list[str]) -> Path:
    """Return the folder above all images; above the first where they lie on several drives."""
    try:
        return Path(os.path.commonpath([str(Path(image).parent) for image in images]))
    except ValueError:
        return Path(images[0]).parent


def _new_folder(images: Path) -> Path:
    """Return a folder that does not exist yet in the user's home, away from the images."""
    home, name = Path.home() / "cohorts", images.name or "cohort"
    return next(path for number in count(1) if not (path := home / f"{name}-{number}").exists())


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _counted(number: int, what: str) -> str:
    """Return a number with its noun, singular or plural."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}{'es' if what.endswith('s') else 's'}"

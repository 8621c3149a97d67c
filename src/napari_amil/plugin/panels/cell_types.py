"""The panel Name cell types: name some cells, and every cell of all images or of a cohort gets a type."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from napari.viewer import Viewer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QFormLayout, QHBoxLayout, QLineEdit, QPushButton

from napari_amil.core.base.errors import AmilError
from napari_amil.core.exchange.project import write_project
from napari_amil.plugin.cohorts.folder_names import NAMES, TYPES, give_names, joined, read_names, read_types
from napari_amil.plugin.cohorts.gallery_source import GallerySource
from napari_amil.plugin.cohorts.type_table import TypeTable
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.cell_names import open_names, open_project, show_types, type_keys
from napari_amil.plugin.layers.rows import CELL_TYPE, TYPE
from napari_amil.plugin.layers.selection import CellKey, find_cell, fly_to, selection_of
from napari_amil.plugin.window.follow import hear
from napari_amil.plugin.window.forms import Folded
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.panel import Panel
from napari_amil.plugin.window.path_choice import ask_path
from napari_amil.plugin.window.theme import wrapped
from napari_amil.plugin.window.work import Task, Worker, shared_worker
from napari_amil.worker.protocol.messages import CellsTyped, TypeCells

_HOW = (
    "Choose cells in the image or in the gallery and press the key of their type: Alt-1 to Alt-9, in the "
    "gallery 1 to 9. Name three of each type at least, better twenty, of several images. Names never change "
    "an anomaly score or a verdict."
)
_FILES = "Cell types (*.safetensors)"


@dataclass(frozen=True, eq=False)
class Learned:
    """Reply of the worker, with the tables that it wrote."""

    reply: CellsTyped
    types: pd.DataFrame
    counts: pd.DataFrame


class CellTypesPanel(Panel):
    """Types with their keys, Learn, the quality and differences of the types, the next cell to name."""

    TITLE = "Name cell types"
    TERMS = ("Anomaly", "Cell type", "Cohort", "Macro F1", "Verdict")
    typed = Signal(object)
    """`Learned`, after every learning."""

    def __init__(self, napari_viewer: Viewer, worker: Worker | None = None) -> None:
        super().__init__(napari_viewer)
        self._worker = worker if worker is not None else shared_worker()
        self._keys = type_keys(self._viewer)
        self._selection = selection_of(self._viewer)
        self._loaded: Path | None = None
        self._learned: Learned | None = None
        self._of_folder: Path | None = None
        self._next: list[CellKey] = []
        self._build()
        self._connect()
        self.show_names()

    def _build(self) -> None:
        self.source = GallerySource()
        self.types = TypeTable()
        self.name = QLineEdit()
        self.name.setPlaceholderText("new type")
        self.name.setAccessibleName("New type")
        self.add = _button("Add", "Put the type at the end of the list; the first nine have a key.")
        self.remove = _button("Remove", "Take the chosen type from the list; named cells keep it.")
        self.job = JobBar("Learn, and type all cells", "Fit a classifier to the named cells; takes seconds.")
        self.next = _button("Next cell worth naming", "Go to a cell that the classifier is unsure of.")
        self.quality, self.counts = wrapped(), wrapped()
        self.more = Folded("Cells of each type")
        self.more.body.addWidget(self.counts)
        self.load = _button("Load …", "Types that were saved before: use them, or add names to them.")
        self.save = _button("Save …", "Save what was learned, for other images and other people.")
        self.loaded = wrapped()
        layout = self._scrolling_layout()
        form, row, files = QFormLayout(), QHBoxLayout(), QHBoxLayout()
        form.addRow(self.source)
        for part in (self.name, self.add, self.remove):
            row.addWidget(part)
        for button in (self.load, self.save):
            files.addWidget(button)
        layout.addWidget(wrapped(_HOW))
        layout.addLayout(form)
        layout.addWidget(self.types)
        layout.addLayout(row)
        for widget in (self.job, self.quality, self.next, self.more, self.loaded):
            layout.addWidget(widget)
        layout.addLayout(files)
        layout.addStretch(1)

    def _connect(self) -> None:
        for signal in (self._keys.changed, self._keys.named, self.source.valueChanged):
            signal.connect(self.show_names)
        self.source.valueChanged.connect(self._on_source_changed)
        self.name.returnPressed.connect(self._on_add)
        self.add.clicked.connect(self._on_add)
        self.remove.clicked.connect(self._on_remove)
        self.next.clicked.connect(self.go_to_next)
        self.job.wanted.connect(self.run)
        self.job.finished.connect(self._on_learned)
        self.load.clicked.connect(self._on_load)
        self.save.clicked.connect(self._on_save)
        self._selection.changed.connect(self._on_chosen)
        hear(self, self._viewer.layers.events.inserted, self._on_chosen)

    def names(self) -> pd.DataFrame:
        """Return the names given to the cells of the source: image, cell, box and type."""
        given, folder = open_names(self._viewer.layers), self.source.value()
        return given if folder is None else joined(read_names(folder), given)

    def show_names(self) -> None:
        """Show the types, and how many cells have each."""
        quality = {}
        if self._learned is not None:
            quality = {name: (found, right) for name, _, found, right in self._learned.reply.validation}
        self.types.show_types(self._keys.names, Counter(self.names()[CELL_TYPE]), quality)
        self.next.setEnabled(bool(self._next))
        self.save.setEnabled(self._learned is not None)
        text = f"With the named cells of '{self._loaded.name}'." if self._loaded is not None else ""
        self.loaded.setText(text)
        self.loaded.setVisible(bool(text))

    def run(self) -> None:
        """Send the names to the worker; the types of a scored folder are kept in it."""
        if self.job.is_running:
            return
        self._of_folder = self.source.value()
        try:
            task = self._ask_for_folder(self._of_folder) if self._of_folder else self._ask_for_images()
        except (AmilError, OSError) as error:
            self.job.say(str(error), "error")
            return
        self.job.follow(task, _read)

    def _ask_for_folder(self, folder: Path) -> Task:
        give_names(folder, open_names(self._viewer.layers))
        names = folder / NAMES if len(read_names(folder)) else None
        return self._ask(folder, folder / TYPES, names)

    def _ask_for_images(self) -> Task:
        folder = self._worker.new_folder()
        write_project(open_project(self._viewer.layers), folder / "open")
        given = open_names(self._viewer.layers)
        given.to_csv(folder / NAMES, index=False)
        return self._ask(folder / "open", folder / TYPES, folder / NAMES if len(given) else None)

    def _ask(self, folder: Path, out: Path, names: Path | None) -> Task:
        if names is None and self._loaded is None:
            raise AmilError("Name some cells first, or load types that were saved before.")
        return self._worker.start(
            TypeCells(folder=folder, out=out, names=names, classifier=self._loaded),
        )

    def _on_learned(self, learned: Learned) -> None:
        self._learned = learned
        if self._of_folder is None:
            for layer in cell_layers(self._viewer.layers):
                show_types(layer, learned.types)
        self._next = [_key(learned.types.iloc[row], self._of_folder) for row in learned.reply.worth_naming]
        n_typed = int((learned.types[TYPE] != "").sum())
        self.quality.setText("\n".join(_quality_lines(learned.reply, n_typed, len(learned.types))))
        self.counts.setText("\n".join(_counted(learned.counts)))
        self.show_names()
        self._keys.typed.emit("" if self._of_folder is None else str(self._of_folder))
        self.typed.emit(learned)

    def go_to_next(self) -> None:
        """Choose the next cell that is worth naming, and fly to it if its image is open."""
        given = set(self.names()[["image", "cell_id"]].itertuples(index=False, name=None))
        while self._next:
            key = self._next.pop(0)
            if (key.image, key.cell_id) in given:
                continue
            self._selection.choose([key], key)
            found = find_cell(self._viewer, key)
            if found is not None:
                self._viewer.layers.selection.active = found[0]
                fly_to(self._viewer, *found)
            break
        self.next.setEnabled(bool(self._next))

    def load_from(self, path: str) -> None:
        """Begin with types that were saved before."""
        self._loaded = Path(path)
        self.job.say("")
        self.show_names()

    def save_to(self, path: str) -> None:
        """Save the classifier."""
        if self._learned is None:
            return
        target = Path(path).with_suffix(".safetensors")
        try:
            shutil.copyfile(self._learned.reply.classifier, target)
        except OSError as error:
            self.job.say(f"The types cannot be saved as '{target}' ({error}).", "error")
        else:
            self.job.say(f"Saved as '{target}'; 'napari-amil classify' takes it as --classifier.")

    def _on_source_changed(self) -> None:
        self._next, self._learned = [], None
        self.quality.setText("")
        self.counts.setText("")
        self.show_names()

    def _on_add(self) -> None:
        self._keys.add(self.name.text())
        self.name.clear()

    def _on_remove(self) -> None:
        self._keys.remove(self.types.chosen())

    def _on_load(self) -> None:
        ask_path(
            self, "Saved cell types", self.load_from, mode=QFileDialog.FileMode.ExistingFile, files=_FILES
        )

    def _on_save(self) -> None:
        dialog = ask_path(self, "Save types", self.save_to, mode=QFileDialog.FileMode.AnyFile, files=_FILES)
        dialog.selectFile("types.safetensors")

    def _on_chosen(self, _: object) -> None:
        self.show_names()


def _read(reply: CellsTyped) -> Learned:
    """Return the answer of the worker with its tables; called in a thread."""
    return Learned(reply, read_types(reply.types), pd.read_csv(reply.counts, dtype={"bag": str}))


def _key(row: pd.Series, folder: Path | None) -> CellKey:
    bag = str(row["bag"]) if folder is not None else ""
    return CellKey(str(row["image"]), int(row["cell_id"]), bag)


def _quality_lines(reply: CellsTyped, n_typed: int, n_cells: int) -> list[str]:
    """Return sentences on the quality of the types and on their differences."""
    lines = [f"{n_typed:,} of {n_cells:,} cells have a type; the others are cut, doubtful or like none."]
    if reply.left_out:
        kind = {"slide": "image or patient", "cell": "cell"}[reply.left_out]
        lines.append(f"Macro F1 {reply.macro_f1:.2f}: each named {kind} predicted without itself.")
    return [*lines, *(f"{sentence[:1].upper()}{sentence[1:]}." for sentence in reply.sentences)]


def _counted(counts: pd.DataFrame, most: int = 12) -> list[str]:
    """Return a line per sample: how many cells of each type, and the 95 % interval of the share."""
    lines = []
    for bag, own in counts[counts["n_cells"] > 0].groupby("bag", sort=False):
        shares = [f"{r.cell_type} {r.n_cells:,} ({r.low:.0%} to {r.high:.0%})" for r in own.itertuples()]
        lines.append(f"{bag}: {', '.join(shares)}")
    rest = len(lines) - most
    return lines[:most] + ([f"… and {rest} more, in type_counts.csv"] if rest > 0 else [])


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button

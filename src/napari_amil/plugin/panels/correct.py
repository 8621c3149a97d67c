"""The Correct panel: correct cells by hand, undo, and score the changed cells again."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakSet

from napari.layers import Shapes
from napari.viewer import Viewer
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QGridLayout, QPushButton

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.layers.care import KEYS, look_after
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.cell_names import type_keys
from napari_amil.plugin.layers.edits import (
    UNSURE,
    Rescoring,
    known_types,
    set_cell_type,
    start_rescoring,
    toggle_excluded,
    unscored_rows,
)
from napari_amil.plugin.layers.journal import journal_of
from napari_amil.plugin.layers.offers import RestoreBar
from napari_amil.plugin.layers.rows import CELL_TYPE, record_of
from napari_amil.plugin.layers.selection import rows_of, selection_of
from napari_amil.plugin.layers.writers import write_cells, write_table
from napari_amil.plugin.window.follow import LayerCombo, hear
from napari_amil.plugin.window.forms import Folded
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.model_choice import ModelChoice
from napari_amil.plugin.window.panel import Panel
from napari_amil.plugin.window.path_choice import ask_path
from napari_amil.plugin.window.theme import wrapped
from napari_amil.plugin.window.work import Worker, shared_worker
from napari_amil.worker.protocol.messages import Scored

_FILES = "Cells with all scores (*.geojson);;Table (*.csv);;Table (*.parquet)"
_MODES = {
    "Draw": ("add_polygon_lasso", "Draw round a cell that was missed: press, go round it, let go."),
    "Box": ("add_rectangle", "Drag a box round a cell that was missed."),
    "Move": ("select", "Click a cell and drag it, or drag a corner of its frame."),
    "Reshape": ("direct", "Drag single points of an outline."),
}


class CorrectPanel(Panel):
    """Undo, redo, tools, the type of the chosen cells, the next unsure cell, scoring of changed cells."""

    TITLE = "Correct cells"
    TERMS = ("Candidate", "Detection score", "Outline")
    rescored = Signal(object)
    """The cell layer, after its changed cells were scored."""

    def __init__(self, napari_viewer: Viewer, worker: Worker | None = None) -> None:
        super().__init__(napari_viewer)
        viewer = self._viewer
        self._worker = worker if worker is not None else shared_worker()
        self._care = look_after(viewer)
        self._selection = selection_of(viewer)
        self._heard: WeakSet[Shapes] = WeakSet()
        self._job: Rescoring | None = None
        self._build()
        self._connect()
        self._on_layer_changed()

    def _build(self) -> None:
        self.cells = LayerCombo(self._viewer, lambda layer: record_of(layer) is not None, "find cells first")
        self.cells.setAccessibleName("Cells")
        self.undo = _button("Undo", "Undo the last change (Ctrl-Z); the last 100 can be taken back.")
        self.redo = _button("Redo", "Do the undone change again (Ctrl-Shift-Z).")
        self.tools = {name: _button(name, tip) for name, (_, tip) in _MODES.items()}
        self.delete = _button("Delete", "Delete the chosen cells (Delete).")
        self.out = _button("Leave out", "Keep the chosen cells but do not score them, or take them back (O).")
        self.type = QComboBox()
        self.type.setEditable(True)
        self.type.setToolTip("Type of the chosen cells; saved as cell_type, never used by a model (M).")
        self.type.setAccessibleName("Cell type")
        line = self.type.lineEdit()
        assert line is not None
        line.setPlaceholderText("not given")
        self.chosen = wrapped()
        self.unsure = QComboBox()
        for kind, words in UNSURE.items():
            self.unsure.addItem(words, kind)
        self.unsure.setToolTip("What a cell must be unsure about to come next.")
        self.unsure.setAccessibleName("Unsure about")
        for combo in (self.type, self.unsure):
            combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            combo.setMinimumContentsLength(10)
        self.next = _button("Next unsure cell", "Go to the most unsure cell that was not looked at yet (N).")
        self.job = JobBar("Score changed cells", "Score only the cells that were drawn or changed.")
        self.model = ModelChoice(self._worker)
        self.save = _button("Save …", "Save cells and scores as GeoJSON (opens in QuPath too) or as a table.")
        self.unsaved = RestoreBar(self._care.autosave)
        self.keys = Folded("Keys")
        self.keys.body.addWidget(wrapped("\n".join(f"{key}: {what}" for key, what in KEYS.items())))
        self._lay_out(self._scrolling_layout())

    def _lay_out(self, layout: Any) -> None:  # noqa: ANN401
        choice = QFormLayout()
        choice.addRow("Cells", self.cells)
        layout.addWidget(self.unsaved)
        layout.addLayout(choice)
        grid = QGridLayout()
        pairs = [self.undo, self.redo, *self.tools.values(), self.delete, self.out]
        for number, button in enumerate(pairs):
            grid.addWidget(button, number // 2, number % 2)
        layout.addLayout(grid)
        layout.addWidget(self.chosen)
        form = QFormLayout()
        form.addRow("Cell type", self.type)
        form.addRow("Unsure", self.unsure)
        layout.addLayout(form)
        layout.addWidget(self.next)
        layout.addWidget(self.job)
        below = QFormLayout()
        below.addRow("Model", self.model)
        layout.addLayout(below)
        layout.addWidget(self.save)
        layout.addWidget(self.keys)
        layout.addStretch(1)

    def _connect(self) -> None:
        hear(self, self._viewer.layers.selection.events.active, self._on_active_changed)
        self.cells.layerChanged.connect(self._on_layer_changed)
        self._selection.changed.connect(self._on_chosen)
        self.undo.clicked.connect(self._on_undo)
        self.redo.clicked.connect(self._on_redo)
        for name, button in self.tools.items():
            button.setProperty("mode", _MODES[name][0])
            button.clicked.connect(self._on_tool)
        self.delete.clicked.connect(self._on_delete)
        self.out.clicked.connect(self.toggle_excluded)
        self.type.activated.connect(self._on_type_given)
        line = self.type.lineEdit()
        assert line is not None
        line.returnPressed.connect(self._on_type_given)
        self.save.clicked.connect(self._on_save)
        self.next.clicked.connect(self.go_to_next)
        self.job.wanted.connect(self.run)
        self.job.finished.connect(self._on_scored)

    def run(self) -> None:
        """Score the cells that were drawn or changed, and only those."""
        layer = self.cells.layer()
        if self.job.is_running or layer is None:
            return
        try:
            self._job, task = start_rescoring(self._viewer, layer, self._worker, self.model.value())
        except (AmilError, OSError) as error:
            self.job.say(str(error), "error")
            return
        self.job.follow(task)

    def go_to_next(self) -> None:
        """Choose the most unsure cell that was not looked at yet, and fly to it."""
        layer = self.cells.layer()
        if layer is not None and not self._care.go_to_next(layer, self.unsure.currentData()):
            self.chosen.setText("There is no other unsure cell; the next press begins anew.")

    def toggle_excluded(self) -> None:
        """Leave the chosen cells out; if all of them are, take them back."""
        layer = self.cells.layer()
        if layer is not None:
            toggle_excluded(layer)

    def _chosen(self) -> tuple[Shapes | None, list[int]]:
        layer = self.cells.layer()
        return layer, rows_of(layer, self._selection.keys) if layer is not None else []

    def _on_tool(self) -> None:
        layer, button = self.cells.layer(), self.sender()
        if layer is not None and button is not None:
            self._viewer.layers.selection.active = layer
            layer.mode = button.property("mode")

    def _on_save(self) -> None:
        layer = self.cells.layer()
        if layer is None:
            return
        mode = QFileDialog.FileMode.AnyFile
        ask_path(self, "Save cells", self.save_to, mode=mode, files=_FILES).selectFile(
            f"{Path(layer.name).stem}.geojson"
        )

    def save_to(self, path: Path | str) -> None:
        """Save the cells: whole as ``.geojson``, else as a table."""
        layer, path = self.cells.layer(), Path(path)
        path = path if path.suffix else path.with_suffix(".geojson")
        write = write_table if path.suffix.lower() in {".csv", ".parquet"} else write_cells
        try:
            write(str(path), *layer.as_layer_data_tuple()[:2])
        except AmilError as error:
            self.job.say(str(error), "error")
        else:
            self.job.say(f"Saved in '{path}'.")

    def _on_delete(self) -> None:
        layer, rows = self._chosen()
        if layer is not None:
            layer.remove(rows)

    def _on_type_given(self, _: object = None) -> None:
        layer, rows = self._chosen()
        if layer is not None and rows:
            set_cell_type(layer, rows, self.type.currentText())
            keys = type_keys(self._viewer)
            keys.add(self.type.currentText())
            keys.named.emit()

    def _on_undo(self) -> None:
        journal = journal_of(self.cells.layer())
        if journal is not None:
            self.job.say(journal.undo())

    def _on_redo(self) -> None:
        journal = journal_of(self.cells.layer())
        if journal is not None:
            self.job.say(journal.redo())

    def _on_scored(self, reply: Scored) -> None:
        job, self._job = self._job, None
        if job is None or job.layer not in self._viewer.layers:
            self.job.say("The cells were closed meanwhile, so that their scores are not shown.", "warning")
            return
        self.job.say(job.finish(reply))
        self.rescored.emit(job.layer)

    def _on_active_changed(self, _: object) -> None:
        active = self._viewer.layers.selection.active
        if record_of(active) is not None:
            self.cells.set_layer(active)

    def _on_layer_changed(self) -> None:
        layer = self.cells.layer()
        if layer is not None and layer not in self._heard:
            hear(self, layer.events.features, self._on_features_changed, position="last")
            self._heard.add(layer)
        self._show()

    def _on_features_changed(self, _: object) -> None:
        self._show()

    def _on_chosen(self, _: object) -> None:
        self._show()

    def _show(self) -> None:
        layer, rows = self._chosen()
        for widget in (*self.tools.values(), self.next, self.job.button, self.unsure, self.save):
            widget.setEnabled(layer is not None)
        for widget in (self.delete, self.out, self.type):
            widget.setEnabled(bool(rows))
        self._show_steps()
        if layer is None:
            self.chosen.setText("Find cells first, or draw them on a Shapes layer.")
            return
        n_changed = len(unscored_rows(layer))
        what = f"{len(rows):,} of {layer.nshapes:,} cells chosen" if rows else f"{layer.nshapes:,} cells"
        self.chosen.setText(f"{what}; {n_changed:,} not scored." if n_changed else f"{what}.")
        out = bool(rows) and bool(layer.features["status"].iloc[rows].eq("excluded").all())
        self.out.setText("Take back" if out else "Leave out")
        self._show_type(layer, rows)

    def _show_type(self, layer: Shapes, rows: list[int]) -> None:
        line = self.type.lineEdit()
        if line is not None and line.hasFocus() and line.isModified():
            return
        given = set(layer.features[CELL_TYPE].iloc[rows]) if CELL_TYPE in layer.features else set()
        self.type.clear()
        known = [*type_keys(self._viewer).names, *known_types(cell_layers(self._viewer.layers))]
        self.type.addItems(["", *dict.fromkeys(known)])
        self.type.setEditText(str(next(iter(given))) if len(given) == 1 else "")

    def _show_steps(self) -> None:
        journal = journal_of(self.cells.layer())
        self.undo.setEnabled(journal is not None and bool(journal.done))
        self.redo.setEnabled(journal is not None and bool(journal.undone))


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return button

"""The panel "Look at a smear": from an image to the cells that stand out, in one press."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from napari.layers import Image, Shapes
from napari.viewer import Viewer
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.cohorts.open_bar import OpenBar
from napari_amil.plugin.colour.scales import scales_of
from napari_amil.plugin.colour.typical_cell import typical_cell_of
from napari_amil.plugin.layers.care import look_after
from napari_amil.plugin.layers.cell_layer import cell_layers, need_record
from napari_amil.plugin.layers.offers import JoinBar, RestoreBar
from napari_amil.plugin.layers.planes import shown_place
from napari_amil.plugin.layers.rows import DOTTED, CellRecord, record_of
from napari_amil.plugin.layers.score_words import certainty, unusual
from napari_amil.plugin.layers.selection import CellKey, find_cell, selection_of
from napari_amil.plugin.layers.walk import walk_of
from napari_amil.plugin.panels.detect import DetectPanel
from napari_amil.plugin.panels.score import ScorePanel
from napari_amil.plugin.reasons.ranked_cells import RankedList, joined_words, shape_words
from napari_amil.plugin.reasons.sample_summary import SampleSummary
from napari_amil.plugin.window.docks import open_panel
from napari_amil.plugin.window.follow import LayerCombo, hear
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.next_steps import NextSteps
from napari_amil.plugin.window.panel import SMEAR_TITLE, Panel
from napari_amil.plugin.window.path_choice import ask_path
from napari_amil.plugin.window.theme import PAGE_MARGINS, wrapped
from napari_amil.plugin.window.work import Task, Worker, shared_worker

_TERMS = (
    "Abnormal",
    "Attention",
    "Calibration",
    "Cohort",
    "Control",
    "Interval",
    "Novelty",
    "p-value",
    "q-value",
    "Stands out",
    "Typical diameter",
    "Verdict",
)
_N_WORDS = 2
"""Number of properties shown of the chosen cell; the Cell card has all."""
DETECTION, SCORES = "Detection", "Scores"
"""Titles of the second and third page."""
_IMAGES = "Images (*.png *.jpg *.jpeg *.tif *.tiff *.bmp *.webp);;All files (*)"
_SAMPLE = "AMIL blood smears"
_EMPTY = (
    "Drag an image of a blood smear into the window (PNG, JPEG, TIFF), press Open, or try a sample. "
    "Then press Find and score."
)
_READY = "Press Find and score: every cell is found, and compared with control cells."
_BUSY = "Every cell is found, then compared with control cells; this takes a moment."
_FOUND = "The cells are found, but not scored: press {}."
_STALE = "The cells have changed since they were scored; press {} for a verdict."
_NO_CHOICE = "Click on a cell, here or in the image, to see why it is where it is in the list."


class SmearPanel(Panel):
    """Image, Find and score, verdict, the cells that stand out, and the next steps; settings on two pages."""

    TITLE = SMEAR_TITLE
    TERMS = tuple(sorted({*DetectPanel.TERMS, *ScorePanel.TERMS, *_TERMS}, key=str.lower))
    finished = Signal(object)
    """The scored cell layer, after every *Find and score*."""
    errored = Signal(str)

    def __init__(self, napari_viewer: Viewer, worker: Worker | None = None) -> None:
        super().__init__(napari_viewer)
        viewer = self._viewer
        worker = worker if worker is not None else shared_worker()
        self.detect, self.score = DetectPanel(viewer, worker), ScorePanel(viewer, worker)
        self._stage = ""
        self._later = QTimer(self)  # many changes at once are shown once
        self._later.setSingleShot(True)
        self._later.timeout.connect(self.refresh)
        self.circle = typical_cell_of(viewer)
        self.destroyed.connect(self.circle.close)
        self.selection = selection_of(viewer)
        self._build()
        self._connect()
        self.refresh()

    def _build(self) -> None:
        tip = "The image whose cells are looked at."
        self.image = LayerCombo(
            self._viewer, lambda layer: isinstance(layer, Image), "open an image first", tip
        )
        self.image.setAccessibleName("Image")
        self.open = QPushButton("Open …")
        self.open.setToolTip("Open an image of a blood smear: PNG, JPEG, TIFF.")
        self.sample = QPushButton("Try a sample smear")
        self.sample.setToolTip("Open the real smear that comes with the plugin (Chula RBC-12, MIT licence).")
        self.job = JobBar(
            "Find and score", "Find every cell, compare it with control cells, and judge the sample."
        )
        self.join, self.closed = JoinBar(self._viewer), OpenBar(self._viewer)
        self.unsaved = RestoreBar(look_after(self._viewer).autosave)
        self.summary = SampleSummary()
        self.only = QCheckBox("Only these")
        self.only.setToolTip("Hide the outlines of all cells that do not stand out.")
        self.cells = RankedList(self._viewer)
        self.why = wrapped()
        self.why.setToolTip("What is known about the chosen cell; 'Why this cell?' has all of it.")
        self.steps = NextSteps()
        self.pages = QTabWidget()
        self.pages.setDocumentMode(True)
        self.pages.addTab(self._first_page(), "Smear")
        self.pages.setTabToolTip(0, "The image, its verdict, and the cells that stand out.")
        for page, title, tip in (
            (self.detect, DETECTION, "How cells are found, and which candidates count as cells."),
            (self.score, SCORES, "Colours of the cells, and the model."),
        ):
            page.help.hide()  # the panel has one for all pages
            self.pages.addTab(page, title)
            self.pages.setTabToolTip(self.pages.count() - 1, tip)
        layout = self._filling_layout()
        layout.setContentsMargins(4, 4, 4, 0)
        layout.addWidget(self.pages)

    def _first_page(self) -> QWidget:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(*PAGE_MARGINS)
        layout.setSpacing(5)
        choice = QHBoxLayout()
        choice.addWidget(self.image, 1)
        choice.addWidget(self.open)
        layout.addLayout(choice)
        rows = (
            self.sample,
            self.join,
            self.closed,
            self.unsaved,
            self.detect.diameter,
            self.job,
            self.summary,
        )
        for widget in rows:
            layout.addWidget(widget)
        self.summary.foot.addWidget(self.only)
        layout.addWidget(self.cells, 1)
        layout.addWidget(self.why)
        layout.addWidget(self.steps)
        layout.addStretch(0)
        return page

    def _connect(self) -> None:
        viewer = self._viewer
        self.open.clicked.connect(self._on_open)
        self.sample.clicked.connect(self._on_sample)
        self.job.wanted.connect(self.run)
        self.image.layerChanged.connect(self._later.start)
        self.detect.diameter.measuring.connect(self._on_measuring)
        self.detect.diameter.valueChanged.connect(self._later.start)
        self.circle.measured.connect(self._on_measured)
        self.circle.messaged.connect(self.job.say)
        self.circle.ended.connect(self._on_measure_ended)
        self.cells.chosen.connect(self._on_cell_chosen)
        self.only.toggled.connect(self._on_only_toggled)
        self.selection.currentChanged.connect(self._show_why)
        walk_of(viewer).changed.connect(self._later.start)
        hear(self, viewer.dims.events.current_step, self._on_moved)
        hear(self, viewer.events.theme, self._on_moved)
        self.steps.wanted.connect(self._open_panel)
        for part in (self.detect, self.score):
            part.job.following.connect(self._on_following)
            part.job.cancelled.connect(self._on_stopped)
            part.errored.connect(self._on_errored)
        self.detect.detected.connect(self._on_detected)
        self.score.scored.connect(self._on_scored)

    def first_control(self) -> QWidget:
        """Return the button that comes next: to open an image, or to find and score its cells."""
        return self.open if self.image.layer() is None else self.job.button

    def run(self) -> None:
        """Find the cells of the shown image and score them; cells that are the user's own are only scored."""
        if self.job.is_running or self.detect.job.is_running or self.score.job.is_running:
            return
        image = self.image.layer()
        if image is None:
            self._on_errored("There is no image yet: press Open, drag one into the window, or try a sample.")
            return
        layer = self._cells_here()
        if layer is not None and _is_own_work(layer):
            self._run_score(layer)
            return
        self._stage = "Step 1 of 2"
        self.detect.image.set_layer(image)
        self.detect.run()
        self._later.start()

    def _run_score(self, layer: Shapes) -> None:
        self._stage = "Step 2 of 2"
        self.score.cells.set_layer(layer)
        self.score.run()

    def _on_following(self, task: Task) -> None:
        if self._stage:
            self.job.accompany(task, self._stage, self._cancel)

    def _cancel(self) -> None:
        for part in (self.detect, self.score):
            part.job.cancel()

    def _on_detected(self, layer: Shapes) -> None:
        if self._stage:
            self._run_score(layer)

    def _on_scored(self, layer: Shapes) -> None:
        if self._stage:
            self._stage = ""
            self.job.rest()
            notices = [part.job.notice.text() for part in (self.detect, self.score)]
            self.job.say("\n".join(filter(None, notices)), "warning" if any(notices) else "")
            self.refresh()
            self.finished.emit(layer)

    def _on_stopped(self) -> None:
        if self._stage:
            self._stage = ""
            self.job.rest()
            self.job.say("Cancelled; nothing was changed.")
            self._later.start()

    def _on_errored(self, message: str) -> None:
        self._stage = ""
        self.job.rest()
        self.job.say(message, "error")
        self._later.start()
        self.errored.emit(message)

    def show_page(self, title: str) -> None:
        """Show the page called ``title``."""
        names = [self.pages.tabText(number) for number in range(self.pages.count())]
        self.pages.setCurrentIndex(names.index(title))

    def _cells_here(self) -> Shapes | None:
        """Return the cells of the chosen image on the plane that is shown."""
        image = self.image.layer()
        if image is None:
            return None
        place, number = shown_place(self._viewer, image), str(image.unique_id)
        for layer in reversed(cell_layers(self._viewer.layers)):
            record = need_record(layer)
            is_shown = layer.visible or DOTTED in layer.metadata
            if is_shown and (record.image_id, record.place) == (number, place):
                return layer
        return None

    def _has_cells(self) -> bool:
        """Return whether the chosen image has cells on any of its planes; without an image, any cells do."""
        image, layers = self.image.layer(), cell_layers(self._viewer.layers)
        number = str(image.unique_id) if image is not None else None
        return any(cells.nshapes for cells in layers if number in (None, need_record(cells).image_id))

    def refresh(self) -> None:
        """Show the image, its verdict and its cells as they are now."""
        layer, has_image = self._cells_here(), self.image.layer() is not None
        record = record_of(layer) if layer is not None else None
        bag = record.bag if record is not None else None
        is_scored = record is not None and record.scores is not None
        self.sample.setVisible(not has_image)
        self.job.setVisible(has_image)
        self.detect.diameter.setVisible(has_image)
        if has_image and (self.window() or self).focusWidget() is self.open:
            self.job.button.setFocus()  # the next press of a key
        own = layer is not None and _is_own_work(layer)
        press = f"Score these {layer.nshapes:,} cells" if layer is not None and own else "Find and score"
        self.job.set_text(press)
        if self.job.is_running:
            self.summary.show_text(_BUSY)
        elif bag is not None:
            self.summary.show_bag(bag)
        elif is_scored:
            self.summary.show_text(_STALE.format(press))
        elif layer is not None:
            self.summary.show_text(_FOUND.format(press))
        else:
            self.summary.show_text(_READY if has_image else _EMPTY)
        self.only.setVisible(self.summary.show_share(layer if is_scored else None) > 0)
        self.cells.show_cells(layer if is_scored else None)
        for part in (self.cells, self.why):
            part.setVisible(is_scored)
        self.join.offer(self.image.layer())
        self.closed.look()
        self.steps.set_has_cells(self._has_cells())
        self._show_circle(record)
        self._show_why()

    def _show_circle(self, record: CellRecord | None) -> None:
        """Draw the typical cell: of the diameter that was given, else of the one that was found."""
        found = record.agreed_px if record is not None else None
        self.detect.diameter.show_found(found)
        given = self.detect.diameter.value()
        self.circle.show(self.image.layer(), found if given is None else given)

    def _on_measuring(self, is_wanted: bool) -> None:
        image = self.image.layer()
        if is_wanted and image is not None:
            self.circle.measure(image)
        else:
            self.circle.stop()

    def _on_measured(self, diameter_px: float) -> None:
        self.detect.diameter.setValue(diameter_px)
        self._show_circle(None)
        self.job.say(f"The cell measures {diameter_px:.0f} pixels; press {self.job.button.text()}.")

    def _on_measure_ended(self) -> None:
        self.detect.diameter.measure.setChecked(False)

    def _show_why(self, _: object = None) -> None:
        key = self.selection.current
        found = find_cell(self._viewer, key) if key is not None else None
        if found is None or key is None:
            self.why.setText(_NO_CHOICE)
            return
        layer, row = found
        values = layer.features.iloc[row].to_dict()
        percentile = float(values.get("anomaly_percentile", np.nan))
        first = unusual(percentile) if np.isfinite(percentile) else "Not scored"
        parts = [f"Cell {key.cell_id}: {first[:1].lower()}{first[1:]}.", certainty(values)]
        parts.append(joined_words(shape_words(layer, key.cell_id)[:_N_WORDS]))
        self.why.setText(" ".join(part for part in parts if part))

    def _on_only_toggled(self, is_only: bool) -> None:
        scales = scales_of(self._viewer)
        scales.set_style(replace(scales.style, only_standing_out=is_only))

    def _on_cell_chosen(self, key: CellKey) -> None:
        walk_of(self._viewer).go_to(key)

    def _on_moved(self, _: object) -> None:
        self._later.start()

    def _open_panel(self, title: str) -> None:
        try:
            open_panel(self._viewer, title)
        except AmilError as error:
            self.job.say(str(error), "error")

    def _on_open(self) -> None:
        mode = QFileDialog.FileMode.ExistingFile
        ask_path(self, "Open an image of a blood smear", self.open_image, mode=mode, files=_IMAGES)

    def open_image(self, path: str) -> None:
        """Open an image file in the viewer, as dragging it into the window does."""
        open_file = getattr(self._viewer, "open", None)
        try:
            if open_file is None or not open_file(path, plugin="napari"):
                raise OSError("nothing in it could be shown")
        except (OSError, ValueError, TypeError, RuntimeError, SyntaxError, LookupError) as error:
            self._on_errored(
                f"The image '{Path(path).name}' cannot be opened ({error}); save it as PNG or TIFF."
            )

    def _on_sample(self) -> None:
        self._viewer.open_sample("napari-amil", "real_smear")


def _is_own_work(layer: Shapes) -> bool:
    """Return whether detecting cells again would lose work by hand, or cells that a file brought."""
    record = need_record(layer)
    found_here = len(record.known) and np.isfinite(record.candidates.diameter_px)
    return not found_here or record.is_worked_on(layer.features)

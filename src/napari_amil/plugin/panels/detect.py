"""The page Detection: find the cells of the shown image, and filter them with sliders."""

from __future__ import annotations

from functools import partial
from weakref import WeakSet

import numpy as np
from napari.layers import Image, Shapes
from napari.viewer import Viewer
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QFormLayout

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import DetectionSettings, RunSettings, SelectionSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.detection.select import Candidates
from napari_amil.plugin.colour.field_of_view import FieldOfViewBox
from napari_amil.plugin.layers.care import look_after
from napari_amil.plugin.layers.cell_layer import (
    adopt_layer,
    cell_layers,
    make_layer,
    need_record,
    no_cells_in_words,
    show_cells,
)
from napari_amil.plugin.layers.companions import lie_on
from napari_amil.plugin.layers.offers import ExistingShapes, RestoreBar
from napari_amil.plugin.layers.planes import shown_plane
from napari_amil.plugin.layers.rows import CellRecord, record_of
from napari_amil.plugin.layers.slides import is_searched_in_parts, part_of_slide
from napari_amil.plugin.window.diameter_choice import DiameterChoice
from napari_amil.plugin.window.follow import LayerCombo, hear
from napari_amil.plugin.window.forms import PER_CENT, Label, SettingsForm
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.model_choice import ModelChoice
from napari_amil.plugin.window.panel import DetectingPanel
from napari_amil.plugin.window.theme import sized, wrapped
from napari_amil.plugin.window.work import Worker, shared_worker
from napari_amil.worker.protocol.messages import Detect, Detected

_SETTLE_MS = 40
_WHAT_IT_DOES = "Outlines every cell of the image. The picture itself is not changed."
_WELCOME = (
    "Nothing is open yet: drag a smear (PNG, JPEG, TIFF) into the window, or choose File > Open Sample > "
    "AMIL blood smears. Then press Find cells."
)
_TYPICAL = "\N{MULTIPLICATION SIGN} typical"
_LIVE: dict[str, Label] = {
    "min_score": ("Certainty from", PER_CENT),
    "min_diameter": ("Diameter from", _TYPICAL),
    "max_diameter": ("Diameter to", _TYPICAL),
    "max_overlap": ("Overlap up to", PER_CENT),
    "keep_border": "Keep cells cut by the border",
}
_FOLDED: dict[str, Label] = {
    "cell_diameter_um": "Diameter in micrometres",
    "cells": "Cells of interest",
    "max_foreign": ("Colour of no red cell, up to", PER_CENT),
    "max_cells": ("Most cells", "cells"),
    "candidate_score": ("Candidates from", PER_CENT),
    "candidate_overlap": ("Same cell from", PER_CENT),
    "tile_px": ("Side of a tile", "px"),
    "tiles_at_once": "Tiles at once",
}


class DetectPanel(DetectingPanel):
    """Image, Find cells, how many were found, and the sliders that decide which of them count."""

    detected = Signal(object)
    """The new cell layer, after every detection."""
    errored = Signal(str)

    def __init__(self, napari_viewer: Viewer, worker: Worker | None = None) -> None:
        super().__init__(napari_viewer)
        viewer = self._viewer
        self._worker = worker if worker is not None else shared_worker()
        self._layer: Shapes | None = None
        self._heard: WeakSet[Shapes] = WeakSet()
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self._select_again)
        self._care = look_after(viewer)
        self._build()
        hear(self, viewer.layers.selection.events.active, self._on_active_changed)
        hear(self, viewer.layers.events.removed, self._on_layer_removed)
        self.selection.valueChanged.connect(self._settle.start)
        self.job.wanted.connect(self.run)
        self.existing.wanted.connect(self.take_over)
        self.existing.combo.layerChanged.connect(self._show_count)
        self.image.layerChanged.connect(self._show_count)
        self.job.finished.connect(self._on_finished)
        self.job.errored.connect(self.errored)
        self._on_active_changed()

    def _build(self) -> None:
        self.image = LayerCombo(self._viewer, lambda layer: isinstance(layer, Image), "open an image first")
        self.image.setAccessibleName("Image")
        self.job = JobBar("Find cells", "Find every cell of the shown image and draw its outline.")
        self.count = sized(wrapped(), 1.7, bold=True)
        self.detail = wrapped()
        self.existing = ExistingShapes(self._viewer)
        self.selection = SettingsForm(SelectionSettings, _LIVE)
        self.settings = SettingsForm(DetectionSettings, {}, _FOLDED)
        self.model = ModelChoice(self._worker)
        self.settings.more.body.addWidget(self.model)
        layout = self._scrolling_layout()
        choice = QFormLayout()
        choice.addRow("Image", self.image)
        self.unsaved = RestoreBar(self._care.autosave)
        layout.addLayout(choice)
        layout.addWidget(self.unsaved)
        self.diameter = DiameterChoice()
        layout.addWidget(self.diameter)
        self.field_of_view = FieldOfViewBox(self._viewer, self._worker, self.image)
        self.field_of_view.messaged.connect(self.job.say)
        layout.addWidget(self.field_of_view)
        layout.addWidget(self.job)
        layout.addWidget(self.existing)
        for widget in (self.count, self.detail, self.selection, self.settings):
            layout.addWidget(widget)
        layout.addStretch(1)

    def run(self) -> None:
        """Send the shown plane to the worker; the cells appear when it has answered."""
        if self.job.is_running:
            return
        image = self.image.layer()
        try:
            if image is None:
                raise AmilError("There is no image yet: drag one into the window, or File > Open Sample.")
            image = self._searched(image)
            plane = shown_plane(self._viewer, image)
            given = {"cell_diameter_px": self.diameter.value()}
            detection = DetectionSettings.parse(self.settings.value().model_dump() | given)
            settings = RunSettings(detection=detection, selection=self.selection.value())
            folder = self._worker.new_folder()
            place = plane.input(folder)
        except (AmilError, OSError) as error:
            self.job.say(str(error), "error")
            self.errored.emit(str(error))
            return
        request = Detect(**place, out=folder, settings=settings, bundle=self.model.value())
        task = self._worker.start(request)
        record = plane.record()
        record.detection, record.selection = settings.detection, settings.selection
        self.job.follow(task, partial(_build, record, image))

    def _searched(self, image: Image) -> Image:
        """Return the image, or of a slide a part of it as a layer of its own, which is chosen from now on."""
        if not is_searched_in_parts(image):
            return image
        part = part_of_slide(self._viewer, image)
        self._viewer.add_layer(part)
        self.image.set_layer(part)
        return part

    def take_over(self) -> None:
        """Make the chosen Shapes layer of the user into cells of the shown image."""
        layer, image = self.existing.combo.layer(), self.image.layer()
        try:
            if image is None:
                raise AmilError("There is no image below these shapes; open the image first.")
            plane = shown_plane(self._viewer, image)
            if layer.ndim != len(plane.place) + 2:
                raise AmilError(
                    f"The layer '{layer.name}' has other axes than the image; draw on a new layer."
                )
        except AmilError as error:
            self.job.say(str(error), "error")
            return
        adopt_layer(layer, plane.record())
        self._care.adopt(layer)
        self.job.say(no_cells_in_words(layer), "warning")
        layer.events.name()  # every choice of layers looks again
        self._viewer.layers.selection.active = layer
        self._on_active_changed()
        self.detected.emit(layer)

    def _on_finished(self, built: tuple[Shapes, Image]) -> None:
        layer, image = built
        if image not in self._viewer.layers:
            self.job.say("The image was closed meanwhile, so that its cells are not shown.", "warning")
            return
        record = need_record(layer)
        lie_on(layer, image)  # which may have been moved meanwhile
        self._retire(record)
        self._layer, sliders = layer, self.selection.value()
        self._viewer.add_layer(layer)
        if sliders != record.selection:
            self.selection.setValue(sliders)  # one moved meanwhile
        self._show_count()
        self.detected.emit(layer)

    def _retire(self, record: CellRecord) -> None:
        """Remove the earlier cells of the same plane; work done by hand is kept, but hidden."""
        for layer in cell_layers(self._viewer.layers):
            other = record_of(layer)
            if other is None or (other.image_id, other.place) != (record.image_id, record.place):
                continue
            if other.is_worked_on(layer.features):
                layer.visible = False
                layer.name = f"{layer.name} (earlier, changed by hand)"
                self.job.say(
                    "Your changes by hand stay in the earlier layer, which is now hidden.", "warning"
                )
            else:
                self._viewer.layers.remove(layer)

    def _select_again(self) -> None:
        """Apply the sliders to the candidates that were kept; needs no network."""
        record = record_of(self._layer) if self._layer is not None else None
        if self._layer is None or record is None or not _can_select(record):
            return
        record.selection = self.selection.value()
        show_cells(self._layer, record.candidates.select(record.selection))
        self._show_count()

    def _on_active_changed(self, _: object = None) -> None:
        """The sliders act on the cell layer that the user selects."""
        layer = self._viewer.layers.selection.active
        record = record_of(layer) if layer is not None else None
        if record is not None:
            self._layer = layer
            if layer not in self._heard:
                hear(self, layer.events.features, self._on_features_changed)
                self._heard.add(layer)
            self._load_selection(record)
        self._show_count()

    def _load_selection(self, record: CellRecord) -> None:
        if record.selection is not None:
            self.selection.blockSignals(True)
            self.selection.setValue(record.selection)
            self.selection.blockSignals(False)

    def _on_layer_removed(self, _: object) -> None:
        if self._layer is not None and self._layer not in self._viewer.layers:
            self._layer = None
        self._show_count()

    def _on_features_changed(self, _: object) -> None:
        record = record_of(self._layer) if self._layer is not None else None
        if record is not None and not self._settle.isActive():
            self._load_selection(record)  # an undone slider goes back, too
        self._show_count()

    def _show_count(self) -> None:
        record = record_of(self._layer) if self._layer is not None else None
        self.count.setVisible(record is not None)
        self.selection.setEnabled(record is not None and _can_select(record))
        self.existing.setVisible(self.existing.combo.layer() is not None)
        if self._layer is None or record is None:
            has_image = self.image.layer() is not None
            self.detail.setText(_WHAT_IT_DOES if has_image else _WELCOME)
            return
        n_cells = self._layer.nshapes
        self.count.setText(f"{n_cells:,} cell{'' if n_cells == 1 else 's'}")
        if not _can_select(record):
            self.detail.setText("Drawn by hand or taken over; the sliders act on cells that were found here.")
            return
        text = f"of {len(record.known):,} candidates"
        if np.isfinite(record.candidates.diameter_px):
            text += f"; a typical one is {record.candidates.diameter_px:.0f} pixels wide"
        self.detail.setText(text + ". The sliders act at once.")


def _build(record: CellRecord, image: Image, reply: Detected) -> tuple[Shapes, Image]:
    """Return the layer of the cells that the worker found; in a thread, since many outlines take a while."""
    with np.load(reply.candidates) as arrays:
        candidates = Cells.from_arrays(dict(arrays))
    record.candidates = Candidates.from_cells(candidates, reply.diameter_px)
    assert record.selection is not None
    return make_layer(record.candidates.select(record.selection), record, image), image


def _can_select(record: CellRecord) -> bool:
    """Return whether the sliders can decide: cells of a file or label image have no candidates or scores."""
    found = np.isfinite(record.known.detection_score).any()
    return bool(found) and bool(np.isfinite(record.candidates.diameter_px))

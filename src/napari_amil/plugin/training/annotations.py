"""Annotated images for the training of a detector: their list, and their weak points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem, QWidget

from napari_amil.plugin.layers.cell_layer import cell_layers, cells_of
from napari_amil.plugin.layers.planes import plane_at
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.window.follow import hear
from napari_amil.worker.protocol.messages import AnnotatedImage, CorrectedImage

_COLUMNS = ("Image", "Patient", "Cells", "By hand")
_TIPS = (
    "Ticked images are learned from.",
    "Whose image it is; old and new are compared on patients that were not learned from. Double-click it.",
    "Cells that it is learned from.",
    "Cells drawn, changed, deleted or left out by hand.",
)
_PATIENT = 1
_SETTLE_MS = 150
_HEIGHTS_PX = (80, 190)
_PART = {"validation": "held out", "training": "learned from"}
KEY = Qt.ItemDataRole.UserRole
FEW_IMAGES = 5


@dataclass(frozen=True)
class TrainingImage:
    """One image of the training.

    Parameters
    ----------
    name, patient
        Name of the image, and its patient.
    n_cells, n_by_hand
        Number of its cells, and of those that the user has corrected.
    n_excluded
        Cells that were left out, which count as none.
    layer
        The cell layer; None for an image of a folder.
    """

    name: str
    patient: str
    n_cells: int
    n_by_hand: int = 0
    n_excluded: int = 0
    layer: Shapes | None = None


class AnnotationList(QTreeWidget):
    """Open cell layers to tick, with their patients; or the images of a folder, to look at.

    Parameters
    ----------
    viewer
        Viewer with the layers.
    """

    changed = Signal()
    """Other images are ticked, or something about them has changed."""

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._ticked: dict[str, bool] = {}
        self._patients: dict[str, str] = {}
        self._shown: list[AnnotatedImage] | None = None
        self.setHeaderLabels(list(_COLUMNS))
        self.setAccessibleName("Images to learn from")
        self.setRootIsDecorated(False)
        self.setUniformRowHeights(True)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.header()
        if header is not None:
            header.setStretchLastSection(False)
            header.setMinimumSectionSize(30)
            header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        head = self.headerItem()
        for column, tip in enumerate(_TIPS):
            if head is not None:
                head.setToolTip(column, tip)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._settle.timeout.connect(self.reload)
        hear(self, viewer.layers.events.inserted, self._on_inserted)
        hear(self, viewer.layers.events.removed, self._on_changed)
        for layer in cell_layers(viewer.layers):
            hear(self, layer.events.features, self._on_changed)
        self.itemChanged.connect(self._on_item_changed)
        self.itemDoubleClicked.connect(self._on_double_clicked)
        self.reload()

    def show_folder(self, images: Sequence[AnnotatedImage] | None) -> None:
        """Show the images of an annotated folder ; None for the open layers again."""
        self._shown = None if images is None else list(images)
        self.reload()

    def learned(self) -> list[TrainingImage]:
        """Return the images that are ticked, or all of the folder."""
        if self._shown is not None:
            return [TrainingImage(row.image, row.patient, row.n_cells) for row in self._shown]
        return [known for known in self._open_layers() if self._is_ticked(known)]

    def reload(self) -> None:
        """Take up the open layers, or the folder, as they are now."""
        self.blockSignals(True)
        self.clear()
        rows = self._open_layers() if self._shown is None else []
        items = [self._layer_item(known) for known in rows]
        items += [_folder_item(row) for row in self._shown or []]
        self.addTopLevelItems(items)
        self.setHeaderHidden(not items)
        self.setColumnHidden(3, self._shown is not None and not items)
        head = self.headerItem()
        if head is not None:
            head.setText(3, _COLUMNS[3] if self._shown is None else "Part")
        for item in items:
            for column in (2, 3):
                item.setTextAlignment(
                    column, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                )
        wanted = int(1.5 * (len(items) + 2) * self.fontMetrics().lineSpacing())
        self.setFixedHeight(min(max(wanted, _HEIGHTS_PX[0]), _HEIGHTS_PX[1]))
        self.setVisible(bool(items))
        self.blockSignals(False)
        self.changed.emit()

    def _open_layers(self) -> list[TrainingImage]:
        found = []
        images = {str(layer.unique_id) for layer in self._viewer.layers if isinstance(layer, Image)}
        for layer in cell_layers(self._viewer.layers):
            record = record_of(layer)
            if record is None or record.image_id not in images:
                continue
            table = layer.features
            excluded = int(table["status"].eq("excluded").sum())
            by_hand = int(record.by_hand(table).sum()) + len(record.removed)
            patient = self._patients.get(str(layer.unique_id), Path(record.image_name).stem)
            found.append(
                TrainingImage(record.image_name, patient, layer.nshapes - excluded, by_hand, excluded, layer)
            )
        return found

    def _is_ticked(self, known: TrainingImage) -> bool:
        """Return True if an open layer is used: as the user ticked, else if it was corrected by hand."""
        return self._ticked.get(_key(known), known.n_by_hand > 0)

    def _layer_item(self, known: TrainingImage) -> QTreeWidgetItem:
        item = QTreeWidgetItem([known.name, known.patient, f"{known.n_cells:,}", f"{known.n_by_hand:,}"])
        item.setData(0, KEY, _key(known))
        item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEditable)
        item.setCheckState(0, Qt.CheckState.Checked if self._is_ticked(known) else Qt.CheckState.Unchecked)
        item.setToolTip(0, known.layer.name if known.layer is not None else "")
        return item

    def _on_inserted(self, event: Any) -> None:  # noqa: ANN401
        if record_of(event.value) is not None:
            hear(self, event.value.events.features, self._on_changed)
        self._settle.start()

    def _on_changed(self, _: Any) -> None:  # noqa: ANN401
        self._settle.start()

    def _on_item_changed(self, item: QTreeWidgetItem, column: int) -> None:
        key = item.data(0, KEY)
        if key is None:
            return
        if column == _PATIENT:
            self._patients[key] = item.text(_PATIENT).strip()
        else:
            self._ticked[key] = item.checkState(0) == Qt.CheckState.Checked
        self.changed.emit()

    def _on_double_clicked(self, item: QTreeWidgetItem, _: int) -> None:
        if item.data(0, KEY) is not None:
            self.editItem(item, _PATIENT)


def write_layer(known: TrainingImage, viewer: ViewerModel, folder: Path) -> CorrectedImage:
    """Write the image and the cells of an open layer for the worker, and say where they are.

    Raises
    ------
    AmilError
        If the values of the image have an unknown meaning.
    OSError
        If the files cannot be written.
    """
    layer = known.layer
    record = record_of(layer)
    assert layer is not None
    assert record is not None
    image = next(each for each in viewer.layers if str(each.unique_id) == record.image_id)
    place = plane_at(image, record.place).input(folder) | {"name": known.name}
    arrays: dict[str, Any] = dict(cells_of(layer).arrays())
    np.savez(folder / "cells.npz", **arrays)
    return CorrectedImage(**place, patient=known.patient, cells=folder / "cells.npz")


def _key(known: TrainingImage) -> str:
    return str(known.layer.unique_id) if known.layer is not None else known.name


def _folder_item(row: AnnotatedImage) -> QTreeWidgetItem:
    return QTreeWidgetItem([row.image, row.patient, f"{row.n_cells:,}", _PART[row.part]])


def refusal(learned: list[TrainingImage], *, is_folder: bool) -> str:
    """Return the reason why a training cannot start, with the remedy; empty if it can."""
    if not learned:
        if is_folder:
            return "The folder holds no annotated image; choose another."
        return "No annotated image yet: find the cells of a field, correct them, and tick the image here."
    if not sum(known.n_cells for known in learned):
        return "There is no cell in these images; outline some first."
    if len(learned) == 1:
        return (
            "One image cannot both teach and judge, so old and new could not be compared; add the corrected "
            "image of a second patient."
        )
    if len({known.patient for known in learned}) == 1:
        return (
            f"All images are of the patient '{learned[0].patient}', so none can be held out to compare old "
            "and new; add one of a second patient, or put the column Patient right."
        )
    return ""


def weak_points(learned: list[TrainingImage]) -> list[str]:
    """Return the weak points of a training, a sentence each."""
    message = []
    for known in learned:
        if known.layer is not None and not known.n_by_hand:
            message.append(
                f"'{known.name}': no cell was corrected by hand; tick it only if every outline is right."
            )
        if known.n_excluded:
            message.append(f"'{known.name}': {known.n_excluded} cells that are left out count as no cells.")
    if 1 < len(learned) < FEW_IMAGES:
        message.append(
            f"{len(learned)} images are few: the comparison rests on little. {FEW_IMAGES} to 50 make a "
            "dependable detector."
        )
    return message


def hold_out_words(learned: list[TrainingImage], share: float) -> str:
    """Return the plan of comparing old and new detector, in sentences."""
    n_patients, n_cells = len({known.patient for known in learned}), sum(known.n_cells for known in learned)
    message = f"{n_cells:,} cells in {len(learned)} images of {n_patients} patients. "
    if not share:
        return f"{message}Nothing is held out, so old and new cannot be compared."
    if len(learned) == 2:
        return (
            f"{message}It learns from one image; the other is held out and judges, the same for old and new."
        )
    n_judges = max(1, min(round(share * len(learned)), len(learned) - 1))
    return (
        f"{message}About {n_judges} of the images, of patients drawn at random, are held out and judge; it "
        "learns from the others."
    )

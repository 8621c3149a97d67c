"""Rows of thumbnails: the nearest control cells, and similar cells in the open images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Shapes
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_amil.core.base.class_names import display_name
from napari_amil.core.base.types import ABSTAIN, UNSEEN
from napari_amil.plugin.layers.cell_layer import cell_layers
from napari_amil.plugin.layers.crops import cell_picture
from napari_amil.plugin.layers.evidence import ControlCell, evidence_of
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.layers.selection import CellKey, find_cell
from napari_amil.plugin.reasons.thumbnail import Thumbnail
from napari_amil.plugin.window.theme import wrapped
from napari_amil.plugin.window.work import Task, Worker
from napari_amil.worker.protocol.messages import FindNearest, NearestCells

SHOWN = 5
_SIDE_PX = 46
_REST_MS = 250
"""So long a cell must be looked at before its likes are asked for."""
_KINDS = {ABSTAIN: "without a verdict", UNSEEN: UNSEEN}
"""Names of the verdicts that are no class."""
_APART = "Its look differs by {:.2g} (no unit; 0 is the same)."
_FEWER = "There are no more of them."
_ALIKE = "Cells whose look is nearest to that of this cell, by the numbers of the network (embedding)."


class PictureRow(QWidget):
    """A heading and up to five pictures."""

    pressed = Signal(object)
    """The cell of the picture, a `CellKey`."""

    def __init__(self, theme: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.heading = wrapped()
        self.heading.setToolTip(_ALIKE)
        self.pictures = [Thumbnail(_SIDE_PX, theme) for _ in range(SHOWN)]
        self._keys: list[CellKey | None] = [None] * SHOWN
        line = QHBoxLayout()
        line.setSpacing(4)
        line.setContentsMargins(5, 0, 0, 0)
        for number, picture in enumerate(self.pictures):
            picture.setObjectName(str(number))
            picture.clicked.connect(self._on_clicked)
            line.addWidget(picture)
        line.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.heading)
        layout.addLayout(line)

    def show_controls(self, heading: str, cells: Sequence[ControlCell]) -> None:
        """Show control cells, the nearest first; hidden without any."""
        self._begin(heading, bool(cells))
        for place, cell in zip(range(SHOWN), cells, strict=False):
            tip = f"Control cell of {cell.image}. {_APART.format(cell.distance)}"
            self._fill(place, cell.picture, None, tip)

    def show_cells(self, heading: str, viewer: ViewerModel, near: Sequence[Sequence[Any]]) -> None:
        """Show ``(image, cell_id, distance)`` of open images; cells that are gone are left out."""
        self._begin(heading, bool(near))
        place = 0
        for image, cell_id, distance in near:
            key = CellKey(str(image), int(cell_id))
            found = find_cell(viewer, key)
            picture = None if found is None else cell_picture(viewer.layers, *found)
            if picture is None or place == SHOWN:
                continue
            tip = f"Cell {key.cell_id} of {key.image}; press to go there. {_APART.format(distance)}"
            self._fill(place, picture.pixels, key, tip)
            place += 1

    def set_theme(self, theme: str) -> None:
        """Take the colours of another napari theme."""
        for picture in self.pictures:
            picture.set_theme(theme)

    def _begin(self, heading: str, is_filled: bool) -> None:
        self.heading.setText(heading)
        self.setVisible(is_filled)
        self._keys = [None] * SHOWN
        for picture in self.pictures:
            picture.show_picture(None)
            picture.setToolTip(_FEWER)

    def _fill(self, place: int, pixels: Any, key: CellKey | None, tip: str) -> None:  # noqa: ANN401
        picture = self.pictures[place]
        picture.show_picture(pixels)
        picture.setToolTip(tip)
        picture.setAccessibleName(tip)
        self._keys[place] = key

    def _on_clicked(self) -> None:
        sender = self.sender()
        key = self._keys[int(sender.objectName())] if isinstance(sender, QObject) else None
        if key is not None:
            self.pressed.emit(key)


class LikeCells(QWidget):
    """The cells of the open images that one cell is most like, one row for each verdict of their images."""

    pressed = Signal(object)
    shown = Signal()
    """After every answer of the worker."""

    def __init__(self, viewer: ViewerModel, worker: Worker, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._worker = viewer, worker
        self._wanted: CellKey | None = None
        self._task: Task | None = None
        self.rows: list[PictureRow] = []
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(6)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self._ask)

    def look_at(self, key: CellKey | None) -> None:
        """Ask for the likes of a cell as soon as it is looked at for a moment; None empties the rows."""
        if key == self._wanted and key is not None:
            return
        self._wanted = key
        for row in self.rows:
            row.hide()
        if key is None:
            self._rest.stop()
        else:
            self._rest.start()

    def set_theme(self, theme: str) -> None:
        """Take the colours of another napari theme."""
        for row in self.rows:
            row.set_theme(theme)

    def _ask(self) -> None:
        if self._wanted is None or self._task is not None:
            return
        groups = groups_of(cell_layers(self._viewer.layers))
        if not any(self._wanted.image in members for members in groups.values()):
            return
        self._task = self._worker.start(FindNearest(cell=self._wanted[:2], groups=groups))
        self._task.finished.connect(self._on_finished)
        self._task.errored.connect(self._on_ended)
        self._task.cancelled.connect(self._on_ended)

    def _on_ended(self, _: str = "") -> None:
        self._task = None

    def _on_finished(self, found: NearestCells) -> None:
        self._task = None
        if self._wanted is None:
            return
        if self._wanted[:2] != found.cell:
            self._ask()
            return
        groups = found.groups
        while len(self.rows) < len(groups):
            row = PictureRow(self._viewer.theme)
            row.pressed.connect(self.pressed)
            self.rows.append(row)
            self._layout.addWidget(row)
        for row, (name, near) in zip(self.rows, groups.items(), strict=False):
            kind = _KINDS.get(name) or f"called {display_name(name)}"
            row.show_cells(f"Most alike in images {kind}", self._viewer, near)
        self.shown.emit()


def groups_of(layers: Sequence[Shapes]) -> dict[str, dict[str, Path]]:
    """Return ``verdict -> image -> file`` of all scored layers."""
    groups: dict[str, dict[str, Path]] = {}
    for layer in layers:
        record, evidence = record_of(layer), evidence_of(layer)
        if record is None or evidence is None:
            continue
        bag = record.bag or {}
        verdict = str(bag.get("verdict") or bag.get("predicted", ABSTAIN))
        groups.setdefault(verdict, {})[record.image_name] = evidence.path
    return groups


def heading(text: str) -> QLabel:
    """Return the heading of a part of a panel."""
    label = QLabel(text)
    label.setStyleSheet("QLabel { font-weight: 600; }")
    return label

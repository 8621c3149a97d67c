"""Results of a fine-tuned detector: figures, and outlines on held-out images, old against new."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Layer, Shapes
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import read_json
from napari_amil.core.base.types import Cells
from napari_amil.core.exchange.geojson import read_geojson
from napari_amil.plugin.layers.crops import UNREADABLE, source_of_file
from napari_amil.plugin.layers.fast_shapes import fastest_triangulation
from napari_amil.plugin.layers.rows import PIXEL_EDGE
from napari_amil.plugin.window.follow import COMPANION
from napari_amil.plugin.window.theme import wrapped

HELD_OUT = "held-out.json"
_FIGURES = {
    "recall": ("Cells that are found", "Share of the annotated cells that are found (recall); 1 is best."),
    "precision": ("Found that are cells", "Share of what is found that is annotated (precision); 1 is best."),
    "count_error": ("Error of the count", "Mean difference in number over the annotated number; 0 is best."),
    "ap50": ("AP 50", "Average precision, boxes agreeing by half (COCO); 1 is best."),
    "ap50_95": ("AP 50:95", "Average precision, mean over ever closer boxes (COCO); decides what is kept."),
}
_HEADS = ("Old", "New")
OLD_COLOUR, NEW_COLOUR, ANNOTATED_COLOUR = "#d55e00", "#0072b2", "#009e73"
"""Vermilion, blue and green, which colour-blind eyes tell apart on a red smear too."""
_MARK = "napari_amil_comparison"
_OLD_WIDTH, _NEW_WIDTH = 1 / 8, 1 / 18
"""Widths as a share of a cell's side: the old outline is broader, so that both are seen where they agree."""


class DetectorResults(QWidget):
    """The table, a choice among the held-out images, and the buttons that compare and decide."""

    compareWanted = Signal(object)  # noqa: N815 - Qt's manner
    """The user wants to see a held-out image: its entry of ``held-out.json``, paths made whole."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._listed: list[dict[str, Any]] = []
        self.verdict = wrapped()
        self.table = QTableWidget(0, len(_HEADS))
        self.table.setHorizontalHeaderLabels(list(_HEADS))
        self.table.setAccessibleName("Old detector against new on held-out images")
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        header = self.table.horizontalHeader()
        if header is not None:
            header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.images = QComboBox()
        self.images.setAccessibleName("Held-out image")
        self.images.setToolTip("Images that the detector did not learn from.")
        self.images.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.images.setMinimumContentsLength(8)
        self.compare = QPushButton("Compare")
        self.compare.setToolTip("Open the image with what the old and the new detector find, as two layers.")
        self.of_image = wrapped()
        self.of_image.setToolTip("False: found where no annotated cell lies; boxes agree by half or more.")
        self._lay_out()
        self.images.currentIndexChanged.connect(self._show_image)
        self.compare.clicked.connect(self._on_compare)
        self.clear()

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        row = QHBoxLayout()
        row.addWidget(self.images, 1)
        row.addWidget(self.compare)
        layout.addWidget(self.verdict)
        layout.addWidget(self.table)
        layout.addLayout(row)
        layout.addWidget(self.of_image)

    def clear(self) -> None:
        """Show nothing."""
        self._listed = []
        self.images.clear()
        self.table.setRowCount(0)
        for widget in (self.verdict, self.table, self.images, self.compare, self.of_image):
            widget.hide()

    def show_folder(self, folder: Path) -> None:
        """Show the results in a run folder; missing ones are left out."""
        self.clear()
        metrics = _read(folder / "metrics.json")
        if not metrics:
            return
        self.verdict.setText(gain_words(metrics))
        self.verdict.show()
        if "before" in metrics:
            self._fill(metrics["before"], metrics["after"])
        for entry in (_read(folder / HELD_OUT) or {}).get("images", []):
            self._listed.append(_whole(entry, folder))
            self.images.addItem(entry["image"])
        for widget in (self.images, self.compare):
            widget.setVisible(bool(self._listed))

    def _fill(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        names = [name for name in _FIGURES if after.get(name) is not None]
        self.table.setRowCount(len(names))
        for line, name in enumerate(names):
            head = QTableWidgetItem(_FIGURES[name][0])
            head.setToolTip(_FIGURES[name][1])
            self.table.setVerticalHeaderItem(line, head)
            values = [before.get(name), after[name]]
            better = _better(name, values)
            for column, value in enumerate(values):
                item = QTableWidgetItem("" if value is None else f"{value:.3f}")
                item.setToolTip(_FIGURES[name][1])
                font = item.font()
                font.setBold(column == better)
                item.setFont(font)
                self.table.setItem(line, column, item)
        height = sum(self.table.rowHeight(line) for line in range(len(names)))
        head_px = self.table.horizontalHeader()
        top = head_px.sizeHint().height() if head_px is not None else 24
        self.table.setFixedHeight(height + top + 2 * self.table.frameWidth())
        self.table.show()

    def _show_image(self, row: int) -> None:
        entry = self._listed[row] if 0 <= row < len(self._listed) else None
        self.of_image.setText("" if entry is None else image_words(entry))
        self.of_image.setVisible(entry is not None)

    def _on_compare(self) -> None:
        row = self.images.currentIndex()
        if 0 <= row < len(self._listed):
            self.compareWanted.emit(self._listed[row])


def gain_words(metrics: dict[str, Any]) -> str:
    """Return the gain of the training in a sentence."""
    steps, best = int(metrics.get("steps", 0)), int(metrics.get("best_step", 0))
    ended = f"It was ended after {steps} steps. " if metrics.get("stopped") else ""
    if "before" not in metrics:
        return f"{ended}Nothing was held out, so nobody can say whether the new detector is better."
    if best == 0:
        return (
            f"{ended}No step was better than the old detector on the held-out images, so its weights were "
            "kept: new and old are the same."
        )
    return f"{ended}The new detector is that after step {best} of {steps}, the best on the held-out images."


def image_words(entry: dict[str, Any]) -> str:
    """Return the cells that the old and the new detector find in one image."""
    n_annotated = entry["n_annotated"]
    parts = []
    for name, words in (("before", "the old detector"), ("after", "the new one")):
        if name in entry:
            right, found = entry[name]["n_right"], entry[name]["n_found"]
            wrong = f" ({found - right} false)" if entry["complete"] else ""
            parts.append(f"{words} finds {right}{wrong}")
    return f"Of {n_annotated} annotated cells {', '.join(parts)}."


def _better(name: str, values: list[Any]) -> int:
    """Return the column of the better value, -1 where there is no difference."""
    old, new = (math.nan if value is None else float(value) for value in values)
    if math.isnan(old) or math.isnan(new) or old == new:
        return -1
    return int((new < old) if name == "count_error" else (new > old))


def _whole(entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return an entry whose files have whole paths."""
    made = entry | {"annotated": str(folder / entry["annotated"])}
    for name in ("before", "after"):
        if name in entry:
            made[name] = entry[name] | {"cells": str(folder / entry[name]["cells"])}
    return made


def _read(file: Path) -> Any:  # noqa: ANN401
    try:
        return read_json(file)
    except AmilError:
        return None


def show_comparison(viewer: ViewerModel, entry: dict[str, Any]) -> list[Layer]:
    """Open a held-out image with its outlines, in place of the one that was compared before.

    Parameters
    ----------
    viewer
        Where.
    entry
        Of ``held-out.json``, with whole paths.

    Raises
    ------
    AmilError
        If the image or the cells cannot be read.
    """
    try:
        pixels = source_of_file(Path(entry["path"]), int(entry["page"])).load()
    except UNREADABLE as error:
        raise AmilError(
            f"The image '{entry['path']}' cannot be opened ({error}); is it still where it was?"
        ) from error
    found = {
        name: read_geojson(Path(entry[name]["cells"])).cells for name in ("before", "after") if name in entry
    }
    annotated = read_geojson(Path(entry["annotated"])).cells
    end_comparison(viewer)
    image = viewer.add_image(pixels, name=f"held out: {entry['image']}", rgb=True)
    image.metadata[_MARK] = True
    side = _typical_side(annotated)
    made: list[Layer] = [image]
    for cells, name, colour, share in (
        (annotated, "annotated", ANNOTATED_COLOUR, _NEW_WIDTH),
        (found.get("before"), "found by the old", OLD_COLOUR, _OLD_WIDTH),
        (found.get("after"), "found by the new", NEW_COLOUR, _NEW_WIDTH),
    ):
        if cells is not None:
            layer = _outlines(cells, f"{name} ({len(cells)})", colour, share * side)
            layer.metadata = {_MARK: True, COMPANION: str(image.unique_id)}
            layer.visible = name != "annotated"
            made.append(viewer.add_layer(layer))
    viewer.reset_view()
    return made


def end_comparison(viewer: ViewerModel) -> None:
    """Take the layers of a comparison away."""
    for layer in [layer for layer in viewer.layers if _MARK in layer.metadata]:
        viewer.layers.remove(layer)


def _outlines(cells: Cells, name: str, colour: str, width: float) -> Shapes:
    shapes: Sequence[NDArray[np.float32]] = [outline - PIXEL_EDGE for outline in cells.outlines]
    with fastest_triangulation():
        return Shapes(
            list(shapes) or None,
            ndim=2,
            shape_type="polygon",
            edge_width=max(width, 0.75),
            edge_color=colour,
            face_color="transparent",
            name=name,
            opacity=0.9,
        )


def _typical_side(cells: Cells) -> float:
    sides = (cells.boxes[:, 2:] - cells.boxes[:, :2]).max(axis=1) if len(cells) else np.array([24.0])
    return float(np.median(sides))

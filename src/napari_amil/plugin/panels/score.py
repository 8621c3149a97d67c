"""The page Scores: score the cells of an image, colour them, and show the verdict on the sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any
from weakref import WeakSet

import numpy as np
import pandas as pd
from napari.layers import Image, Labels, Layer, Shapes
from napari.viewer import Viewer
from qtpy.QtWidgets import QFormLayout, QLabel

from napari_amil.core.base.class_names import display_name
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Cells
from napari_amil.plugin.colour.colour_choice import ColourChoice
from napari_amil.plugin.colour.hover import hover_of
from napari_amil.plugin.colour.legend import ProbabilityBars
from napari_amil.plugin.layers.cell_layer import (
    adopt_layer,
    cells_of,
    layer_of_labels,
    need_record,
    no_cells_in_words,
    set_scores,
)
from napari_amil.plugin.layers.evidence import Evidence, keep_evidence, read_evidence
from napari_amil.plugin.layers.planes import Plane, frame_elsewhere, shown_plane
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.layers.score_words import describe
from napari_amil.plugin.layers.selection import find_cell, selection_of
from napari_amil.plugin.layers.slides import is_searched_in_parts
from napari_amil.plugin.reasons.sample_verdict import RESEARCH, summary, verdict_words
from napari_amil.plugin.window.follow import COMPANION, LayerCombo, hear
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.model_choice import ModelChoice
from napari_amil.plugin.window.panel import ScoringPanel
from napari_amil.plugin.window.theme import sized, wrapped
from napari_amil.plugin.window.work import Worker, shared_worker
from napari_amil.worker.protocol.messages import Score, Scored

_NO_CELLS = "No cells yet: press Find and score on the page Smear, or open a file that holds cells."
_POINT_AT = "Point at a cell to read what is known about it."


class ScorePanel(ScoringPanel):
    """Cells, model, Score; then the colour scale, the verdict and the cell under the pointer."""

    def __init__(self, napari_viewer: Viewer, worker: Worker | None = None) -> None:
        super().__init__(napari_viewer)
        viewer = self._viewer
        self._worker = worker if worker is not None else shared_worker()
        self._heard: WeakSet[Layer] = WeakSet()
        self._build()
        self.hover = hover_of(viewer)
        self.hover.cellChanged.connect(self._on_cell_changed)
        self.selection = selection_of(viewer)
        self.selection.currentChanged.connect(self._on_current_changed)
        hear(self, viewer.events.theme, self._on_theme_changed)
        hear(self, viewer.layers.selection.events.active, self._on_active_changed)
        hear(self, viewer.dims.events.current_step, self._on_plane_changed)
        self.cells.layerChanged.connect(self._on_layer_changed)
        self.job.wanted.connect(self.run)
        self.job.finished.connect(self._on_finished)
        self.job.errored.connect(self.errored)
        self._on_layer_changed()

    def _build(self) -> None:
        theme = self._viewer.theme
        self.cells = LayerCombo(
            self._viewer,
            lambda layer: isinstance(layer, Shapes | Labels),
            "find cells first",
            "The layer of cells that is scored.",
        )
        self.cells.setAccessibleName("Cells")
        self.model = ModelChoice(self._worker)
        self.model.setToolTip("The model that scores the cells.")
        self.job = JobBar("Score cells", "Compare every cell with control cells, and judge the sample.")
        self.colours = ColourChoice(self._viewer)
        self.verdict_caption = sized(QLabel("This image looks most like"), 0.95)
        self.verdict = sized(wrapped(), 1.5, bold=True)
        self.bars = ProbabilityBars(theme)
        self.verdict_detail = wrapped()
        self.cell_text = wrapped(_POINT_AT)
        layout = self._scrolling_layout()
        choice = QFormLayout()
        choice.addRow("Cells", self.cells)
        choice.addRow("Model", self.model)
        layout.addLayout(choice)
        layout.addWidget(self.job)
        for widget in (self.verdict_caption, self.verdict, self.bars, self.verdict_detail):
            layout.addWidget(widget)
        layout.addWidget(self.colours)
        layout.addWidget(self.cell_text)
        layout.addStretch(1)
        self.cell_text.setMinimumHeight(4 * self.cell_text.fontMetrics().lineSpacing())

    def run(self) -> None:
        """Send image and cells to the worker; colours and verdict appear when it has answered."""
        if self.job.is_running:
            return
        try:
            layer, plane = self._subject()
            cells = cells_of(layer)
            if not len(cells):
                raise AmilError("There is no cell to score: find cells first, or draw some.")
            folder = self._worker.new_folder()
            image = plane.input(folder)
            arrays: dict[str, Any] = dict(cells.arrays())
            np.savez(folder / "cells.npz", **arrays)
            record = need_record(layer)
        except (AmilError, OSError) as error:
            self.job.say(str(error), "error")
            self.errored.emit(str(error))
            return
        request = Score(
            **image,
            cells=folder / "cells.npz",
            out=folder,
            settings=RunSettings(detection=record.detection),
            agreed_px=record.agreed_px,
            bundle=self.model.value(),
        )
        self.job.follow(self._worker.start(request), partial(_read, layer, cells, self.model.value()))

    def _subject(self) -> tuple[Shapes, Plane]:
        """Return the chosen cells and the plane they lie on; shapes of the user and labels become cells."""
        layer = self.cells.layer()
        if layer is None:
            raise AmilError(
                "There are no cells yet: press Find and score, or Find cells on the page Detection."
            )
        record = record_of(layer)
        image = _image_below(self._viewer.layers, layer, record.image_id if record else None)
        if is_searched_in_parts(image):
            raise AmilError(
                f"'{image.name}' is a whole slide; press Find cells on the page Detection, which takes a "
                "part of it, or use 'napari-amil slide'."
            )
        plane = shown_plane(self._viewer, image)
        if isinstance(layer, Labels):
            layer, labels = layer_of_labels(layer, plane), layer
            self._viewer.add_layer(layer)
            labels.visible = False
        elif record is None:
            if layer.ndim != len(plane.place) + 2:
                raise AmilError(
                    f"The layer '{layer.name}' has other axes than the image; draw on a new layer."
                )
            adopt_layer(layer, plane.record())
        elif plane.place != record.place:
            plane = plane.at(record.place)
        return layer, plane

    def _on_finished(self, answer: ScoringResult) -> None:
        layer, scores = answer.layer, answer.scores
        if layer not in self._viewer.layers:
            self.job.say("The cells were closed meanwhile, so that their scores are not shown.", "warning")
            return
        keep_evidence(layer, answer.evidence)
        same = unchanged_only(scores, answer.asked, cells_of(layer))
        complete = len(same) == len(scores)  # else the sum would not hold
        need_record(layer).bag = answer.bag if complete else None
        set_scores(layer, same)
        left_out = no_cells_in_words(layer)
        if left_out and not self.job.notice.text():
            self.job.say(left_out, "warning")
        self.colours.offer(layer)
        self._show_verdict()
        self.scored.emit(layer)

    def _on_layer_changed(self) -> None:
        layer = self.cells.layer()
        if layer is not None and layer not in self._heard:
            hear(self, layer.events.features, self._on_features_changed)
            self._heard.add(layer)
        self.colours.offer(layer)
        self._show_verdict()

    def _on_active_changed(self, _: object) -> None:
        active = self._viewer.layers.selection.active
        if isinstance(active, Shapes | Labels):
            self.cells.set_layer(active)

    def _on_features_changed(self, _: object) -> None:
        self.colours.refresh_bar()
        self._show_verdict()

    def _on_plane_changed(self, _: object) -> None:
        self._show_verdict()

    def _show_verdict(self) -> None:
        layer = self.cells.layer()
        record = record_of(layer) if layer is not None else None
        elsewhere = frame_elsewhere(self._viewer, record) if record is not None else ""
        bag = record.bag if record is not None and not elsewhere else None
        for widget in (self.verdict_caption, self.verdict, self.bars):
            widget.setVisible(bag is not None)
        self.cell_text.setVisible(record is not None)
        if bag is not None and layer is not None:
            words = verdict_words(bag)
            self.verdict_caption.setText(words.caption)
            self.verdict.setText(words.headline)
            self.bars.show_probabilities({display_name(name): p for name, p in bag["probability"].items()})
            why = words.reasons[:1] if bag.get("verdict", bag["predicted"]) != bag["predicted"] else ()
            self.verdict_detail.setText(" ".join([*why, *summary(bag, layer.features)[:2], RESEARCH]))
            self.verdict_detail.setToolTip("\n".join(words.reasons))
        elif elsewhere:
            self.verdict_detail.setText(elsewhere)
        elif record is not None and record.scores is not None:
            self.verdict_detail.setText(
                "The cells have changed since they were scored; score again for a verdict."
            )
        else:
            self.verdict_detail.setText(_NO_CELLS if layer is None else "")
        self.verdict_detail.setVisible(bool(self.verdict_detail.text()))

    def _on_cell_changed(self, layer: Shapes | None, row: int) -> None:
        """Describe the chosen cell, else the one under the pointer."""
        pinned = self.selection.current
        found = find_cell(self._viewer, pinned) if pinned is not None else None
        layer, row = found or (layer, row)
        if layer is None:
            self.cell_text.setText(_POINT_AT)
            self.colours.bar.mark(None)
            return
        values = layer.features.iloc[row].to_dict()
        self.cell_text.setText("\n".join(describe(values)))
        self.colours.mark(values)

    def _on_current_changed(self, _: object) -> None:
        self._on_cell_changed(None, -1)

    def _on_theme_changed(self, _: object) -> None:
        for widget in (self.bars, self.colours.bar):
            widget.set_theme(self._viewer.theme)


@dataclass(frozen=True, eq=False)
class ScoringResult:
    """Scores of the cells of a layer, with the cells as they were sent to the worker."""

    layer: Shapes
    asked: Cells
    scores: pd.DataFrame
    evidence: Evidence | None
    bag: dict[str, Any]


def _read(layer: Shapes, asked: Cells, bundle: str | None, reply: Scored) -> ScoringResult:
    """Read the files that the worker wrote; in a thread."""
    bag = {**asdict(reply.bag), "control": reply.control, "bundle": bundle}
    bag["verdict_settings"] = reply.verdict_settings.model_dump()
    bag |= {"look": reply.look, "looks_alike": reply.looks_alike}
    return ScoringResult(layer, asked, pd.read_csv(reply.scores), read_evidence(reply.evidence), bag)


def unchanged_only(scores: pd.DataFrame, asked: Cells, now: Cells) -> pd.DataFrame:
    """Return the scores of the cells that are still as they were when the scoring began."""
    rows = pd.Index(asked.cell_id).get_indexer(pd.Index(now.cell_id))
    is_same = (rows >= 0) & np.isclose(asked.boxes[rows], now.boxes, atol=1e-3).all(axis=1)
    same = now.cell_id[is_same]
    return scores[scores["cell_id"].isin(same)]


def _image_below(layers: Any, cells: Layer, image_id: str | None) -> Image:  # noqa: ANN401
    """Return the image that ``cells`` lie on: the one they were found on, else the topmost visible one."""
    images = [
        layer for layer in reversed(layers) if isinstance(layer, Image) and COMPANION not in layer.metadata
    ]
    belongs: Callable[[Image], bool] = lambda image: str(image.unique_id) == image_id  # noqa: E731
    if image_id is not None:
        found = next(filter(belongs, images), None)
        if found is None:
            raise AmilError(f"The image below '{cells.name}' was closed; open it and find its cells again.")
        return found
    if not images:
        raise AmilError("There is no image below these shapes; open the image first.")
    return next((image for image in images if image.visible), images[0])

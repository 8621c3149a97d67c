"""Deletion curves: the verdict while its most important cells are removed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from napari.components import ViewerModel
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_amil.plugin.layers.evidence import Evidence
from napari_amil.plugin.layers.score_words import per_cent
from napari_amil.plugin.reasons.charts import LineChart
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.theme import wrapped
from napari_amil.plugin.window.work import Worker
from napari_amil.worker.protocol.messages import DeleteCells, DeletionCurves

_TITLES = {
    "contribution": "largest contribution",
    "anomaly": "most unusual",
    "attention": "most attention",
    "random": "at random",
}
_SHARE = 0.2
"""Share of removed cells about which the sentence is."""


class DeletionTest(QWidget):
    """A button, and then the curves and what they mean."""

    def __init__(self, viewer: ViewerModel, worker: Worker, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._worker = worker
        self._evidence: Evidence | None = None
        self._asked: Path | None = None
        self._bundle: str | None = None
        self._known: dict[Path, DeletionCurves] = {}
        self.job = JobBar(
            "Remove cells to test this",
            "Remove the cells that a score points at, judge the rest again, and compare with as many random "
            "cells. A score that names true reasons lets the verdict fall faster than chance.",
        )
        self.chart = LineChart("cells removed, highest first", _TITLES["random"], viewer.theme)
        self.sentence = wrapped()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(6)
        for widget in (self.job, self.sentence, self.chart):
            layout.addWidget(widget)
        self.job.wanted.connect(self.run)
        self.job.finished.connect(self._on_finished)
        self.show_for(None, None)

    def show_for(self, evidence: Evidence | None, bundle: str | None) -> None:
        """Offer the test for one scored layer, and show its curves if they are known."""
        self._evidence, self._bundle = evidence, bundle
        self.setVisible(evidence is not None)
        result = None if evidence is None else self._known.get(evidence.path)
        for widget in (self.chart, self.sentence):
            widget.setVisible(result is not None)
        if result is not None:
            x, curves = result.shares, result.probability
            shown = {title: (x, curves[name]) for name, title in _TITLES.items() if name in curves}
            self.chart.show_curves(shown)
            self.sentence.setText(deletion_words(result))

    def run(self) -> None:
        """Send the cells of the layer to the worker."""
        if self._evidence is None or self.job.is_running:
            return
        self._asked = self._evidence.path
        request = DeleteCells(evidence=self._asked, bundle=self._bundle)
        self.job.follow(self._worker.start(request))

    def _on_finished(self, result: DeletionCurves) -> None:
        if self._asked is not None:
            self._known[self._asked] = result
        self.show_for(self._evidence, self._bundle)


def deletion_words(result: DeletionCurves) -> str:
    """Return the meaning of the curves in one sentence."""
    shares = np.asarray(result.shares)
    step = int(np.abs(shares - _SHARE).argmin())
    own, chance = result.probability["contribution"], result.probability["random"]
    return (
        f"Without the {per_cent(float(shares[step]))} of cells that contribute most, {result.predicted} "
        f"goes from {per_cent(own[0])} to {per_cent(own[step])}; without as many random cells to "
        f"{per_cent(chance[step])}."
    )

"""The Verdict panel: the model's verdict on a sample, and the cells it rests on."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from napari.layers import Shapes
from napari.viewer import Viewer
from qtpy.QtCore import QPointF, QTimer
from qtpy.QtGui import QPolygonF
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel

from napari_amil.core.base.class_names import class_sentence, display_name
from napari_amil.plugin.colour.legend import ProbabilityBars
from napari_amil.plugin.layers.crops import cell_picture
from napari_amil.plugin.layers.evidence import evidence_of
from napari_amil.plugin.layers.planes import frame_elsewhere
from napari_amil.plugin.layers.rows import record_of
from napari_amil.plugin.layers.selection import CellKey, find_cell, fly_to, keys_of, selection_of
from napari_amil.plugin.reasons.contributions import ClassContributions, ClassSums, contributions_by_class
from napari_amil.plugin.reasons.deletion import DeletionTest
from napari_amil.plugin.reasons.neighbour_rows import heading
from napari_amil.plugin.reasons.sample_verdict import RESEARCH, summary, verdict_words
from napari_amil.plugin.reasons.thumbnail import as_qimage
from napari_amil.plugin.reasons.waterfall import Waterfall, WaterfallStep
from napari_amil.plugin.window.follow import LayerCombo, hear
from napari_amil.plugin.window.panel import Panel
from napari_amil.plugin.window.theme import sized, wrapped
from napari_amil.plugin.window.work import Worker, shared_worker

_UNSCORED = "Press Find and score in Look at a smear; then the reasons for the verdict are shown here."
_STALE = "The cells have changed since they were scored; score again for a verdict."


class VerdictPanel(Panel):
    """Verdict, probabilities, the sum of contributions, and the deletion test of one sample."""

    TITLE = "Verdict"
    TERMS = ("Abstain", "Attention", "Contribution", "Novelty", "Pool weight", "Verdict")

    def __init__(self, napari_viewer: Viewer, worker: Worker | None = None) -> None:
        super().__init__(napari_viewer)
        viewer = self._viewer
        self._worker = worker if worker is not None else shared_worker()
        self._heard: WeakSet[Shapes] = WeakSet()
        self._later = QTimer(self)  # many changes at once are shown once
        self._later.setSingleShot(True)
        self._later.timeout.connect(self.refresh)
        self._build()
        self.selection = selection_of(viewer)
        self.selection.currentChanged.connect(self._on_current_changed)
        hear(self, viewer.events.theme, self._on_theme_changed)
        hear(self, viewer.layers.selection.events.active, self._on_active_changed)
        hear(self, viewer.dims.events.current_step, self._on_features_changed)
        self.cells.layerChanged.connect(self._on_layer_changed)
        self._on_layer_changed()

    def _build(self) -> None:
        theme = self._viewer.theme
        accepts = lambda layer: record_of(layer) is not None  # noqa: E731
        self.cells = LayerCombo(self._viewer, accepts, "score cells first")
        self.cells.setAccessibleName("Sample")
        self.caption = sized(QLabel(), 0.95)
        self.headline = sized(wrapped(), 1.5, bold=True)
        self.bars = ProbabilityBars(theme)
        self.reasons = wrapped()
        self.rests = heading("What it rests on")
        self.rests.setToolTip("The start value and what every cell adds give the score of a class, exactly.")
        self.chosen = QComboBox()
        self.chosen.setAccessibleName("Class whose cells are shown")
        self.sums = ClassSums(theme)
        self.waterfall = Waterfall(theme)
        self.deletion = DeletionTest(self._viewer, self._worker)
        layout = self._scrolling_layout()
        choice = QFormLayout()
        choice.addRow("Sample", self.cells)
        layout.addLayout(choice)
        for widget in (self.caption, self.headline, self.bars, self.reasons, self.rests, self.sums):
            layout.addWidget(widget)
        case = QFormLayout()
        self.case_label = QLabel("Cells for")
        case.addRow(self.case_label, self.chosen)
        layout.addLayout(case)
        layout.addWidget(self.waterfall)
        layout.addWidget(self.deletion)
        layout.addStretch(1)
        self.chosen.activated.connect(self._on_class_chosen)
        self.sums.classPressed.connect(self._on_class_pressed)
        self.waterfall.cellPressed.connect(self._on_cell_pressed)

    def refresh(self) -> None:
        """Show the sample as it stands now."""
        layer = self.cells.layer()
        record = record_of(layer) if layer is not None else None
        elsewhere = frame_elsewhere(self._viewer, record) if record is not None else ""
        bag = record.bag if record is not None and not elsewhere else None
        shown = (self.caption, self.headline, self.bars, self.rests, self.sums, self.waterfall)
        for widget in (*shown, self.case_label, self.chosen):
            widget.setVisible(bag is not None)
        if bag is None or layer is None:
            was_scored = record is not None and record.scores is not None
            self.reasons.setText(elsewhere or (_STALE if was_scored else _UNSCORED))
            self.deletion.show_for(None, None)
            return
        words = verdict_words(bag)
        self.caption.setText(words.caption)
        self.headline.setText(words.headline)
        self.headline.setToolTip(class_sentence(str(bag["predicted"])))
        self.bars.show_probabilities({display_name(name): p for name, p in bag["probability"].items()})
        found = " ".join(summary(bag, layer.features))
        self.reasons.setText("\n".join([*words.reasons, found, RESEARCH]))
        self._show_cases(layer, bag)
        self.deletion.show_for(evidence_of(layer), bag.get("bundle"))

    def _show_cases(self, layer: Shapes, bag: dict[str, Any]) -> None:
        cases = {case.name: case for case in contributions_by_class(bag, layer.features)}
        for widget in (self.rests, self.sums, self.case_label, self.chosen, self.waterfall):
            widget.setVisible(bool(cases))
        if not cases:
            return
        names = [self.chosen.itemText(row) for row in range(self.chosen.count())]
        if names != list(cases):
            wanted = self.chosen.currentText()
            self.chosen.clear()
            self.chosen.addItems(list(cases))
            if set(names) == set(cases):
                self.chosen.setCurrentText(wanted)
        case = cases[self.chosen.currentText()]
        self.sums.show_cases(list(cases.values()), case.name)
        total = WaterfallStep(f"score of {case.name}", case.logit)
        self.waterfall.show_steps(self._steps(layer, case), total)
        self.waterfall.mark(self.selection.current)

    def _steps(self, layer: Shapes, case: ClassContributions) -> list[WaterfallStep]:
        steps = [WaterfallStep("start value", case.bias)]
        keys = keys_of(layer, range(layer.nshapes))
        for row, value in case.top:
            picture = cell_picture(self._viewer.layers, layer, row)
            image = outline = None
            if picture is not None:
                image = as_qimage(picture.pixels)
                outline = QPolygonF([QPointF(float(x), float(y)) for y, x in picture.outline])
            steps.append(WaterfallStep(f"cell {keys[row].cell_id}", value, keys[row], image, outline))
        if case.n_others:
            steps.append(WaterfallStep(f"{case.n_others:,} other cells", case.others))
        return steps

    def _on_layer_changed(self) -> None:
        layer = self.cells.layer()
        if layer is not None and layer not in self._heard:
            hear(self, layer.events.features, self._on_features_changed)
            self._heard.add(layer)
        self.refresh()

    def _on_features_changed(self, _: object) -> None:
        self._later.start()

    def _on_active_changed(self, _: object) -> None:
        active = self._viewer.layers.selection.active
        if record_of(active) is not None:
            self.cells.set_layer(active)

    def _on_class_chosen(self, _: int) -> None:
        self.refresh()

    def _on_class_pressed(self, name: str) -> None:
        self.chosen.setCurrentText(name)
        self.refresh()

    def _on_cell_pressed(self, key: CellKey) -> None:
        self.selection.choose([key], key)
        found = find_cell(self._viewer, key)
        if found is not None:
            fly_to(self._viewer, *found)

    def _on_current_changed(self, key: CellKey | None) -> None:
        self.waterfall.mark(key)

    def _on_theme_changed(self, _: object) -> None:
        for widget in (self.bars, self.sums, self.waterfall, self.deletion.chart):
            widget.set_theme(self._viewer.theme)

"""The choice of a model: the starter model or a file, with its card in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QScrollArea, QSizePolicy, QVBoxLayout, QWidget

from napari_amil.core.base.class_names import display_name
from napari_amil.plugin.window.forms import Folded
from napari_amil.plugin.window.path_choice import ask_path
from napari_amil.plugin.window.theme import wrapped
from napari_amil.plugin.window.user_settings import (
    remember,
    remember_first,
    remembered,
    remembered_list,
)
from napari_amil.plugin.window.work import Worker
from napari_amil.worker.protocol.messages import Info, ModelCard

_LONGEST_LIST = 6
STARTER = "Starter model"
_FROM_FILE = "From a file …"
_OWN, _CHOSEN = "models/own", "models/chosen"
_OF_A_RUN = "bundle.safetensors"
"""Name of the model in every run folder, which tells nothing."""
_CARD_PX = 170
"""Height of the part of a card that is seen at once."""


def model_words(card: Mapping[str, Any], classes: Sequence[str]) -> str:
    """Return a few sentences about a model; what its card does not say is left out."""
    sentences = [_origin(card), _knowledge(card, classes), *_results(card), str(card.get("intended_use", ""))]
    return "\n".join(sentence for sentence in sentences if sentence)


def _origin(card: Mapping[str, Any]) -> str:
    return f"Made from {card['data']}." if card.get("data") else ""


def _knowledge(card: Mapping[str, Any], classes: Sequence[str]) -> str:
    if not classes:
        return "It finds cells and does not score them."
    scorer = card.get("scorer", {})
    control = scorer.get("control")
    text = f"It tells apart {', '.join(map(display_name, classes))}" + (
        f", and compares cells with {control}." if control else "."
    )
    patients, cells = scorer.get("n_patients"), scorer.get("n_cells")
    if isinstance(patients, Mapping) and cells:
        text += f" It learned from {cells:,} cells of {sum(patients.values()):,} patients."
    return text


def _results(card: Mapping[str, Any]) -> list[str]:
    results = card.get("results", {})
    scores, detection = results.get("scores", results), results.get("detection", {})
    lines = []
    if "accuracy" in scores and "n_bags" in scores:
        chance = (
            f" (mean over the classes {scores['balanced_accuracy']:.0%})"
            if "balanced_accuracy" in scores
            else ""
        )
        lines.append(f"Called rightly: {scores['accuracy']:.0%} of {scores['n_bags']:.0f} samples{chance}.")
    if "cell_auroc_anomaly" in scores:
        lines.append(f"Abnormal against normal cells: area under the ROC {scores['cell_auroc_anomaly']:.2f}.")
    if "recall" in detection and "precision" in detection:
        found, right = detection["recall"], detection["precision"]
        lines.append(f"Cells found: {found:.0%}; of what is found {right:.0%} are cells.")
    if lines and card.get("held_out"):
        lines.insert(0, f"Measured on {card['held_out'].rstrip('.')}.")
    return [line.replace("%", " %") for line in lines]


def card_text(card: Mapping[str, Any], indent: str = "") -> str:
    """Return a model card as lines that a person can read; long lists are cut short."""
    lines = []
    for name, value in card.items():
        label = str(name).replace("_", " ")
        label = f"number of {label[2:]}" if label.startswith("n ") else label
        label = label[:1].upper() + label[1:]
        if isinstance(value, dict):
            lines += [f"{indent}{label}:", card_text(value, indent + "   ")]
        elif isinstance(value, list):
            shown = ", ".join(_plain(part) for part in value[:_LONGEST_LIST])
            lines.append(f"{indent}{label}: {shown}{' …' if len(value) > _LONGEST_LIST else ''}")
        else:
            lines.append(f"{indent}{label}: {_plain(value)}")
    return "\n".join(line for line in lines if line)


def _plain(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class ModelChoice(QWidget):
    """A combo box of models and, folded below it, the card of the chosen one."""

    changed = Signal()

    def __init__(self, worker: Worker, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._worker = worker
        self._shown = 0
        self.combo = QComboBox()
        self.combo.addItem(STARTER, None)
        for path in remembered_list(_OWN):
            if Path(path).is_file():
                self._add(path, self.combo.count())
        self.combo.addItem(_FROM_FILE, _FROM_FILE)
        self.combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.combo.setMinimumContentsLength(8)
        self.combo.setToolTip("The networks and the control cells that cells are compared with.")
        self.combo.setAccessibleName("Model")
        self.card = wrapped()
        self.card.setTextFormat(Qt.TextFormat.PlainText)
        self.about = Folded("About this model")
        self.card.setAlignment(Qt.AlignmentFlag.AlignTop)
        as_wide_as_the_panel = self.card.sizePolicy()  # else as wide as its longest word
        as_wide_as_the_panel.setHorizontalPolicy(QSizePolicy.Policy.Ignored)
        self.card.setSizePolicy(as_wide_as_the_panel)
        page = QScrollArea()
        page.setWidget(self.card)
        page.setWidgetResizable(True)
        page.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        page.setFixedHeight(_CARD_PX)
        self.about.body.addWidget(page)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.combo)
        layout.addWidget(self.about)
        self._shown = max(self.combo.findData(remembered(_CHOSEN, "")), 0)
        self.combo.setCurrentIndex(self._shown)
        self.combo.activated.connect(self._on_activated)
        self.about.button.toggled.connect(self._on_about_toggled)

    def value(self) -> str | None:
        """Return the path of the chosen bundle, None for the starter."""
        path = self.combo.currentData()
        return None if path in (None, _FROM_FILE) else str(path)

    def setValue(self, path: str | None) -> None:  # noqa: N802 - Qt's manner
        """Choose the bundle at ``path``, None for the starter."""
        index = self.combo.findData(path) if path is not None else 0
        if index < 0:
            index = self.combo.count() - 1
            self._add(str(path), index)
        if path is not None:
            remember_first(_OWN, path)
        remember(_CHOSEN, path or "")
        self._shown = index
        self.combo.setCurrentIndex(index)
        self.card.clear()
        if self.about.button.isChecked():
            self._ask_card()
        self.changed.emit()

    def _add(self, path: str, place: int) -> None:
        self.combo.insertItem(place, _name(Path(path)), path)
        self.combo.setItemData(place, path, Qt.ItemDataRole.ToolTipRole)

    def _on_activated(self, index: int) -> None:
        if self.combo.itemData(index) != _FROM_FILE:
            self.setValue(self.combo.itemData(index))
            return
        self.combo.setCurrentIndex(self._shown)
        mode = QFileDialog.FileMode.ExistingFile
        ask_path(self, "Choose a model", self.setValue, mode=mode, files="Models (*.safetensors)")

    def _on_about_toggled(self, is_open: bool) -> None:
        if is_open and not self.card.text():
            self._ask_card()

    def _ask_card(self) -> None:
        self.card.setText("Reading …")
        task = self._worker.start(Info(bundle=self.value()))
        task.finished.connect(self._show_card)  # a method, which Qt lets go with the widget
        task.errored.connect(self.card.setText)
        task.cancelled.connect(self.card.clear)

    def _show_card(self, found: ModelCard) -> None:
        words = model_words(found.card, found.classes)
        self.card.setText(f"{words}\n\nThe whole card\n{card_text(found.card)}")


def _name(path: Path) -> str:
    """Return the name of a model: its file, or for files called alike the run that made it."""
    if path.name != _OF_A_RUN:
        return path.name
    return f"{path.parent.parent.name.removesuffix('-runs')} · {path.parent.name}"

"""The choices of a training: preset, settings, test and device."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_amil.core.base.settings import ModelSettings, RunSettings, TrainingSettings
from napari_amil.plugin.window.forms import PER_CENT, Folded, Label, SettingsForm

_SHOWN = {"max_epochs": "Epochs over bags", "cell_epochs": "Epochs over cells"}
_FOLDED: dict[str, Label] = {
    "calibration_folds": "Networks for p-values",
    "validation_fraction": ("Kept aside", PER_CENT),
    "learning_rate": "Step size, bags",
    "cell_learning_rate": "Step size, cells",
    "bags_per_step": "Bags in a step",
    "cells_per_step": "Cells in a step",
    "views": "Augmented views",
    "hypersphere_weight": "Pull on controls",
    "sic_decay": "Decay of the SIC loss",
    "refit_every": "Epochs between refits",
    "precision": "Bits",
    "seed": "Seed",
    "augment": "Augment cells",
    "balance_classes": "Balance classes",
    "train_encoder_on_bags": "Train the encoder on bags too",
}
_MODEL = {
    "encoder": "Encoder",
    "pooling": "Weights of cells",
    "distance_transform": "Distance enters as",
    "latent_dim": "Embedding from pixels",
    "measurement_columns": "Measurement networks",
    "bag_heads": "Heads",
    "dropout": "Dropout",
    "sic": "Learn from single cells",
}
_RUN = {"bag_level": "A bag is one"}
_TIPS = {
    "preset": "Settings to start from: 'recommended', or a published system for comparison.",
    "test": "A model is tested on patients that it never saw. Several folds cost a training each.",
    "device": "Where the networks compute.",
}
_FOLD_COUNTS = (3, 5)


class TrainingForm(QWidget):
    """Preset, the few settings that matter, the rest folded away; test and device."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._presets: dict[str, RunSettings] = {"recommended": RunSettings(preset="recommended")}
        self._is_test_chosen = False
        self._preset, self._test, self._device = (_combo(name) for name in ("preset", "test", "device"))
        self._preset.addItem("recommended", "recommended")
        self._device.addItem("Best available", "auto")
        self.training = SettingsForm(TrainingSettings, _SHOWN)
        self.details = SettingsForm(TrainingSettings, _FOLDED)
        self.model = SettingsForm(ModelSettings, _MODEL)
        self.run = SettingsForm(RunSettings, _RUN)
        rows = QFormLayout()
        rows.addRow("Start from", self._preset)
        rows.addRow("Test", self._test)
        rows.addRow("Compute on", self._device)
        self.more = Folded("More settings")
        for title, form in (("", self.run), ("Training", self.details), ("Model", self.model)):
            if title:
                self.more.body.addWidget(QLabel(title))
            self.more.body.addWidget(form)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(rows)
        layout.addWidget(self.training)
        layout.addWidget(self.more)
        self.offer_folds([])
        self.setValue(self._presets["recommended"])
        self._preset.currentIndexChanged.connect(self._on_preset_changed)
        self._test.activated.connect(self._on_test_chosen)
        for signal in (self._test.currentIndexChanged, self._device.currentIndexChanged):
            signal.connect(self.changed)
        for form in (self.training, self.details, self.model, self.run):
            form.valueChanged.connect(self.changed)

    def value(self) -> RunSettings:
        """Return the settings; the control class is as in the preset.

        Raises
        ------
        SettingsError
            If settings do not fit together.
        """
        few = {name: getattr(self.training.value(), name) for name in _SHOWN}
        rest = self.details.value().model_dump(mode="json")
        model = self.model.value().model_dump(mode="json")
        return self.run.value().changed({"training": rest | few, "model": model})

    def setValue(self, settings: RunSettings) -> None:  # noqa: N802 - Qt's manner
        """Show settings."""
        self.training.setValue(settings.training)
        self.details.setValue(settings.training)
        self.model.setValue(settings.model)
        self.run.setValue(settings)

    def preset(self) -> str:
        """Return the name of the preset."""
        return str(self._preset.currentData())

    def device(self) -> str:
        """Return the name of the device, as the command line knows it."""
        return str(self._device.currentData())

    def set_device(self, name: str) -> None:
        """Choose a device, if it is here."""
        self._device.setCurrentIndex(max(self._device.findData(name), 0))

    def hold_out_fold(self) -> int | None:
        """Return the one fold that is kept for the test."""
        kind, number = str(self._test.currentData()).split()
        return int(number) if kind == "fold" else None

    def n_folds(self) -> int | None:
        """Return into how many folds the patients are dealt."""
        kind, number = str(self._test.currentData()).split()
        return int(number) if kind == "folds" else None

    def set_test(self, kind: str, number: int) -> None:
        """Choose a test: ``none``, ``fold`` (which) or ``folds`` (how many)."""
        self._is_test_chosen = True
        self._test.setCurrentIndex(max(self._test.findData(f"{kind} {number}"), 0))

    def offer(self, presets: dict[str, RunSettings], devices: dict[str, str]) -> None:
        """Offer what the worker found: presets with their settings, devices with their names."""
        chosen, device = self.preset(), self.device()
        self._presets = dict(presets)
        for combo, names in ((self._preset, {n: n for n in presets}), (self._device, devices)):
            combo.blockSignals(True)
            combo.clear()
            if combo is self._device:
                combo.addItem(f"Best available: {next(iter(devices.values()))}", "auto")
            for name, words in names.items():
                combo.addItem(words, name)
            combo.setCurrentIndex(max(combo.findData(chosen if combo is self._preset else device), 0))
            combo.blockSignals(False)

    def offer_folds(self, folds: list[int]) -> None:
        """Offer the folds that the cohort brings; the choice stays, else the first is the test."""
        before = self._test.currentData() if self._is_test_chosen else None
        self._test.blockSignals(True)
        self._test.clear()
        self._test.addItem("None: train on all", "none 0")
        for fold in folds if len(folds) > 1 else []:
            self._test.addItem(f"On fold {fold} alone", f"fold {fold}")
        for count in [len(folds)] if len(folds) > 1 else _FOLD_COUNTS:
            self._test.addItem(f"{count} folds in turn", f"folds {count}")
        self._test.blockSignals(False)
        kept = self._test.findData(before) if before is not None else -1
        self._test.setCurrentIndex(kept if kept >= 0 else int(len(folds) > 1))

    def _on_test_chosen(self, _: int) -> None:
        self._is_test_chosen = True

    def _on_preset_changed(self, _: int) -> None:
        self.setValue(self._presets[self.preset()])
        self.changed.emit()


def _combo(name: str) -> QComboBox:
    combo = QComboBox()
    combo.setObjectName(name)
    combo.setAccessibleName(name)
    combo.setToolTip(_TIPS[name])
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(10)
    return combo

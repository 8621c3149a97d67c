"""The choices of a training: preset, settings, test and device."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_amil.core.base.settings import ModelSettings, RunSettings, TrainingSettings
from napari_amil.plugin.window.forms import PER_CENT, Folded, Label, SettingsForm
from napari_amil.plugin.window.theme import wrapped

_SHOWN = {"max_epochs": "Epochs over bags", "cell_epochs": "Epochs over cells"}
_FOLDED: dict[str, Label] = {
    "calibration_folds": "Further trainings, for p-values",
    "validation_fraction": ("Kept aside", PER_CENT),
    "learning_rate": "Step size, bags",
    "cell_learning_rate": "Step size, cells",
    "bags_per_step": "Bags in a step",
    "cells_per_step": "Cells in a step",
    "views": "Varied views of a cell",
    "hypersphere_weight": "Pull on controls",
    "sic_decay": "Single cells count, per epoch",
    "refit_every": "Epochs between looks at controls",
    "precision": "Bits of a number",
    "seed": "Seed",
    "augment": "Vary cells while training",
    "balance_classes": "Balance classes",
    "train_encoder_on_bags": "Bags train the encoder, too",
}
_MODEL: dict[str, Label] = {
    "encoder": "Encoder",
    "pooling": "Weights of cells",
    "distance_transform": "Distance enters as",
    "latent_dim": "Length of the embedding",
    "measurement_columns": "Networks for measurements",
    "bag_heads": "Judges of a bag",
    "dropout": ("Silenced while training", PER_CENT),
    "sic": "Learn from single cells",
}
_RUN = {"bag_level": "A bag is one"}
_CALLED = {
    "encoder": {
        "crop": "Pictures of the cells",
        "roi": "What the detector sees of them",
        "roi-attmil": "The same, as attMIL has it",
        "measurements": "Named measurements alone",
        "external": "A network of your own",
    },
    "pooling": {
        "attention": "Attention",
        "anomaly": "Anomaly",
        "both": "Attention and anomaly",
        "mean": "All cells alike",
    },
    "distance_transform": {
        "softmax": "Share of all (published code)",
        "raw": "Distance (paper)",
        "standardize": "Standard deviations",
        "minmax": "0 to 1 in each bag",
    },
    "precision": {"32": "32", "bf16-mixed": "16 (bfloat16, mixed)", "16-mixed": "16 (mixed)"},
}
"""Words for the choices whose names in settings files are codes."""
_TIPS = {
    "preset": "Settings to start from: 'recommended', or a published system for comparison.",
    "test": "A model is tested on patients that it never saw. Several folds cost a training each.",
    "device": "Where the networks compute.",
}
_FOLD_COUNTS = (3, 5)
_TEST_FOLDS = 3
"""Number of folds, one of them the test, into which patients are dealt if the cohort has none."""
_TOO_FEW = (
    "No test, since the class {} has {}: with at least {} in each class, a third of the patients would be "
    "kept for it."
)


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
        self.details = SettingsForm(TrainingSettings, _FOLDED, called=_CALLED)
        self.model = SettingsForm(ModelSettings, _MODEL, called=_CALLED)
        self.run = SettingsForm(RunSettings, _RUN)
        rows = QFormLayout()
        rows.addRow("Start from", self._preset)
        self.why_no_test = wrapped()
        rows.addRow("Test", self._test)
        rows.addRow(self.why_no_test)
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
        self.offer_folds([], {})
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
        return {"fold": int(number), "dealt": 0}.get(kind)

    def n_folds(self) -> int | None:
        """Return into how many folds the patients are dealt."""
        kind, number = str(self._test.currentData()).split()
        return int(number) if kind in {"folds", "dealt"} else None

    def set_test(self, kind: str, number: int) -> None:
        """Choose the test: ``none``, ``fold`` (which), ``folds`` (how many), ``dealt`` (one of how many)."""
        self._is_test_chosen = True
        self._test.setCurrentIndex(max(self._test.findData(f"{kind} {number}"), 0))

    def offer(self, presets: dict[str, RunSettings], devices: dict[str, str]) -> None:
        """Offer the worker's choices: presets with their settings, devices with their names."""
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

    def offer_folds(self, folds: list[int], patients: Mapping[str, int]) -> None:
        """Offer the folds that the cohort brings, or to deal its patients; by default one fold is the test.

        Parameters
        ----------
        folds
            Those of the cohort.
        patients
            Number in each class.
        """
        before = self._test.currentData() if self._is_test_chosen else None
        self._test.blockSignals(True)
        self._test.clear()
        self._test.addItem("None: train on all", "none 0")
        for fold in folds if len(folds) > 1 else []:
            self._test.addItem(f"On fold {fold} alone", f"fold {fold}")
        fewest = min(patients, key=lambda name: patients[name], default="")
        can_deal = len(folds) < 2 and patients.get(fewest, 0) >= _TEST_FOLDS
        if can_deal:
            self._test.addItem("On a third of the patients", f"dealt {_TEST_FOLDS}")
        for count in [len(folds)] if len(folds) > 1 else _FOLD_COUNTS:
            self._test.addItem(f"{count} folds in turn", f"folds {count}")
        self._test.blockSignals(False)
        kept = self._test.findData(before) if before is not None else -1
        self._test.setCurrentIndex(kept if kept >= 0 else int(len(folds) > 1 or can_deal))
        self._say_why_no_test("" if can_deal or len(folds) > 1 else fewest, patients)

    def _say_why_no_test(self, fewest: str, patients: Mapping[str, int]) -> None:
        n = patients.get(fewest, 0)
        words = f"{n} patient{'' if n == 1 else 's'} only"
        self.why_no_test.setText(_TOO_FEW.format(fewest, words, _TEST_FOLDS) if fewest else "")
        self.why_no_test.setVisible(bool(fewest))

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

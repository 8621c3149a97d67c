"""The choices of a training of networks that redraw control cells: networks, length and device."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QSpinBox, QVBoxLayout, QWidget

from napari_amil.plugin.window.forms import quiet_wheel
from napari_amil.plugin.window.theme import wrapped

NETWORKS = {
    "memae": (
        "With a memory (MemAE)",
        "Draws every cell from prototypes of control cells that it remembers.",
    ),
    "ra": ("Reversed (RA)", "Redraws a cell as if it were healthy; slow to train, sharp pictures."),
    "dpa": (
        "By impression (DPA)",
        "Compares cell and twin by what a network sees in them, not pixel by pixel.",
    ),
    "ganomaly": ("By code (GANomaly)", "Compares the codes of the cell and of its twin."),
    "fanogan": (
        "Generator (f-AnoGAN)",
        "Learns to make up control cells, then to find the one most like a cell.",
    ),
}
"""Name of each score, its title, and a sentence."""
_STEPS, _MOST_STEPS = 2000, 1_000_000
_WORDS = (
    "Networks learn to redraw control cells and nothing else. Of an unusual cell they draw the control cell "
    "that comes nearest, its twin; where both differ is where the cell is unusual. Their scores join a model "
    "as columns of their own."
)


class NetworksForm(QWidget):
    """Five networks to choose from, optimiser steps and the device."""

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(wrapped(_WORDS))
        self.boxes: dict[str, QCheckBox] = {}
        for name, (words, tip) in NETWORKS.items():
            box = QCheckBox(words)
            box.setToolTip(f"{tip} Column anomaly_{name}.")
            box.setChecked(not self.boxes)
            box.toggled.connect(self.changed)
            self.boxes[name] = box
            layout.addWidget(box)
        self.steps = QSpinBox()
        self.steps.setRange(1, _MOST_STEPS)
        self.steps.setValue(_STEPS)
        self.steps.setGroupSeparatorShown(True)
        self.steps.setAccessibleName("Optimiser steps")
        self.steps.setToolTip("Most optimiser steps of each training; each network is trained four times.")
        quiet_wheel(self.steps)
        self.device = QComboBox()
        self.device.setAccessibleName("Compute on")
        self.device.setToolTip("Where the networks compute.")
        self.device.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.device.setMinimumContentsLength(10)
        self.device.addItem("Best available", "auto")
        rows = QFormLayout()
        rows.addRow("Steps", self.steps)
        rows.addRow("Compute on", self.device)
        layout.addLayout(rows)

    def names(self) -> tuple[str, ...]:
        """Return the networks that are ticked."""
        return tuple(name for name, box in self.boxes.items() if box.isChecked())

    def offer(self, devices: Mapping[str, str]) -> None:
        """Offer devices, ``name -> words``."""
        for name, words in devices.items():
            if self.device.findData(name) < 0:
                self.device.addItem(words, name)

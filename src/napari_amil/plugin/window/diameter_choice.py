"""The typical diameter of a cell in pixels: automatic, given as a number, or measured on the image."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QWidget

from napari_amil.core.base.settings import DetectionSettings
from napari_amil.plugin.window.forms import Bounds, quiet_wheel

_AUTOMATIC = "automatic"
_TIP = (
    "Typical diameter of a red cell in pixels of the image. It sets the scale at which cells are found and "
    "scored. Automatic: it is estimated for each image."
)
_MEASURE_TIP = "Then click on one ordinary red cell in the image, or drag across it."


class DiameterChoice(QWidget):
    """A number of pixels, or automatic with what was found last, and a button that starts measuring."""

    valueChanged = Signal()  # noqa: N815 - Qt's manner
    measuring = Signal(bool)
    """The user wants to measure a cell on the image, or no longer."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        bounds = Bounds.from_field(DetectionSettings.model_fields["cell_diameter_px"], 0.1)
        self.box = QDoubleSpinBox()
        self.box.setDecimals(1)
        self.box.setRange(bounds.low - 1, bounds.high)
        self.box.setSuffix(" px")
        self.box.setSpecialValueText(_AUTOMATIC)
        self.box.setValue(self.box.minimum())
        self.box.setToolTip(_TIP)
        self.box.setAccessibleName("Typical diameter of a cell in pixels")
        self.box.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)  # else the text is cut off
        self.box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        quiet_wheel(self.box)
        self._least = bounds.low
        self.measure = QPushButton("Measure")
        self.measure.setCheckable(True)
        self.measure.setToolTip(_MEASURE_TIP)
        label = QLabel("Diameter")
        label.setToolTip(_TIP)
        label.setBuddy(self.box)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        layout.addWidget(label)
        layout.addWidget(self.box, 1)
        layout.addWidget(self.measure)
        self.box.valueChanged.connect(lambda _: self.valueChanged.emit())
        self.measure.toggled.connect(self.measuring)

    def value(self) -> float | None:
        """Return the diameter in pixels, None for automatic."""
        given = self.box.value()
        return None if given == self.box.minimum() else max(given, self._least)

    def setValue(self, diameter_px: float | None) -> None:  # noqa: N802 - Qt's manner
        """Show a diameter in pixels, or automatic for None."""
        self.box.setValue(self.box.minimum() if diameter_px is None else round(diameter_px, 1))

    def show_found(self, diameter_px: float | None) -> None:
        """Show the diameter that automatic has found in the image."""
        found = "" if diameter_px is None else f": {diameter_px:.0f} px"
        self.box.setSpecialValueText(f"{_AUTOMATIC}{found}")

"""The choice of the drawing style of cells: outlines, boxes or filled, smooth field, dots for many."""

from __future__ import annotations

from dataclasses import replace

from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QSlider, QVBoxLayout, QWidget

from napari_amil.plugin.colour.boxes_and_dots import MANY, N_OUTLINED
from napari_amil.plugin.colour.overlays import AUTOMATIC, DOTS, OUTLINES, overlays_of
from napari_amil.plugin.colour.scales import scales_of
from napari_amil.plugin.window.forms import Folded
from napari_amil.plugin.window.theme import wrapped

_STYLES = {
    "tinted": (
        "Outline and tint",
        "The outline in the colour of the score, the inside tinted where it is extreme.",
    ),
    "outline": ("Outline", "The outline alone, so that the cell inside is seen as it is."),
    "box": ("Box", "The box of each cell in place of its outline."),
    "filled": ("Filled", "A heatmap: the whole cell in the colour of the score."),
}
_MODES = {
    AUTOMATIC: ("automatic", f"Dots while more than {MANY:,} cells are in view, else outlines."),
    OUTLINES: ("always outlines", "Every cell with its outline, however slow that is."),
    DOTS: ("always dots", "Dots, and outlines of the selected and the most unusual cells."),
}


class StyleChoice(QWidget):
    """A menu of styles; folded, opacity, smooth field and the overview of many cells."""

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scales = scales_of(viewer)
        self._overlays = overlays_of(viewer)
        self.style_menu = _menu("Cells as", _STYLES)
        self.mode_menu = _menu("Many cells", _MODES)
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setRange(5, 100)
        self.opacity.setToolTip("Opacity of filled cells and of the smooth field, in per cent.")
        self.opacity.setAccessibleName("Opacity")
        self.field = QCheckBox("Smooth field")
        self.field.setToolTip(
            "Lay the mean score of the cells around each place over the image; nothing where none are."
        )
        self.reach = QDoubleSpinBox()
        self.reach.setRange(0.5, 20.0)
        self.reach.setSingleStep(0.5)
        self.reach.setSuffix(" cells")
        self.reach.setKeyboardTracking(False)
        self.reach.setToolTip("How far the field looks around: standard deviation in cell diameters.")
        self.reach.setAccessibleName("Reach of the smooth field")
        self.note = wrapped()
        self._lay_out()
        self._show()
        self.style_menu.activated.connect(self._on_style_chosen)
        self.opacity.valueChanged.connect(self._on_style_chosen)
        self.mode_menu.activated.connect(self._on_mode_chosen)
        self.field.toggled.connect(self._on_field_chosen)
        self.reach.valueChanged.connect(self._on_field_chosen)
        self._scales.styleChanged.connect(self._show)
        self._overlays.changed.connect(self._show)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        first = QFormLayout()
        first.setContentsMargins(0, 0, 0, 0)
        first.addRow("Cells as", self.style_menu)
        layout.addLayout(first)
        layout.addWidget(self.note)
        self.more = Folded("Heatmap and many cells")
        rows = QFormLayout()
        rows.addRow("Opacity", self.opacity)
        rows.addRow(self.field)
        rows.addRow("Reach", self.reach)
        rows.addRow("Many cells", self.mode_menu)
        self.more.body.addLayout(rows)
        layout.addWidget(self.more)

    def _show(self, _: object = None) -> None:
        """Show the present style, whoever changed it."""
        editors = (self.style_menu, self.mode_menu, self.opacity, self.field, self.reach)
        for editor in editors:
            editor.blockSignals(True)
        style, overlays = self._scales.style, self._overlays
        self.style_menu.setCurrentIndex(self.style_menu.findData(style.kind))
        self.mode_menu.setCurrentIndex(self.mode_menu.findData(overlays.mode))
        self.opacity.setValue(round(100 * style.opacity))
        self.field.setChecked(overlays.field_shown)
        self.reach.setValue(overlays.reach)
        for editor in editors:
            editor.blockSignals(False)
        self.opacity.setEnabled(style.kind == "filled" or overlays.field_shown)
        self.reach.setEnabled(overlays.field_shown)
        self.note.setText(
            f"{overlays.n_dotted:,} cells are shown as dots, the selected and the {N_OUTLINED} most unusual "
            "with their outlines; zoom in, or choose 'always outlines' below."
        )
        self.note.setVisible(overlays.n_dotted > 0)

    def _on_style_chosen(self, _: int) -> None:
        style = replace(
            self._scales.style, kind=self.style_menu.currentData(), opacity=self.opacity.value() / 100
        )
        self._scales.set_style(style)

    def _on_mode_chosen(self, _: int) -> None:
        self._overlays.set_mode(self.mode_menu.currentData())

    def _on_field_chosen(self, _: object) -> None:
        self._overlays.show_field(self.field.isChecked(), self.reach.value())


def _menu(name: str, choices: dict[str, tuple[str, str]]) -> QComboBox:
    menu = QComboBox()
    menu.setAccessibleName(name)
    menu.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    for data, (label, tip) in choices.items():
        menu.addItem(label, data)
        menu.setItemData(menu.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
    menu.setToolTip("\n".join(f"{label}: {tip}" for label, tip in choices.values()))
    return menu

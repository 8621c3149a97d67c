"""Buttons to the panels that come after the first look at a smear."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

_CELLS_FIRST = (
    ("Why this cell?", "Cell card", "Everything about the chosen cell, and the cells it is most like."),
    ("Why the verdict?", "Verdict", "What the verdict rests on, cell by cell."),
    ("Correct cells", "Correct cells", "Draw, delete and reshape cells, and undo it."),
    ("All cells", "Cell gallery", "All cells as thumbnails, sorted by any score."),
)
_ALWAYS = (
    ("My microscope", "Calibrate on my controls", "Compare with control smears of your own microscope."),
    ("Many samples", "Cohort", "Score a folder of samples and compare them."),
)


class NextSteps(QWidget):
    """One button for each next step; those that show cells are disabled while there are none."""

    wanted = Signal(str)
    """The title of the panel to open."""

    def __init__(self) -> None:
        super().__init__()
        self.buttons: list[QPushButton] = []
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for text, title, _ in (*_CELLS_FIRST, *_ALWAYS):
            button = QPushButton(text)
            button.setObjectName(title)
            button.clicked.connect(self._on_clicked)
            grid.addWidget(button, *divmod(len(self.buttons), 2))
            self.buttons.append(button)
        self.set_has_cells(False)

    def set_has_cells(self, has_cells: bool) -> None:
        """Enable the steps that can be taken, and say of the others what comes first."""
        for number, (_, title, tip) in enumerate((*_CELLS_FIRST, *_ALWAYS)):
            button = self.buttons[number]
            can_open = has_cells or number >= len(_CELLS_FIRST)
            button.setEnabled(can_open)
            button.setToolTip(f"{tip} Opens the panel {title}." if can_open else f"Find cells first. {tip}")

    def _on_clicked(self) -> None:
        sender = self.sender()
        if isinstance(sender, QPushButton):
            self.wanted.emit(sender.objectName())

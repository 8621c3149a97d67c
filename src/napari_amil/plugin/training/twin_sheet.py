"""The sheet of cells that a network redraws while it learns, as it grows in the run folder."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtGui import QPixmap, QResizeEvent
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_amil.plugin.window.theme import wrapped

SHEET = "twins.png"
_WORDS = (
    "Control cells, and how the network redraws them after so many epochs; red is where both differ. "
    "A network is good when the twins of control cells are sharp and little is red."
)
_NONE = "The first cells are redrawn after the first epoch."


class TwinSheet(QWidget):
    """The latest picture of a run folder, in the width of the panel."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._file, self._time = Path(), 0
        self._whole = QPixmap()
        self.words = wrapped()
        self.picture = QLabel()
        self.picture.setAccessibleName("Control cells redrawn by the network")
        self.picture.setMinimumWidth(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.words)
        layout.addWidget(self.picture)
        self.clear()

    def clear(self) -> None:
        """Show nothing."""
        self._file, self._time, self._whole = Path(), 0, QPixmap()
        self.picture.clear()
        self.words.setText(_NONE)

    def show_folder(self, folder: Path) -> None:
        """Show the picture of a run folder, if it is a new one."""
        file = folder / SHEET
        try:
            time = file.stat().st_mtime_ns
        except OSError:
            return
        if (file, time) != (self._file, self._time):
            whole = QPixmap(str(file))
            if not whole.isNull():
                self._file, self._time, self._whole = file, time, whole
                self.words.setText(_WORDS)
                self._fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:  # noqa: N802 - Qt's manner
        """Draw the picture in the new width."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        if not self._whole.isNull():
            width = min(max(self.width(), 1), self._whole.width())
            self.picture.setPixmap(
                self._whole.scaledToWidth(width, Qt.TransformationMode.SmoothTransformation)
            )

"""A line edit for a path: typed, chosen in a dialog, or dropped from the file manager."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLineEdit, QMenu, QToolButton, QWidget

from napari_amil.plugin.window.user_settings import last_folder, remember_folder

_WITH_ARROW_PX = 40
"""Width of a button beside whose dots the arrow of a menu stands."""


class PathChoice(QWidget):
    """The path of a folder or, where ``files`` names them, of a file.

    Parameters
    ----------
    title
        Of the dialog; also the accessible name.
    hint
        Placeholder of the empty line.
    files
        Filter such as ``"Cell lists (*.csv)"``; empty where only folders will do.
    """

    changed = Signal()
    """Another path was chosen, typed to its end, or dropped."""

    def __init__(self, title: str, hint: str, files: str = "", parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._title, self._files = title, files
        self._last = ""
        self.line = QLineEdit()
        self.line.setPlaceholderText(hint)
        self.line.setAccessibleName(title)
        self.line.setAcceptDrops(False)  # a drop is taken by the whole widget, as a path
        self.button = QToolButton()
        self.button.setText("…")
        self.button.setToolTip(title)
        self.button.setAccessibleName(f"{title} in a dialog")
        if files:
            menu = QMenu(self.button)
            menu.addAction("A folder …", self.choose_folder)
            menu.addAction("A file …", self.choose_file)
            self.button.setMenu(menu)
            self.button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
            self.button.setMinimumWidth(_WITH_ARROW_PX)
        else:
            self.button.clicked.connect(self.choose_folder)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.line, 1)
        layout.addWidget(self.button)
        self.setAcceptDrops(True)
        self.line.editingFinished.connect(self._on_edited)

    def value(self) -> Path | None:
        """Return the path, None where the line is empty."""
        text = self.line.text().strip()
        return Path(text).expanduser() if text else None

    def setValue(self, path: Path | str | None) -> None:  # noqa: N802 - Qt's manner
        """Show a path."""
        self.line.setText("" if path is None else str(path))
        self.line.setToolTip(self.line.text())
        self._on_edited()

    def choose_folder(self) -> None:
        """Open a dialog for a folder."""
        self._choose(QFileDialog.FileMode.Directory)

    def choose_file(self) -> None:
        """Open a dialog for a file."""
        self._choose(QFileDialog.FileMode.ExistingFile)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:  # noqa: N802
        """Take files and folders."""
        if event is not None and (data := event.mimeData()) is not None and data.hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:  # noqa: N802
        """Show the first of what was dropped."""
        data = event.mimeData() if event is not None else None
        paths = [url.toLocalFile() for url in data.urls()] if data is not None else []
        if event is not None and paths and paths[0]:
            event.acceptProposedAction()
            self.setValue(paths[0])

    def _choose(self, mode: QFileDialog.FileMode) -> None:
        ask_path(self, self._title, self.setValue, mode=mode, files=self._files, start=self.line.text())

    def _on_edited(self) -> None:
        text = self.line.text().strip()
        if text != self._last:
            self._last = text
            self.changed.emit()


def ask_path(
    parent: QWidget,
    title: str,
    take: Callable[[str], None],
    *,
    mode: QFileDialog.FileMode = QFileDialog.FileMode.Directory,
    files: str = "",
    start: str = "",
) -> QFileDialog:
    """Open a dialog that holds up nothing, and hand the chosen path to the method ``take``.

    It begins at ``start``, or where the last path was chosen; ``AnyFile`` asks for a file to write.
    """
    dialog = QFileDialog(parent, title, start or last_folder(), files)
    dialog.setFileMode(mode)
    if mode == QFileDialog.FileMode.AnyFile:
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
    dialog.fileSelected.connect(remember_folder)
    dialog.fileSelected.connect(take)
    dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
    dialog.setModal(False)
    dialog.show()
    return dialog

"""Source of the cells of a gallery: the open images, or a scored cohort."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from qtpy.QtCore import QMimeData, Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_amil.core.exchange.project import CELLS
from napari_amil.plugin.cohorts.cell_table import CellTable, read_cohort
from napari_amil.plugin.cohorts.scored_folder import ScoredFolder
from napari_amil.plugin.window.path_choice import ask_path
from napari_amil.plugin.window.theme import wrapped
from napari_amil.plugin.window.user_settings import remember_first, remembered_list

_OPEN = "Open images"
_CHOOSE = "Scored folder …"
_KEPT = "gallery/folders"


class GallerySource(QWidget):
    """A menu of sources; below it, where images of a cohort were not found, a button for their folder."""

    valueChanged = Signal()  # noqa: N815 - Qt's manner
    imagesChanged = Signal()  # noqa: N815

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._folder: Path | None = None
        self._images: Path | None = None
        self.menu = QComboBox()
        self.menu.setAccessibleName("Cells of")
        self.menu.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.menu.setToolTip(
            "The cells of all open images, or of a whole cohort: a folder that "
            "'napari-amil score COHORT --out FOLDER' has written. You may also drop such a folder here."
        )
        self.menu.addItem(_OPEN, None)
        for folder in remembered_list(_KEPT):
            if (Path(folder) / CELLS).is_file():
                self._add(Path(folder), self.menu.count())
        self.menu.addItem(_CHOOSE, None)
        self.lost = wrapped()
        self.choose_images = QPushButton("Where are its images? …")
        self.choose_images.setToolTip("The folder that the names in the column 'image' are relative to.")
        self.setAcceptDrops(True)
        self._lay_out()
        self.show_images(None, asked=False)
        self.menu.activated.connect(self._on_activated)
        self.choose_images.clicked.connect(self._on_choose_images)

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(QLabel("Cells of"))
        row.addWidget(self.menu, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(row)
        layout.addWidget(self.lost)
        layout.addWidget(self.choose_images)

    def value(self) -> Path | None:
        """Return the scored folder; None stands for the open images."""
        return self._folder

    def setValue(self, folder: Path | None) -> None:  # noqa: N802 - Qt's manner
        """Show the cells of a scored folder, or of the open images; the folder is read each time."""
        self._folder = folder
        self.show_images(None, asked=False)
        if folder is not None:
            if self.menu.findData(str(folder)) < 0:
                self._add(folder, 1)
            remember_first(_KEPT, str(folder))
        self.menu.setCurrentIndex(0 if folder is None else self.menu.findData(str(folder)))
        self.valueChanged.emit()

    def _add(self, folder: Path, place: int) -> None:
        self.menu.insertItem(place, folder.name or str(folder), str(folder))
        self.menu.setItemData(place, str(folder), Qt.ItemDataRole.ToolTipRole)

    def reader(self) -> Callable[[], tuple[ScoredFolder, CellTable]]:
        """Return a function that reads the chosen folder and its cells, in any thread."""
        if self._folder is None:
            raise ValueError("No folder is chosen.")
        return partial(read_cohort, self._folder)

    def images(self) -> Path | None:
        """Return the folder that the names of images are relative to; None while it is not known."""
        return self._images

    def show_images(self, images: Path | None, *, asked: bool) -> None:
        """Take over the folder of the images; if it is unknown and was ``asked`` for, offer to choose it."""
        self._images = images
        is_lost = asked and images is None
        self.lost.setText("The images of this cohort are not beside its tables." if is_lost else "")
        for widget in (self.lost, self.choose_images):
            widget.setVisible(is_lost)

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:  # noqa: N802
        """Take a folder, or the table in it."""
        if event is not None and _dropped(event.mimeData()) is not None:
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:  # noqa: N802
        """Show the cells of the folder."""
        folder = _dropped(event.mimeData()) if event is not None else None
        if folder is not None:
            self.setValue(folder)

    def _on_activated(self, index: int) -> None:
        data = self.menu.itemData(index)
        if self.menu.itemText(index) != _CHOOSE or data is not None:
            self.setValue(Path(data) if data is not None else None)
            return
        before = self._folder
        self.menu.setCurrentIndex(0 if before is None else self.menu.findData(str(before)))
        ask_path(self, "Folder that napari-amil score has written", self._take)

    def _take(self, folder: str) -> None:
        self.setValue(Path(folder))

    def _on_choose_images(self) -> None:
        start = str(self._folder.parent) if self._folder is not None else ""
        ask_path(self, "Folder of the images", self._take_images, start=start)

    def _take_images(self, folder: str) -> None:
        self.show_images(Path(folder), asked=True)
        self.imagesChanged.emit()


def _dropped(data: QMimeData | None) -> Path | None:
    """Return the folder that is being dropped, None for anything else."""
    urls = data.urls() if data is not None else []
    path = Path(urls[0].toLocalFile()) if len(urls) == 1 else None
    if path is not None and path.name == CELLS:
        path = path.parent
    return path if path is not None and (path / CELLS).is_file() else None

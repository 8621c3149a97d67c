"""Row of a panel that offers to open the images of cells whose images are not open."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from napari.components import ViewerModel
from napari.layers import Shapes
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_amil.plugin.cohorts.scored_folder import file_of, find_images_of
from napari_amil.plugin.layers.cell_layer import cell_layers, need_record
from napari_amil.plugin.layers.image_identity import beside_of
from napari_amil.plugin.window.path_choice import ask_path
from napari_amil.plugin.window.theme import NOTICE, wrapped

MOST = 12
"""At most so many images are opened by one press."""
_NAMED = 2


class OpenBar(QWidget):
    """Says which cells have no open image, and opens their images; hidden while all have one.

    The images are looked for where the scored folder says, beside the file of the cells and above it; where
    they are not, their folder is asked for.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.text = wrapped()
        self.text.setStyleSheet(f"QLabel {{ {NOTICE['warning']} }}")
        self.button = QPushButton()
        self.button.setToolTip("Open the images that these cells lie on; each gets its cells at once.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        layout.addWidget(self.button)
        self.button.clicked.connect(self.open_images)
        self.hide()

    def look(self) -> None:
        """Offer the images of all cells that have none open."""
        names = [need_record(layer).image_name for layer in self._waiting()]
        self.setVisible(bool(names))
        if not names:
            return
        shown = ", ".join(names[:_NAMED]) + (
            f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        )
        self.text.setText(f"The file of cells tells of images that are not open: {shown}.")
        n = min(len(names), MOST)
        some = "it" if len(names) == 1 else "them" if n == len(names) else f"{n} of them"
        self.button.setText(f"Open {some}")

    def open_images(self) -> None:
        """Open the images where they are found; else ask for their folder."""
        waiting = self._waiting()[:MOST]
        for beside, layers in groupby(waiting, beside_of):
            names = [need_record(layer).image_name for layer in layers]
            root = find_images_of(beside, names) if beside is not None else None
            if root is None:
                self._ask(names)
                return
            self._open(root, names)

    def _ask(self, names: list[str]) -> None:
        ask_path(self, f"Folder of {names[0]}", lambda folder: self._open(Path(folder), names))

    def _open(self, root: Path, names: list[str]) -> None:
        """Open some images below a folder, and list the missing ones."""
        lost = []
        for path in dict.fromkeys(file_of(root, name)[0] for name in names):
            try:
                self._viewer.open(str(path), plugin="napari")
            except (OSError, ValueError, TypeError, RuntimeError, SyntaxError, LookupError):
                lost.append(path.name)
        self.look()
        if lost:
            self.text.setText(f"Not opened, since they are not in '{root}' or no images: {', '.join(lost)}.")

    def _waiting(self) -> list[Shapes]:
        """Return the cell layers that came from a file and have no image yet."""
        return [layer for layer in cell_layers(self._viewer.layers) if not need_record(layer).image_id]

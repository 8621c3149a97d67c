"""The search for what no class explains, step by step: ``python docs/explore_window.py OUT SCORED...``.

Each SCORED is a scored folder with samples of a class that the training never saw, such as ``scored-hs_like``
of ``napari-amil unseen``; it is copied, and nothing in it changes. In a real window of 1366 x 768 pixels the
panels are used as a person uses them: the samples in the order of their novelty, the clusters of their
unusual cells, the first cluster named as a class, the distributions. OUT gets a picture of every
step (``explore-<class>-<step>.png``) and one sheet of all for each class (``explore-<class>.jpg``).
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from napari.settings import get_settings
from panel_windows import Window
from PIL import Image, ImageDraw, ImageFont
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QDockWidget

from napari_amil.plugin.cohorts.cell_strip import CellStrip
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.entry.demo import some_display
from napari_amil.plugin.window.docks import dock_of, open_panel

STEPS = {
    "novelty": "1  Samples in the order of their novelty: the first is open, its most unusual cell is shown",
    "clusters": "2  Unusual cells that look alike: the first cluster on the map, and in its image",
    "naming": "3  The cluster has a name, and is a class of the next training",
    "distributions": "4  The distance from control cells, class by class, with the band of the controls",
}
NORMAL = "normal"
_SHEET_PX, _CAPTION_PX, _QUALITY = (1092, 614), 30, 80


class Exploration(Window):
    """The window with the map on the left and the Explore panel on the right."""

    def __init__(self, scored: Path, *, is_explained: bool = False) -> None:
        super().__init__(None, scored)
        self.is_explained = is_explained
        self.map = open_panel(self.viewer, "Embedding map")
        self.panel = open_panel(self.viewer, "Explore")
        self.rest(0.5)  # until it is a tab beside the map, which then goes to the left alone
        map_dock, main = dock_of(self.map), self.panel.window()
        for other in main.findChildren(QDockWidget):
            if other.windowTitle() in {"layer list", "layer controls"}:
                other.hide()
        main.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, map_dock)
        self.panel.open_folder(str(scored))
        self.wait(lambda: open_results_of(self.viewer).project is not None)
        self.map.colour.setCurrentIndex(max(self.map.colour.findData("cell_type"), 0))
        self.page = self.panel.clusters

    def novelty(self) -> None:
        """Open the most novel sample."""
        self.panel.pages.setCurrentWidget(self.panel.novelty)
        view = self.panel.novelty.view
        index = self.panel.novelty.rows.index(0, 0)
        view.setCurrentIndex(index)
        view.clicked.emit(index)
        self._settle(self.panel.novelty.cells)

    def clusters(self) -> None:
        """Find the clusters of the samples that no class explains, or of all, and click the first."""
        self.panel.pages.setCurrentWidget(self.page)
        self.page.samples.setCurrentIndex(0 if self.is_explained else 1)
        heard: list[object] = []
        self.page.job.finished.connect(heard.append)
        self.page.job.button.click()
        self.wait(lambda: bool(heard))
        index = self.page.rows.index(0, 0)
        self.page.view.setCurrentIndex(index)
        self.page.view.clicked.emit(index)
        self._settle(self.page.cells)

    def naming(self) -> None:
        """Make the cluster a class, called after the type that most of its abnormal cells truly are."""
        cells = open_results_of(self.viewer).project.cells.iloc[self.page.cells.rows]
        types = cells["cell_type"][cells["cell_type"] != NORMAL] if "cell_type" in cells else cells[:0]
        name = str(types.mode().iloc[0]) if len(types) else "new class"
        heard: list[object] = []
        self.page.naming.finished.connect(heard.append)
        self.page.naming.errored.connect(heard.append)
        self.page.name.setText(name)
        self.page.naming.button.click()
        self.wait(lambda: bool(heard))
        self._settle(self.page.cells)

    def distributions(self) -> None:
        """Show the distance from control cells of every class."""
        page = self.panel.distributions
        self.panel.pages.setCurrentWidget(page)
        page.score.setCurrentIndex(max(page.score.findData("anomaly"), 0))
        self.rest(1.0)

    def _settle(self, strip: CellStrip) -> None:
        """Wait for the thumbnails that can be seen, and for the image."""
        self.rest(1.0)
        tile = strip._tile  # noqa: SLF001
        self.wait(lambda: all(tile(p).picture or tile(p).missing for p in strip.grid.visible()))
        self.rest(1.0)


def sheet(pictures: Sequence[Path], target: Path) -> None:
    """Save the pictures of the steps two by two, each below a line that says what was done."""
    width, height = _SHEET_PX
    whole = Image.new("RGB", (2 * width, 2 * (height + _CAPTION_PX)), "white")
    drawing = ImageDraw.Draw(whole)
    for number, (picture, words) in enumerate(zip(pictures, STEPS.values(), strict=True)):
        x, y = number % 2 * width, number // 2 * (height + _CAPTION_PX)
        drawing.text((x + 8, y + 7), words, "black", ImageFont.load_default(17))
        with Image.open(picture) as shot:
            whole.paste(shot.convert("RGB").resize(_SHEET_PX, Image.Resampling.LANCZOS), (x, y + _CAPTION_PX))
    whole.save(target, quality=_QUALITY, optimize=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Save the pictures of every folder that is named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("scored", type=Path, nargs="+", help="scored folders of classes that were left out")
    parser.add_argument("--theme", default="dark")
    parser.add_argument("--all-samples", action="store_true", help="of known classes, too")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, some_display(2732, 1536):
        get_settings(Path(folder, "settings.yaml"))  # the settings of whoever runs this stay as they are
        os.environ["XDG_CONFIG_HOME"] = folder
        for scored in options.scored:
            copy = Path(folder, scored.name)
            shutil.copytree(scored, copy)
            name = scored.name.removeprefix("scored-")
            window = Exploration(copy, is_explained=options.all_samples)
            window.viewer.theme = options.theme
            pictures = []
            for step in STEPS:
                getattr(window, step)()
                pictures.append(options.out / f"explore-{name}-{step}.png")
                window.take(pictures[-1])
            sheet(pictures, options.out / f"explore-{name}.jpg")
            window.close()
            QApplication.processEvents()
    return 0


if __name__ == "__main__":
    sys.exit(main())

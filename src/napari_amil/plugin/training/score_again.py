"""The panels that use a model, and the scoring of several cell layers through the one that the user sees."""

from __future__ import annotations

from typing import Any, TypeVar

from napari.components import ViewerModel
from napari.layers import Shapes
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QApplication, QWidget

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.panels.score import ScorePanel

_WATCH_MS = 100
_TITLES = {"ScorePanel": "Score cells", "DetectPanel": "Detect cells", "TrainPanel": "Train a model"}
"""What the manifest calls the panels."""
P = TypeVar("P", bound=QWidget)


def panels_in_use(widget: QWidget, viewer: ViewerModel, kind: type[P]) -> list[P]:
    """Return the panels of a kind of the window that ``widget`` is in; one is opened if there is none.

    Raises
    ------
    AmilError
        If there is no window to open one in.
    """
    found, name = open_panels(widget, kind), _TITLES[kind.__name__]
    shell = getattr(viewer, "window", None)
    if not found and shell is not None:
        found = [shell.add_plugin_dock_widget("napari-amil", name, tabify=True)[1]]
    if not found:
        raise AmilError(f"Open the {name.split()[0]} panel first: Plugins, AMIL blood smears, {name}.")
    return found


def open_panels(widget: QWidget, kind: type[P]) -> list[P]:
    """Return the open panels of a kind, those of the window that ``widget`` is in before all others."""
    window: Any = widget.window()
    found: list[P] = window.findChildren(kind)
    if not found:  # one of the two may float in a window of its own
        found = [panel for top in QApplication.topLevelWidgets() for panel in top.findChildren(kind)]
    return found


class Rescoring(QObject):
    """Presses Score for every layer.

    Parameters
    ----------
    panel
        The Score panel, with the wanted model chosen.
    layers
        Cell layers of open images.
    parent
        Owner in the sense of Qt.
    """

    finished = Signal(int, str)
    """How many were scored, and what failed."""

    def __init__(self, panel: ScorePanel, layers: list[Shapes], parent: QObject) -> None:
        super().__init__(parent)
        self._panel = panel
        self._left = list(layers)
        self._n_scored = 0
        self._failures: list[str] = []
        self._is_waiting = False
        panel.scored.connect(self._on_scored)
        panel.errored.connect(self._on_errored)
        self._watch = QTimer(self)
        self._watch.setInterval(_WATCH_MS)
        self._watch.timeout.connect(self._on_watch)

    def start(self) -> None:
        """Score the first layer, and the others after it."""
        self._watch.start()
        self._next()

    def _next(self) -> None:
        """Score the next layer, or end."""
        if not self._left:
            self._end()
        elif not self._panel.job.is_running:  # else the user's own scoring is awaited
            self._is_waiting = True
            self._panel.cells.set_layer(self._left.pop(0))
            self._panel.run()

    def _end(self) -> None:
        self._watch.stop()
        self._panel.scored.disconnect(self._on_scored)
        self._panel.errored.disconnect(self._on_errored)
        self.finished.emit(self._n_scored, " ".join(self._failures))
        self.deleteLater()

    def _on_scored(self, _: Shapes) -> None:
        self._n_scored += self._is_waiting
        self._is_waiting = False

    def _on_errored(self, message: str) -> None:
        self._failures.append(message)
        self._is_waiting = False

    def _on_watch(self) -> None:
        """Go on when a layer is done; a scoring that was cancelled ends the rest as well."""
        if self._panel.job.is_running:
            return
        if self._is_waiting:
            self._left = []
            self._failures.append("The rest was cancelled.")
        self._next()

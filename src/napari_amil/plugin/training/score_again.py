"""Score several cell layers one after the other, through the open Score panel."""

from __future__ import annotations

from napari.layers import Shapes
from qtpy.QtCore import QObject, QTimer, Signal

from napari_amil.plugin.window.panel import ScoringPanel

_WATCH_MS = 100


class LayerScoring(QObject):
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

    def __init__(self, panel: ScoringPanel, layers: list[Shapes], parent: QObject) -> None:
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

"""The report of the open results: written in the background, opened in a browser."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QPushButton, QWidget

from napari_amil.plugin.cohorts.project import OpenProject
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.work import Worker
from napari_amil.worker.protocol.messages import Report, Reported

_TIP = (
    "Pages for a browser, which need no other file: the cohort, and every sample with pictures and plain "
    "words. They are kept in the folder 'report' beside the scores."
)


class ReportBar(JobBar):
    """Write report, Cancel, Open report; shown while results are open."""

    def __init__(self, state: OpenProject, worker: Worker, parent: QWidget | None = None) -> None:
        super().__init__("Write report", _TIP, parent)
        self._state, self._worker = state, worker
        self.page: Path | None = None
        self.browse = QPushButton("Open report")
        self.browse.setToolTip("Show the report in the browser.")
        layout = self.layout()
        assert layout is not None
        layout.addWidget(self.browse)
        self.wanted.connect(self.run)
        self.finished.connect(self._on_written)
        self.browse.clicked.connect(self._on_browse)
        state.changed.connect(self._on_opened)
        self._on_opened()

    def run(self) -> None:
        """Write the pages of the open results."""
        if not self.is_running and self._state.folder is not None:
            self.follow(self._worker.start(Report(folder=self._state.folder)))

    def _on_opened(self) -> None:
        folder = self._state.folder
        self.setVisible(folder is not None)
        self.page = None if folder is None else folder / "report" / "cohort.html"
        self.browse.setVisible(self.page is not None and self.page.exists())
        self.say("")

    def _on_written(self, answer: Reported) -> None:
        page = answer.page
        if page == self.page:  # else other results were opened meanwhile
            self.browse.show()
        if not self.notice.text():
            self.say(f"The cohort and {answer.n_samples:,} samples: {page}")

    def _on_cancelled(self) -> None:
        super()._on_cancelled()
        self.say("Cancelled; the pages that are written stay.")

    def _on_browse(self) -> None:
        if self.page is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.page)))

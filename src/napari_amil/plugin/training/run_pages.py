"""The two pages of a panel that starts runs: what is wanted, and the runs."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QTabWidget

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.training.detector_prepare import DetectorPage
from napari_amil.plugin.training.plans import DetectorPlan, Plan
from napari_amil.plugin.training.prepare import PreparePage
from napari_amil.plugin.training.run_list import RunList
from napari_amil.plugin.training.runs import Run
from napari_amil.plugin.window.panel import Panel


class RunPages(Panel):
    """Prepare and Runs, one behind the other; a run that is alive is shown at once."""

    started = Signal(object)
    """A `Run`, once its process was started."""
    prepare: PreparePage | DetectorPage
    runs: RunList

    def _lay_out(self) -> None:
        """Put `prepare` and `runs` on their pages."""
        self.pages = QTabWidget()
        self.pages.setDocumentMode(True)
        bar = self.pages.tabBar()
        if bar is not None:
            bar.setDrawBase(False)
        self.pages.addTab(self.prepare, "Prepare")
        self.pages.addTab(self.runs, "Runs")
        self._frame.setContentsMargins(0, 4, 0, 0)
        self._frame.addWidget(self.pages, 1)
        self.prepare.wanted.connect(self.start)
        self.pages.currentChanged.connect(self._on_page_changed)
        if self.runs.n_alive():
            self.pages.setCurrentWidget(self.runs)

    def start(self, plan: Plan | DetectorPlan) -> None:
        """Lay out the run folder, start its process and show it."""
        try:
            run = Run.of(plan)
            run.start()
        except AmilError as error:
            self.prepare.refuse(str(error))
            return
        self.runs.add(run)
        self.pages.setCurrentWidget(self.runs)
        self.started.emit(run)

    def _on_page_changed(self, _: int) -> None:
        if self.pages.currentWidget() is self.runs:
            self.runs.reload()


class TrainingPanel(RunPages):
    """The pages of a panel that trains models; other panels may choose its cohort."""

    TITLE = "Train a model"
    prepare: PreparePage

    def use_cohort(self, path: Path | None) -> None:
        """Show a cohort on the page that prepares a training."""
        self.prepare.cohort.setValue(path)
        self.pages.setCurrentWidget(self.prepare)

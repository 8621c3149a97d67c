"""The Train panel: prepare a training, follow the runs, use what they made."""

from __future__ import annotations

from itertools import count

from napari.components import ViewerModel
from napari.viewer import Viewer
from qtpy.QtCore import QCoreApplication, Signal
from qtpy.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from napari_amil.core.errors import AmilError
from napari_amil.plugin.training.plans import Plan, RowPlan
from napari_amil.plugin.training.prepare import PreparePage
from napari_amil.plugin.training.run_list import RunList
from napari_amil.plugin.training.run_registry import RunRegistry
from napari_amil.plugin.training.runs import Run
from napari_amil.plugin.training.score_again import score_panels
from napari_amil.plugin.window.work import Worker


class TrainPanel(QWidget):
    """Two pages: what is to be trained, and the runs.

    Parameters
    ----------
    napari_viewer
        The window's viewer.
    worker
        Child process that reads and checks cohorts; the panel's own if not given.
    registry
        Which runs there are; the user's own list if not given.
    """

    started = Signal(object)
    """A `Run`, once its process was started."""

    def __init__(
        self, napari_viewer: Viewer, worker: Worker | None = None, registry: RunRegistry | None = None
    ) -> None:
        super().__init__()
        # napari hands a proxy to panels, through which one layer is never the same object twice
        viewer: ViewerModel = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self._viewer = viewer
        self.prepare = PreparePage(worker if worker is not None else self._own_worker())
        self.runs = RunList(viewer, registry or RunRegistry())
        self.pages = QTabWidget()
        self.pages.setDocumentMode(True)
        bar = self.pages.tabBar()
        if bar is not None:
            bar.setDrawBase(False)
        self.pages.addTab(self.prepare, "Prepare")
        self.pages.addTab(self.runs, "Runs")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(self.pages)
        self.prepare.wanted.connect(self.start)
        self.runs.modelWanted.connect(self.use_model)
        self.runs.view.rowWanted.connect(self.add_row)
        self.pages.currentChanged.connect(self._on_page_changed)
        if self.runs.n_alive():
            self.pages.setCurrentWidget(self.runs)

    def start(self, plan: Plan) -> None:
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

    def add_row(self, run: Run) -> None:
        """Start the training's row of the ablation table as a run of its own."""
        folder = run.folder
        out = next(
            path for n in count(1) if not (path := folder.with_name(f"{folder.name}-row-{n}")).exists()
        )
        try:
            row = Run.of(RowPlan(folder, tuple(run.arguments()), out))
            row.start()
        except AmilError as error:
            self.runs.say(str(error))
            return
        self.runs.add(row)
        self.started.emit(row)

    def use_model(self, path: str) -> None:
        """Choose a model in every Score panel, opening one if there is none."""
        try:
            panels = score_panels(self, self._viewer)
        except AmilError as error:
            self.runs.say(str(error))
            return
        for panel in panels:
            panel.model.setValue(path)
        self.runs.say("The Score panel uses this model now.")

    def _on_page_changed(self, _: int) -> None:
        if self.pages.currentWidget() is self.runs:
            self.runs.reload()
        else:
            self.prepare.propose_folder()

    def _own_worker(self) -> Worker:
        """Return a child process that ends with the panel, or with the application."""
        worker = Worker()
        self.destroyed.connect(lambda: worker.close())
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(worker.close)
        worker.warm_up()
        return worker

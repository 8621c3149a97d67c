"""The Train panel: prepare a training, follow runs, use their models."""

from __future__ import annotations

from itertools import count

from napari.viewer import Viewer
from qtpy.QtCore import QCoreApplication

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.training.prepare import PreparePage
from napari_amil.plugin.training.run_commands import AblationCommand
from napari_amil.plugin.training.run_folders import RunRegistry
from napari_amil.plugin.training.run_list import RunList, TrainingPanel
from napari_amil.plugin.training.runs import Run
from napari_amil.plugin.window.panel import ScoringPanel, find_or_open_panels
from napari_amil.plugin.window.work import Worker


class TrainPanel(TrainingPanel):
    """Two pages: the training to prepare, and the runs.

    Parameters
    ----------
    napari_viewer
        The window's viewer.
    worker
        Child process that reads and checks cohorts; the panel's own if not given.
    registry
        Which runs there are; the user's own list if not given.
    """

    def __init__(
        self, napari_viewer: Viewer, worker: Worker | None = None, registry: RunRegistry | None = None
    ) -> None:
        super().__init__(napari_viewer)
        self.prepare: PreparePage = PreparePage(worker if worker is not None else self._own_worker())
        self.runs = RunList(self._viewer, registry or RunRegistry())
        self._lay_out()
        self.runs.modelWanted.connect(self.use_model)
        self.runs.view.rowWanted.connect(self.add_row)

    def add_row(self, run: Run) -> None:
        """Start the training's row of the ablation table as a run of its own."""
        folder = run.folder
        out = next(
            path for n in count(1) if not (path := folder.with_name(f"{folder.name}-row-{n}")).exists()
        )
        try:
            row = Run.from_command(AblationCommand(folder, tuple(run.arguments()), out))
            row.start()
        except AmilError as error:
            self.runs.say(str(error))
            return
        self.runs.add(row)
        self.started.emit(row)

    def use_model(self, path: str) -> None:
        """Choose a model for scoring, opening Look at a smear if it is not open."""
        try:
            panels = find_or_open_panels(self, self._viewer, ScoringPanel)
        except AmilError as error:
            self.runs.say(str(error))
            return
        for panel in panels:
            panel.model.setValue(path)
        self.runs.say("Look at a smear scores with this model now.")

    def _on_page_changed(self, page: int) -> None:
        super()._on_page_changed(page)
        if self.pages.currentWidget() is self.prepare:
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

"""The Explore panel: clusters, novelty, comparison of groups, distributions."""

from __future__ import annotations

from pathlib import Path

from napari.viewer import Viewer
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QTabWidget

from napari_amil.plugin.cohorts.bag_table import samples_in_words
from napari_amil.plugin.cohorts.cluster_page import ClusterPage
from napari_amil.plugin.cohorts.compare_page import ComparePage
from napari_amil.plugin.cohorts.distribution_page import DistributionPage
from napari_amil.plugin.cohorts.novelty_page import NoveltyPage
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.window.panel import Panel
from napari_amil.plugin.window.path_choice import ask_path
from napari_amil.plugin.window.theme import wrapped
from napari_amil.plugin.window.work import Worker, shared_worker

_NOTHING = "No results are open: open the folder of a scored cohort, here or in the Cohort panel."


class ExplorePanel(Panel):
    """Four pages about the open project, in step with the selection that every view shares."""

    TITLE = "Explore"
    TERMS = ("Cluster", "Cohort", "Contribution", "Control", "Novelty", "Patient")
    errored = Signal(str)

    def __init__(self, napari_viewer: Viewer, worker: Worker | None = None) -> None:
        super().__init__(napari_viewer)
        viewer = self._viewer
        worker = worker if worker is not None else shared_worker()
        self._state = open_results_of(viewer)
        self.reopen = QPushButton("Open results …")
        self.reopen.setToolTip("Choose the folder of a scored cohort.")
        self.summary = wrapped(_NOTHING)
        self.clusters = ClusterPage(viewer, worker)
        self.novelty = NoveltyPage(viewer)
        self.compare = ComparePage(viewer, worker)
        self.distributions = DistributionPage(viewer)
        self.pages = QTabWidget()
        self.pages.setUsesScrollButtons(True)
        for page, name, tip in (
            (self.clusters, "Clusters", "Groups of unusual cells that look alike"),
            (self.novelty, "Novelty", "Samples and cells, the least known first"),
            (self.compare, "Compare", "Two groups of patients"),
            (self.distributions, "Scores", "How any score is distributed, per class or patient"),
        ):
            self.pages.setTabToolTip(self.pages.addTab(page, name), tip)
        layout = self._filling_layout()
        layout.setSpacing(6)
        for widget in (self.reopen, self.summary):
            layout.addWidget(widget)
        layout.addWidget(self.pages, 1)
        layout.addStretch(0)  # holds the place of the pages while they are hidden
        self.setMinimumWidth(300)
        self.reopen.clicked.connect(self._choose_folder)
        for page in (self.clusters, self.novelty, self.distributions):
            page.errored.connect(self._on_errored)
        self._stale: set[NoveltyPage | DistributionPage] = set()
        self._is_asked = False
        self.pages.currentChanged.connect(self._on_page_changed)
        self._state.changed.connect(self._on_project_changed)
        self._state.errored.connect(self._on_not_opened)
        self._on_project_changed()

    def open_folder(self, folder: str) -> None:
        """Open a scored folder, for every panel."""
        self._is_asked = True
        self.summary.setText(f"Reading {folder} …")
        self._state.open(Path(folder))

    def _on_not_opened(self, sentence: str) -> None:
        if self._is_asked:
            self._on_errored(sentence)
        self._is_asked = False

    def _on_project_changed(self) -> None:
        project, self._is_asked = self._state.project, False
        self.pages.setVisible(project is not None)
        if project is None:
            return
        bags = project.bags
        self.summary.setText(f"{samples_in_words(bags)}, {len(project.cells):,} cells. For research only.")
        self._stale = {self.novelty, self.distributions}
        self._on_page_changed()

    def _on_page_changed(self, _: int = 0) -> None:
        """Fill the page that is looked at; with many cells each page takes a while."""
        for page in [page for page in self._stale if page is self.pages.currentWidget()]:
            self._stale.remove(page)
            page.refresh()

    def _on_errored(self, sentence: str) -> None:
        self.summary.setText(sentence)
        self.errored.emit(sentence)

    def _choose_folder(self) -> None:
        ask_path(self, "Choose the folder of a scored cohort", self.open_folder)

"""The Cohort panel: score all samples of a cohort, list them, show a cell, write the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from napari.viewer import Viewer
from qtpy.QtCore import QModelIndex, QSettings, Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QWidget,
)

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.cohorts.bag_table import (
    GROUPS,
    BagFilter,
    BagModel,
    grouped,
    row_view,
    samples_in_words,
)
from napari_amil.plugin.cohorts.open_results import OpenResults, open_results_of
from napari_amil.plugin.layers.selection import CellKey, selection_of
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.model_choice import ModelChoice
from napari_amil.plugin.window.panel import Panel
from napari_amil.plugin.window.path_choice import ask_path
from napari_amil.plugin.window.theme import wrapped
from napari_amil.plugin.window.work import Worker, shared_worker
from napari_amil.worker.protocol.messages import CohortScored, Report, Reported, ScoreCohort

_WIDEST_COLUMN_PX = 90
"""Three such columns fit into the narrowest dock."""
_TIP = (
    "Pages for a browser, which need no other file: the cohort, and every sample with pictures and plain "
    "words. They are kept in the folder 'report' beside the scores."
)
_NOTHING = "No results are open: choose a folder of smears and score it, or open results."


class ReportBar(JobBar):
    """Write report, Cancel, Open report; shown while results are open."""

    def __init__(self, state: OpenResults, worker: Worker, parent: QWidget | None = None) -> None:
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


class CohortPanel(Panel):
    """Folder, model, Score; then one row per sample."""

    TITLE = "Cohort"
    TERMS = ("Anomaly percentile", "Bag", "Cohort", "Novelty", "Patient", "Verdict")
    opened = Signal()
    """Results are shown."""
    errored = Signal(str)

    def __init__(self, napari_viewer: Viewer, worker: Worker | None = None) -> None:
        super().__init__(napari_viewer)
        viewer = self._viewer
        self._worker = worker if worker is not None else shared_worker()
        self._state = open_results_of(viewer)
        self._remembered = QSettings("napari-amil", "cohort")
        self._build()
        self._is_asked = False
        self._warning = ""
        self._state.changed.connect(self._on_opened)
        self._state.errored.connect(self._on_not_opened)
        self._selection = selection_of(viewer)
        self._selection.changed.connect(self._on_selection_changed)
        self.job.wanted.connect(self.run)
        self.job.finished.connect(self._on_scored)
        self.job.errored.connect(self.errored)
        self._on_project_changed()

    def _build(self) -> None:
        self.source = self._path("Folder with smears", "A cohort, a folder of images, or a cell list (.csv).")
        self.source.setPlaceholderText("folder of smears, or a cell list")
        self.source.setText(str(self._remembered.value("source", "") or ""))
        self.results = self._path(
            "Results", "Folder for the results. What it holds already is not scored again."
        )
        self.results.setPlaceholderText("folder for the results")
        self.results.setText(str(self._remembered.value("results", "") or ""))
        self.model = ModelChoice(self._worker)
        self.job = JobBar("Score the folder", "Score every sample in the background; what is done is kept.")
        self.reopen = QPushButton("Open results")
        self.reopen.setToolTip("Show what is in the results folder, without scoring anything.")
        self.group = QComboBox()
        self.group.addItems(list(GROUPS))
        self.group.setToolTip("One row per sample, or one per patient, label or verdict.")
        self.group.setAccessibleName("Rows")
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Show rows with ...")
        self.filter.setClearButtonEnabled(True)
        self.filter.setAccessibleName("Filter")
        self.filter.setToolTip("Only rows in which any field contains this text.")
        self.summary, self.chosen = wrapped(_NOTHING), wrapped()
        self.chosen.hide()
        self._build_table()
        layout = self._scrolling_layout()
        form = QFormLayout()
        form.addRow("Smears", self._with_button(self.source, self._choose_source))
        form.addRow("Results", self._with_button(self.results, self._choose_results))
        form.addRow("Model", self.model)
        layout.addLayout(form)
        for widget in (self.job, self.reopen, self.summary, self.chosen):
            layout.addWidget(widget)
        row = QHBoxLayout()
        row.addWidget(self.group)
        row.addWidget(self.filter, 1)
        layout.addLayout(row)
        layout.addWidget(self.view, 1)
        self.report = ReportBar(self._state, self._worker)
        layout.addWidget(self.report)
        layout.addStretch(0)  # holds the place of the table while it is hidden
        self.source.textEdited.connect(self._on_source_edited)
        self.reopen.clicked.connect(self.open_results)
        self.group.currentTextChanged.connect(self._on_group_changed)
        self.filter.textChanged.connect(self.rows.setFilterFixedString)

    def _build_table(self) -> None:
        self.bags = BagModel(self)
        self.rows = BagFilter(self)
        self.rows.setSourceModel(self.bags)
        tip = "Click a sample, or press Enter, to see its most unusual cell."
        self.view = row_view(self.rows, "Samples", tip, _WIDEST_COLUMN_PX)
        self.view.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.view.setMinimumHeight(220)
        self.view.clicked.connect(self._on_row)
        self.view.activated.connect(self._on_row)

    def run(self) -> None:
        """Score the folder in the background."""
        if self.job.is_running:
            return
        source = self.source.text().strip()
        if not source or not Path(source).exists():
            self._refuse(
                f"There is no '{source}': choose a folder with smears or a cell list."
                if source
                else "Choose a folder with smears or a cell list first."
            )
            return
        if not self.results.text().strip():
            self._suggest_results()
        self._remember()
        out = Path(self.results.text().strip())
        request = ScoreCohort(inputs=(Path(source),), out=out, bundle=self.model.value())
        task = self._worker.start(request)
        self.job.follow(task)
        self.job.button.setToolTip("Stop at once; what is scored is kept.")
        task.cancelled.connect(self._on_cancelled)

    def open_results(self) -> None:
        """Show the samples of the results folder."""
        folder = self.results.text().strip()
        if not folder:
            self._refuse("Choose the folder with the results first.")
            return
        self._is_asked = True
        self.summary.setText(f"Reading {folder} …")
        self._state.open(Path(folder))

    def _refuse(self, sentence: str) -> None:
        self.job.say(sentence, "error")
        self.errored.emit(sentence)

    def _remember(self) -> None:
        for name in ("source", "results"):
            self._remembered.setValue(name, getattr(self, name).text().strip())

    def _on_scored(self, found: CohortScored) -> None:
        self._warning = self.job.notice.text()
        self.results.setText(str(found.folder))
        self.open_results()

    def _on_opened(self) -> None:
        """Show results that this panel or another one has opened."""
        self._on_project_changed()
        if self._is_asked:
            self._is_asked = False
            self.job.say(self._warning, "warning" if self._warning else "")
            self._warning = ""
            self._remember()
            self.opened.emit()

    def _on_not_opened(self, sentence: str) -> None:
        self._on_project_changed()
        if self._is_asked:
            self._is_asked = False
            self._refuse(sentence)

    def _on_cancelled(self) -> None:
        self.job.say("Cancelled; what was scored is kept, and the next run goes on from there.")

    def _on_project_changed(self) -> None:
        project = self._state.project
        for widget in (self.group, self.filter, self.view):
            widget.setVisible(project is not None)
        if project is None:
            self.summary.setText(_NOTHING)
            return
        bags = project.bags
        novel = int((bags["verdict"] == "unlike anything seen").sum())
        self.summary.setText(
            f"{samples_in_words(bags)}, {len(project.cells):,} cells; "
            f"{novel} unlike anything seen. Click one to see its most unusual cell. For research only."
        )
        self._on_group_changed()

    def _on_group_changed(self, _: str = "") -> None:
        if self._state.project is not None:
            self.bags.show(grouped(self._state.project.bags, GROUPS[self.group.currentText()]))
            self.view.resizeColumnsToContents()

    def _on_selection_changed(self, keys: frozenset[CellKey]) -> None:
        """Show in which samples the cells lie that are chosen in another view."""
        bags = frozenset(key.bag for key in keys if key.bag)
        self.bags.mark(bags)
        where = "1 sample, which is bold" if len(bags) == 1 else f"{len(bags):,} samples, which are bold"
        self.chosen.setText(f"{len(keys):,} selected cells lie in {where}." if bags and len(keys) > 1 else "")
        self.chosen.setVisible(bool(self.chosen.text()))

    def _on_row(self, index: QModelIndex) -> None:
        """Show the most telling cell of a sample, or the samples of a group."""
        project = self._state.project
        if project is None or not index.isValid():
            return
        row = self.bags.table.iloc[self.rows.mapToSource(index).row()]
        if "bag" not in row:
            self.group.setCurrentIndex(0)
            self.filter.setText(str(row.iloc[0]))
            return
        mine = (project.cells["bag"] == row["bag"]).to_numpy()
        anomaly = np.where(mine, project.cells["anomaly"].to_numpy(np.float64), np.nan)
        if not np.isfinite(anomaly).any():
            self._refuse(f"No cell of '{row['bag']}' has a score.")
            return
        try:
            self._state.show_cell(int(np.nanargmax(anomaly)))
        except AmilError as error:
            self._refuse(str(error))

    def _path(self, name: str, tip: str) -> QLineEdit:
        edit = QLineEdit()
        edit.setAccessibleName(name)
        edit.setToolTip(tip)
        return edit

    def _with_button(self, edit: QLineEdit, slot: Callable[[], None]) -> QWidget:
        holder = QWidget()
        layout = QHBoxLayout(holder)
        layout.setContentsMargins(0, 0, 0, 0)
        button = QPushButton("…")
        button.setFixedWidth(32)
        button.setToolTip(f"Choose: {edit.accessibleName()}")
        button.setAccessibleName(f"Choose {edit.accessibleName()}")
        button.clicked.connect(slot)
        layout.addWidget(edit, 1)
        layout.addWidget(button)
        return holder

    def _choose_source(self) -> None:
        self._ask("Choose a folder with smears", self._take_source)

    def _choose_results(self) -> None:
        self._ask("Choose the folder of the results", self.results.setText)

    def _ask(self, title: str, take: Callable[[str], None]) -> None:
        ask_path(self, title, take, start=self.source.text())

    def _take_source(self, path: str) -> None:
        self.source.setText(path)
        self._suggest_results()

    def _on_source_edited(self, _: str) -> None:
        self.results.clear()

    def _suggest_results(self) -> None:
        source = Path(self.source.text().strip())
        self.results.setText(str(source.parent / f"{source.stem}-scored"))

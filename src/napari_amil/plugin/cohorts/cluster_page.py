"""Clusters of unusual cells: found by the worker, shown one by one, named by the user."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from napari.components import ViewerModel
from numpy.typing import NDArray
from qtpy.QtCore import QModelIndex, Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLineEdit,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from napari_amil.core.base.columns import KEY_COLUMNS, PLACE_COLUMNS, names_in
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import regular_file
from napari_amil.core.exchange.project import Project
from napari_amil.plugin.cohorts.bag_table import BagFilter, BagModel, fit_height, knows_patients, row_view
from napari_amil.plugin.cohorts.cell_strip import CellStrip
from napari_amil.plugin.cohorts.open_results import open_results_of
from napari_amil.plugin.layers.selection import keys_of_rows
from napari_amil.plugin.window.job import JobBar
from napari_amil.plugin.window.panel import scrolling
from napari_amil.plugin.window.theme import PAGE_MARGINS, wrapped
from napari_amil.plugin.window.user_settings import remember, remembered
from napari_amil.plugin.window.work import Worker
from napari_amil.worker.protocol.messages import ClusterNamed, Explore, Explored, NameCluster

EXPLORATION = "exploration"
"""Folder of the worker's clusters in that of a project."""
_MOST_PATIENTS = 3
_NONE = (
    "No cluster was found: no unusual cells lie close together. Lower the percentile or the smallest size."
)
_SAVED = (
    "{n_cells} cells are now the class '{name}' and {n_bags} samples bear its label, in {file}. To learn it, "
    "choose this file as the cohort in 'Train a model'."
)
_SAMPLES = {"All samples": 90.0, "Unexplained": 75.0}
"""Choice of samples, each with the percentile from which on their cells are unusual."""
_KEPT, _MOST_ROWS = "explore/", 5


@dataclass(frozen=True, eq=False)
class FoundClusters:
    """Clusters of unusual cells.

    Parameters
    ----------
    table
        One line per cluster.
    patients
        Share of the cells of each patient in each cluster, ``cluster_<n>``, and their number ``n_cells``.
    label, distance
        ``(n_cells,)`` cluster of each row of the project, and how far it lies from the middle of it.
    """

    table: pd.DataFrame
    patients: pd.DataFrame
    label: NDArray[np.int64]
    distance: NDArray[np.float64]

    def rows(self, cluster: int) -> NDArray[np.int64]:
        """Return the rows of the cells of a cluster, those in its middle first."""
        own = np.flatnonzero(self.label == cluster)
        return own[np.argsort(self.distance[own], kind="stable")]

    def shown(self, named: dict[str, int]) -> pd.DataFrame:
        """Return the table with the names that clusters were given."""
        names = {cluster: name for name, cluster in named.items()}
        table = self.table.assign(candidate=[names.get(number, "") for number in self.table["cluster"]])
        kept = [name for name in names_in("clusters", table) if name != "candidate" or names]
        return table[kept]

    def patients_in_words(self, cluster: int, most: int = _MOST_PATIENTS, who: str = "patient") -> str:
        """Return the number of cells of a cluster by patient, largest first; at most ``most`` by name.

        ``who`` is what they are called: loose images are samples of unknown patients.
        """
        share = self.patients[f"cluster_{cluster}"].to_numpy(np.float64)
        counts = np.rint(share * self.patients["n_cells"].to_numpy(np.float64)).astype(int)
        order = [row for row in np.argsort(-counts, kind="stable") if counts[row]]
        names = self.patients["patient"].astype(str).to_list()
        shares = [f"{names[row]}: {counts[row]} ({share[row]:.0%} of all)" for row in order[:most]]
        more = f", and {len(order) - most} more" if len(order) > most else ""
        return f"Cells of {who} {', '.join(shares)}{more}."


def read_clusters(folder: Path, project: Project) -> FoundClusters | None:
    """Return the clusters that the worker found in ``folder``; None without any, or if its cells changed."""
    here = folder / EXPLORATION
    try:
        cells = pd.read_csv(regular_file(here / "cells.csv"), dtype={"bag": str, "image": str})
        table = pd.read_csv(regular_file(here / "clusters.csv"))
        patients = pd.read_csv(regular_file(here / "patients.csv"), dtype={"patient": str})
        own = project.cells[KEY_COLUMNS].astype({"bag": str, "image": str})
        if not np.array_equal(cells[KEY_COLUMNS].to_numpy(object), own.to_numpy(object)):
            return None
        label, distance = cells["cluster"].to_numpy(np.int64), cells["centre_distance"].to_numpy(np.float64)
    except (AmilError, OSError, ValueError, KeyError):
        return None
    return FoundClusters(table, patients, label, distance)


class ClusterPage(QWidget):
    """Settings, Find; a row per cluster; its cells and patients; a name for it."""

    found = Signal(int)
    """Number of clusters that are shown."""
    errored = Signal(str)

    def __init__(self, viewer: ViewerModel, worker: Worker) -> None:
        super().__init__()
        self._worker = worker
        self._state = open_results_of(viewer)
        self._clusters: FoundClusters | None = None
        self._build(viewer)
        self.job.wanted.connect(self.run)
        self.job.finished.connect(self._on_found)
        self.job.errored.connect(self.errored)
        self.naming.wanted.connect(self.name_cluster)
        self.naming.finished.connect(self._on_named)
        self.naming.errored.connect(self.errored)
        self.name.returnPressed.connect(self.name_cluster)
        self._state.changed.connect(self._on_project_changed)
        self._on_project_changed()

    def _build(self, viewer: ViewerModel) -> None:
        self.samples, self.percentile, self.least = QComboBox(), QDoubleSpinBox(), QSpinBox()
        self.samples.addItems(list(_SAMPLES))
        self.samples.setAccessibleName("Look into")
        self.samples.setToolTip(
            "Unexplained are samples whose label is not a class of the model or, without a label, whose "
            "verdict is none. Cells of known kinds are not in the way there."
        )
        if remembered(f"{_KEPT}unexplained", default=False):
            self.samples.setCurrentIndex(1)
        self.percentile.setRange(50, 100)
        self.percentile.setDecimals(1)
        self.percentile.setSuffix(" %")
        self.percentile.setValue(remembered(f"{_KEPT}percentile", _SAMPLES[self.samples.currentText()]))
        self.percentile.setAccessibleName("Unusual from percentile")
        self.percentile.setToolTip(
            "Cells that are more anomalous than so many per cent of control cells are looked at, as are all "
            "with q < 0.05."
        )
        self.least.setRange(3, 10_000)
        self.least.setValue(remembered(f"{_KEPT}min_cells", 10))
        self.least.setSuffix(" cells")
        self.least.setAccessibleName("Smallest cluster")
        self.least.setToolTip("Fewer cells that look alike are no cluster.")
        self.job = JobBar(
            "Find clusters", "Look for groups of unusual cells that look alike, in the background."
        )
        self.note, self.detail = wrapped(), wrapped()
        self.model, self.rows = BagModel(self, "clusters"), BagFilter(self)
        self.rows.setSourceModel(self.model)
        tip = "Click a cluster, or press Enter: its cells are chosen in every view, its middle is shown."
        self.view = row_view(self.rows, "Clusters", tip)
        self.cells = CellStrip(viewer, "Cells of the cluster", "Click a cluster to see its cells.")
        self.cells.setMinimumHeight(150)
        # what else there is comes first
        self.cells.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Ignored)
        self.name = QLineEdit()
        self.name.setPlaceholderText("Name of a new class")
        self.name.setAccessibleName("Name of a new class")
        self.name.setToolTip(
            "What these cells are; the next training can learn them as a class of this name."
        )
        self.naming = JobBar("Make it a class", "Keep the cluster under this name, for the next training.")
        self._lay_out()
        self.samples.currentTextChanged.connect(self._on_samples_changed)
        self.view.clicked.connect(self._on_row)
        self.view.activated.connect(self._on_row)
        self.cells.errored.connect(self._on_errored)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("Look into", self.samples)
        form.addRow("Unusual from", self.percentile)
        form.addRow("At least", self.least)
        layout = scrolling(self)
        self.setMinimumWidth(0)  # the panel around it has a width
        layout.setContentsMargins(*PAGE_MARGINS)
        layout.addLayout(form)
        for widget in (self.job, self.note):
            layout.addWidget(widget)
        layout.addWidget(self.view)
        layout.addWidget(self.detail)
        layout.addWidget(self.cells, 1)
        layout.addWidget(self.name)
        layout.addWidget(self.naming)
        layout.addStretch(0)  # what little is there at first stands together

    def run(self) -> None:
        """Find the clusters of the open project in the background."""
        if self.job.is_running or self._state.folder is None:
            return
        request = Explore(
            folder=self._state.folder,
            percentile=self.percentile.value(),
            min_cells=self.least.value(),
            unexplained=bool(self.samples.currentIndex()),
        )
        for name in ("percentile", "min_cells", "unexplained"):
            remember(f"{_KEPT}{name}", getattr(request, name))
        self.job.follow(self._worker.start(request))

    def chosen(self) -> int | None:
        """Return the number of the cluster in the chosen row."""
        index = self.view.currentIndex()
        if not index.isValid() or not len(self.model.table):
            return None
        return int(self.model.table["cluster"].iloc[self.rows.mapToSource(index).row()])

    def name_cluster(self) -> None:
        """Make the chosen cluster a candidate class."""
        cluster, name = self.chosen(), self.name.text().strip()
        if self.naming.is_running:
            return
        if cluster is None or not name:
            self._on_errored("Click a cluster and write a name for it first.")
            return
        if self._state.folder is not None:
            request = NameCluster(folder=self._state.folder, cluster=cluster, name=name)
            self.naming.follow(self._worker.start(request))

    def show_cluster(self, cluster: int) -> None:
        """Choose the cells of a cluster in every view, and show the one in its middle on its image."""
        project = self._state.project
        if self._clusters is None or project is None:
            return
        rows = self._clusters.rows(cluster)
        once = project.cells.iloc[rows].drop_duplicates(PLACE_COLUMNS).index.to_numpy()
        self.cells.show_rows(np.asarray(once, dtype=np.int64))
        who = "patient" if knows_patients(project.bags) else "sample"
        self.detail.setText(self._clusters.patients_in_words(cluster, who=who))
        self.detail.setToolTip(self._clusters.patients_in_words(cluster, len(self._clusters.patients), who))
        try:
            self._state.show_cell(int(rows[0]), keys_of_rows(project.cells.iloc[rows]))
        except AmilError as error:
            self._on_errored(str(error))

    def _on_samples_changed(self, text: str) -> None:
        self.percentile.setValue(_SAMPLES[text])

    def _on_row(self, _: QModelIndex) -> None:
        cluster = self.chosen()
        if cluster is not None:
            self.naming.say("")
            self.show_cluster(cluster)

    def _on_found(self, found: Explored) -> None:
        if self._state.folder == found.folder:
            self._on_project_changed()

    def _on_named(self, found: ClusterNamed) -> None:
        project = self._state.project
        if project is None or self._state.folder != found.folder:
            return
        noted = {**self._named(), found.name: self.chosen() or 0}
        project.card["candidates"] = {name: {"cluster": cluster} for name, cluster in noted.items()}
        self._fill()
        self.name.clear()
        self.naming.say(_SAVED.format(**found.model_dump(), file=found.path.name))
        self.naming.notice.setToolTip(str(found.path))

    def _named(self) -> dict[str, int]:
        project = self._state.project
        noted = {} if project is None else project.card.get("candidates", {})
        return {name: int(value["cluster"]) for name, value in noted.items()}

    def _on_project_changed(self) -> None:
        project, folder = self._state.project, self._state.folder
        self._clusters = None if project is None or folder is None else read_clusters(folder, project)
        self.cells.show_rows(np.zeros(0, dtype=np.int64))
        self.detail.setText("")
        self._fill()
        self.found.emit(0 if self._clusters is None else len(self._clusters.table))

    def _fill(self) -> None:
        found = self._clusters
        for widget in (self.view, self.detail, self.cells, self.name, self.naming):
            widget.setVisible(found is not None and len(found.table) > 0)
        self.note.setText("" if found is None or len(found.table) else _NONE)
        self.note.setVisible(bool(self.note.text()))
        if found is None:
            return
        at = self.view.currentIndex().row()
        self.model.show(found.shown(self._named()))
        self.view.sortByColumn(-1, Qt.SortOrder.AscendingOrder)
        self.view.resizeColumnsToContents()
        fit_height(self.view, _MOST_ROWS)
        if at >= 0:
            self.view.selectRow(at)

    def _on_errored(self, sentence: str) -> None:
        self.naming.say(sentence, "error")
        self.errored.emit(sentence)

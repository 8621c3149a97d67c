"""The clusters that were found in a scored folder, as the window shows them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import names_in
from napari_amil.core.exchange.project import Project

EXPLORATION = "exploration"
"""Folder in that of a project that holds what the worker has found."""
_KEY = ["bag", "image", "cell_id"]
_PATIENTS_SAID = 3


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

    def patients_in_words(self, cluster: int, most: int = _PATIENTS_SAID) -> str:
        """Return how many cells of a cluster each patient has, the most first; at most ``most`` by name."""
        share = self.patients[f"cluster_{cluster}"].to_numpy(np.float64)
        counts = np.rint(share * self.patients["n_cells"].to_numpy(np.float64)).astype(int)
        order = [row for row in np.argsort(-counts, kind="stable") if counts[row]]
        names = self.patients["patient"].astype(str).to_list()
        said = [f"{names[row]}: {counts[row]} ({share[row]:.0%} of all)" for row in order[:most]]
        more = f", and {len(order) - most} more" if len(order) > most else ""
        return f"Cells of patient {', '.join(said)}{more}."


def read_clusters(folder: Path, project: Project) -> FoundClusters | None:
    """Return what the worker has found in the project in ``folder``; None if nothing, or in other cells."""
    here = folder / EXPLORATION
    try:
        cells = pd.read_csv(here / "cells.csv", dtype={"bag": str, "image": str})
        table = pd.read_csv(here / "clusters.csv")
        patients = pd.read_csv(here / "patients.csv", dtype={"patient": str})
        own = project.cells[_KEY].astype({"bag": str, "image": str})
        if not np.array_equal(cells[_KEY].to_numpy(object), own.to_numpy(object)):
            return None
        label, distance = cells["cluster"].to_numpy(np.int64), cells["centre_distance"].to_numpy(np.float64)
    except (OSError, ValueError, KeyError):
        return None
    return FoundClusters(table, patients, label, distance)

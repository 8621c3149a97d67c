"""Make a cluster of unusual cells a candidate class, for the next training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS, KEY_COLUMNS, PLACE_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.evaluation.clusters import Clusters
from napari_amil.core.exchange.project import Project, note_in_card
from napari_amil.core.exchange.tables import load_table, write_table

CANDIDATES = "candidates.csv"
"""The cell list beside ``project.json`` in which named clusters are classes."""
_LEAST_CELLS = 3


@dataclass(frozen=True)
class Candidate:
    """A named cluster.

    Parameters
    ----------
    name
        Of the candidate class.
    n_cells
        Cells that bear it, each once.
    n_bags
        Bags that are labelled with it in the cell list.
    path
        The cell list.
    """

    name: str
    n_cells: int
    n_bags: int
    path: Path


def name_cluster(project: Project, clusters: Clusters, cluster: int, name: str, folder: Path) -> Candidate:
    """Note a cluster as a candidate class in ``folder``, that of the project, and write the cell list.

    ``candidates.csv`` is the whole cohort as `train` takes it. Its column ``candidate`` says which cells
    were named. Bags that hold at least 3 cells of a name are labelled with it, unless their label is
    a class that the model knows; all others keep theirs. Names that were given before stay; one
    that is given again moves to the cells of this cluster. The image paths are absolute.

    Raises
    ------
    AmilError
        If there is no such cluster, the name is a class already, or no bag would get it.
    """
    name = name.strip()
    if cluster not in clusters.numbers:
        known = ", ".join(map(str, clusters.numbers)) or "none"
        raise AmilError(f"There is no cluster {cluster}; there are: {known}.")
    if name in project.classes or not name:
        raise AmilError(f"'{name}' cannot be the name of a candidate class; choose one that is not used.")
    path = folder / CANDIDATES
    named = _named_before(project, path)
    named[named == name] = ""
    named[clusters.label == cluster] = name
    labels = _labels(project, named)
    n_bags = int((labels == name).sum())
    if not n_bags:
        raise AmilError(
            f"Every bag with {_LEAST_CELLS} or more cells of cluster {cluster} is labelled with a known "
            "class; empty the labels that you doubt and score again."
        )
    write_table(_cell_list(project, named, labels), path)
    found = Candidate(name, len(project.cells[named == name].drop_duplicates(PLACE_COLUMNS)), n_bags, path)
    noted = dict(project.card.get("candidates", {}))
    noted[name] = {"cluster": int(cluster), "n_cells": found.n_cells, "n_bags": n_bags}
    noted = {known: value for known, value in noted.items() if (named == known).any()}
    note_in_card(folder, candidates=noted)
    project.card["candidates"] = noted
    return found


def _named_before(project: Project, path: Path) -> NDArray[np.object_]:
    """Return the candidate class of every cell so far, empty where it has none."""
    nothing = np.full(len(project.cells), "", dtype=object)
    if not path.exists():
        return nothing
    known = load_table(path)
    if "candidate" not in known or "project_image" not in known:
        return nothing
    names = known.assign(candidate=known["candidate"].fillna("").astype(str))
    names = names.set_index([known["bag"].astype(str), known["project_image"].astype(str), known["cell_id"]])
    names = names[~names.index.duplicated()]
    wanted = pd.MultiIndex.from_frame(project.cells[KEY_COLUMNS].astype({"bag": str, "image": str}))
    return names["candidate"].reindex(wanted).fillna("").to_numpy(dtype=object)


def _labels(project: Project, named: NDArray[np.object_]) -> pd.Series:
    """Return the label of every bag; where it is free, the candidate class of which it holds most cells."""
    bags = project.bags.set_index("bag")
    labels = bags["label"].astype(object).where(bags["label"].notna(), "")
    chosen = named != ""
    counts = pd.crosstab(project.cells["bag"].to_numpy()[chosen], named[chosen])
    for bag, own in counts.iterrows():
        if own.max() >= _LEAST_CELLS and labels[bag] not in project.classes:
            labels[bag] = own.idxmax()
    return labels


def _cell_list(project: Project, named: NDArray[np.object_], labels: pd.Series) -> pd.DataFrame:
    cells, bags = project.cells, project.bags.set_index("bag")
    columns = {
        "bag": cells["bag"],
        "patient": cells["bag"].map(bags["patient"]),
        "label": cells["bag"].map(labels),
        "image": cells["image"].map(_addresses(project)),
        **{column: cells[column] for column in (*BOX_COLUMNS, "cell_id")},
        "project_image": cells["image"],
        "candidate": named,
    }
    return pd.DataFrame(columns)


def _addresses(project: Project) -> dict[str, str]:
    """Return for each image the name by which a cell list anywhere finds it."""
    images: Mapping[str, tuple[str, int]] = project.card.get("images", {})
    found = {}
    for image in project.cells["image"].unique():
        if image not in images:
            raise AmilError(f"The project does not say where '{image}' lies; score the cohort again.")
        path, page = images[image]
        found[image] = f"{Path(path).as_posix()}#{page + 1}" if "#" in image else Path(path).as_posix()
    return found

"""A scored folder to what is novel in it: clusters, their cells, candidate classes for a next training."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image as PillowImage

from napari_amil.core.errors import AmilError
from napari_amil.core.evaluation.clusters import (
    NONE,
    PLACE,
    Clusters,
    ClusterSettings,
    cluster_table,
    find_clusters,
    neighbour_plane,
    patient_table,
    truth_table,
    unseen_agreement,
)
from napari_amil.core.evaluation.figures import COLOURS, panels, save_figure
from napari_amil.core.evaluation.groups import compare_groups, per_patient
from napari_amil.core.events import Event, Step
from napari_amil.core.exchange.files import replacing
from napari_amil.core.exchange.project import Project
from napari_amil.core.exchange.tables import load_table, write_table
from napari_amil.core.pipeline.pictures import Fields, cell_sheet, distance_caption
from napari_amil.core.types import ANOMALOUS_Q, Image

_N_SHOWN, _LEAST_CELLS = 32, 3


@dataclass(frozen=True, eq=False)
class Exploration:
    """What is novel in a scored cohort.

    Parameters
    ----------
    table
        One line per cluster (`cluster_table`).
    patients
        Share of the cells of each patient in each cluster.
    clusters
        Of every cell.
    """

    table: pd.DataFrame
    patients: pd.DataFrame
    clusters: Clusters


def explore_project(
    project: Project, settings: ClusterSettings, out: Path
) -> Generator[Event, None, Exploration]:
    """Find clusters of unusual cells and write them into ``out``.

    ``clusters.csv`` has a line per cluster, ``patients.csv`` their size in each patient, ``cells.csv`` the
    cluster and the place on the map of every cell, ``bags.csv`` the bags, the most novel first;
    ``figures`` the map and, for each cluster, the cells in its middle side by side.

    Raises
    ------
    AmilError
        If too few cells are unusual, or a file cannot be written.
    """
    yield Step("explore", 0, 1, "Looking for clusters")
    clusters = find_clusters(project.cells, project.embeddings, settings)
    table = cluster_table(project.cells, project.bags, clusters, project.classes)
    patients = patient_table(project.cells, project.bags, clusters)
    placed = project.cells[["bag", "cell_id", *PLACE]].assign(
        cluster=clusters.label, map_x=clusters.place[:, 0], map_y=clusters.place[:, 1]
    )
    write_table(table, out / "clusters.csv")
    write_table(patients, out / "patients.csv")
    write_table(placed, out / "cells.csv")
    write_table(project.bags.sort_values("novelty_p", kind="stable"), out / "bags.csv")
    save_figure(_map(clusters), out / "figures" / "map")
    fields = Fields(project)
    for number, cluster in enumerate(clusters.numbers):
        yield Step("explore", number, len(clusters.numbers), f"Cells of cluster {cluster}")
        sheet = yield from _gallery(project, clusters, cluster, fields)
        if sheet is not None:
            with replacing(out / "figures" / f"cluster-{cluster}.png") as partial:
                PillowImage.fromarray(sheet).save(partial, format="PNG")
    return Exploration(table, patients, clusters)


def write_map(project: Project, path: Path) -> None:
    """Write the places ``(n_cells, 2)`` of all cells by t-SNE as ``.npy``."""
    with replacing(path) as partial, partial.open("wb") as stream:
        np.save(stream, neighbour_plane(project.embeddings).astype(np.float32), allow_pickle=False)


def compare_with_truth(
    project: Project, found: Exploration, truth: str, unseen: str | None, out: Path
) -> pd.DataFrame:
    """Write how the clusters agree with the true types of cells into ``truth.csv``, and return it.

    Parameters
    ----------
    truth
        Column with the true types.
    unseen
        A class that the training never saw: then its abnormal types are looked for.

    Raises
    ------
    AmilError
        If the types are not known, or no bag is of this class.
    """
    labels = project.cells["bag"].map(project.bags.set_index("bag")["label"])
    if unseen is None:
        table = truth_table(project.cells, found.clusters, truth)
    else:
        table = unseen_agreement(project.cells, labels, found.clusters, truth, unseen)
    write_table(table, out / "truth.csv")
    return table


def name_cluster(project: Project, found: Exploration, cluster: int, name: str, path: Path) -> int:
    """Write the cohort as a cell list in which a cluster has become a class; return the number of its bags.

    Bags that hold at least 3 cells of the cluster get the new label, unless they are labelled with a
    class that the model knows; all others keep theirs. The image paths are absolute.

    Raises
    ------
    AmilError
        If there is no such cluster, the name is a class already, or no bag would get it.
    """
    if cluster not in found.clusters.numbers:
        known = ", ".join(map(str, found.clusters.numbers)) or "none"
        raise AmilError(f"There is no cluster {cluster}; there are: {known}.")
    if name in project.classes or not name.strip():
        raise AmilError(f"'{name}' cannot be the name of a candidate class; choose one that is not used.")
    bags = project.bags.set_index("bag")
    counts = project.cells.loc[found.clusters.label == cluster, "bag"].value_counts()
    many = set(counts.index[counts >= _LEAST_CELLS])
    labels = bags["label"].astype(object).where(bags["label"].notna(), "")
    free = [bag for bag in bags.index if bag in many and labels[bag] not in project.classes]
    if not free:
        raise AmilError(
            f"Every bag with {_LEAST_CELLS} or more cells of cluster {cluster} is labelled with a known "
            "class; empty the labels that you doubt and score again."
        )
    labels[free] = name
    cells = project.cells
    columns = {
        "bag": cells["bag"],
        "patient": cells["bag"].map(bags["patient"]),
        "label": cells["bag"].map(labels),
        "image": cells["image"].map(_addresses(project)),
        **{column: cells[column] for column in ("y0", "x0", "y1", "x1", "cell_id")},
        "cluster": found.clusters.label,
    }
    write_table(pd.DataFrame(columns), path)
    return len(free)


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


def compare_project(project: Project, found: Exploration, groups: Path, out: Path) -> pd.DataFrame:
    """Compare two groups of patients by the table ``groups`` (``patient`` or ``bag``, and ``group``).

    Compared are the share of cells with q < 0.05, the mean anomaly and the share of cells in each
    cluster. Writes ``groups.csv`` and ``groups-patients.csv``.

    Raises
    ------
    AmilError
        If the table lacks a column, or does not part the patients into two groups.
    """
    table = load_table(groups)
    key = next((name for name in ("bag", "patient") if name in table), None)
    if key is None or "group" not in table:
        raise AmilError(f"'{groups}' needs a column 'patient' or 'bag', and a column 'group'.")
    if table[key].duplicated().any():
        raise AmilError(f"'{groups}' names the same {key} twice; for before and after give bags instead.")
    patient = project.cells["bag"].map(project.bags.set_index("bag")["patient"])
    of = project.cells["bag"] if key == "bag" else patient
    group = of.map(dict(zip(table[key].astype(str), table["group"].astype(str), strict=True)))
    values = {
        "anomalous_fraction": (project.cells["anomaly_q"] < ANOMALOUS_Q).where(
            project.cells["anomaly"].notna()
        ),
        "anomaly": project.cells["anomaly"],
        **{f"cluster_{n}": found.clusters.label == n for n in found.clusters.numbers},
    }
    each = per_patient(pd.DataFrame(values), patient, group, list(values))
    compared = compare_groups(each, list(values))
    write_table(each, out / "groups-patients.csv")
    write_table(compared, out / "groups.csv")
    return compared


def _gallery(
    project: Project, clusters: Clusters, cluster: int, fields: Fields
) -> Generator[Event, None, Image | None]:
    """Return the cells in the middle of a cluster side by side."""
    own = project.cells[clusters.label == cluster].drop_duplicates(PLACE)
    middle = own.index[np.argsort(clusters.distance[own.index], kind="stable")][:_N_SHOWN].to_numpy()
    title = f"Cluster {cluster}: {len(own)} cells, those in its middle first"
    return (yield from cell_sheet(project, fields, middle, title, distance_caption))


def _map(clusters: Clusters) -> Figure:
    """Return the first two principal components of all cells, clusters in colour and drawn last."""
    figure, axes = panels(1, 1, (7.0, 5.4))
    ax = axes[0, 0]
    rest = clusters.label == NONE
    ax.scatter(*clusters.place[rest].T, s=4, c="#BBBBBB", linewidths=0, rasterized=True, label="no cluster")
    for number in clusters.numbers:
        own = clusters.label == number
        colour = COLOURS[(number - 1) % len(COLOURS)]
        ax.scatter(*clusters.place[own].T, s=12, c=colour, linewidths=0, label=f"cluster {number}")
    ax.set(xlabel="first principal component", ylabel="second principal component")
    ax.legend(fontsize=8, frameon=False, loc="best")
    return figure

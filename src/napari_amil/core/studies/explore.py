"""Clusters of unusual cells in a scored folder: find, draw, compare between groups, and check."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image as PillowImage

from napari_amil.core.base.columns import KEY_COLUMNS, PLACE_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Step
from napari_amil.core.base.files import decoding, read_json, replacing
from napari_amil.core.base.locks import locked
from napari_amil.core.base.outputs import make_folder, write_json
from napari_amil.core.base.own_files import replacing_own
from napari_amil.core.base.types import ANOMALOUS_Q, Image
from napari_amil.core.evaluation.clusters import (
    NONE,
    Clusters,
    ClusterSettings,
    cell_features,
    cluster_table,
    find_clusters,
    looked_at,
    main_components,
    patient_table,
    truth_table,
    unseen_agreement,
    unusual_cells,
)
from napari_amil.core.evaluation.embedding_maps import neighbour_plane
from napari_amil.core.evaluation.figures import COLOURS, panels, save_figure
from napari_amil.core.evaluation.groups import compare_groups, per_patient
from napari_amil.core.exchange.project import Project, refuse_scored_folder
from napari_amil.core.exchange.tables import load_table, write_table
from napari_amil.core.instances.executor import SERIAL, Executor
from napari_amil.core.studies.pictures import Fields, cell_sheet, cut_cells, distance_caption, sheet_of

EXPLORATION = "exploration"
"""Folder of the exploration, in that of a project."""
_ORIGIN = "exploration.json"
_N_SHOWN = 32


@dataclass(frozen=True, eq=False)
class Exploration:
    """Novel clusters of cells in a scored cohort.

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
    project: Project,
    settings: ClusterSettings,
    out: Path,
    *,
    pictures: bool = True,
    executor: Executor = SERIAL,
) -> Generator[Event, None, Exploration]:
    """Find clusters of unusual cells and write them into ``out``.

    ``clusters.csv`` has a line per cluster, ``patients.csv`` their size in each patient, ``cells.csv`` the
    cluster and the place on the map of every cell, ``bags.csv`` the bags, the most novel first;
    ``figures`` the map and, for each cluster, the cells in its middle side by side.

    Parameters
    ----------
    pictures
        Draw the figures, for which the images are read.
    executor
        Reads the images.

    Raises
    ------
    AmilError
        If too few cells are unusual, or a file cannot be written.
    """
    with locked(make_folder(out)):
        refuse_scored_folder(out)
        return (yield from _explore(project, settings, out, executor if pictures else None))


def _explore(
    project: Project, settings: ClusterSettings, out: Path, executor: Executor | None
) -> Generator[Event, None, Exploration]:
    """Find clusters as `explore_project` does, in a folder held here; without an executor draw nothing."""
    yield Step("explore", 0, 1, "Looking for clusters")
    chosen = looked_at(project.cells, project.bags, project.classes, settings)
    features = cell_features(project.cells, project.embeddings, chosen)
    clusters = find_clusters(project.cells, features, chosen, settings.min_cells)
    clusters = replace(clusters, place=project.plane())
    components = main_components(features, chosen)
    table = cluster_table(project.cells, project.bags, clusters, project.classes, components)
    patients = patient_table(project.cells, project.bags, clusters)
    placed = project.cells[["bag", "cell_id", *PLACE_COLUMNS]].assign(
        cluster=clusters.label,
        centre_distance=clusters.distance,
        map_x=clusters.place[:, 0],
        map_y=clusters.place[:, 1],
    )
    with replacing_own(out, last=(_ORIGIN,), outdated=_earlier(out)) as stage:
        write_table(table, stage / "clusters.csv")
        write_table(patients, stage / "patients.csv")
        write_table(placed, stage / "cells.csv")
        write_table(project.bags.sort_values("novelty_p", kind="stable"), stage / "bags.csv")
        if executor is not None:
            yield from _draw(project, clusters, stage / "figures", executor)
        write_json({"scores": project.digest}, stage / _ORIGIN)
    return Exploration(table, patients, clusters)


def _earlier(out: Path) -> list[str]:
    """Return the files that an earlier exploration left, and another one need not replace."""
    pictures = [f"figures/{path.name}" for path in sorted((out / "figures").glob("cluster-*.png"))]
    return [*pictures, "figures/map.png", "figures/map.svg", "truth.csv", "groups.csv", "groups-patients.csv"]


def _draw(
    project: Project, clusters: Clusters, folder: Path, executor: Executor
) -> Generator[Event, None, None]:
    """Write the map and the cells of every cluster."""
    save_figure(_map(clusters), folder / "map")
    shown = {cluster: _middle(project, clusters, cluster, _N_SHOWN) for cluster in clusters.numbers}
    everything = np.concatenate([np.zeros(0, np.int64), *(rows for rows, _ in shown.values())])
    crops = yield from cut_cells(project, everything, executor)
    for cluster, (rows, title) in shown.items():
        sheet = sheet_of(project, crops, rows, title, distance_caption)
        if sheet is not None:
            with replacing(folder / f"cluster-{cluster}.png") as partial:
                PillowImage.fromarray(sheet).save(partial, format="PNG")


def read_exploration(project: Project, folder: Path) -> Exploration:
    """Return the result that `explore_project` wrote into ``folder``.

    Raises
    ------
    AmilError
        If there is nothing, or it was found in other cells or scores than those of the project.
    """
    if not (folder / "cells.csv").exists():
        raise AmilError(f"'{folder}' holds no clusters; find them first.")
    origin = read_json(folder / _ORIGIN)
    made_from = origin.get("scores") if isinstance(origin, dict) else None
    with decoding(folder / "cells.csv", "holds damaged clusters", "find them again"):
        cells = load_table(folder / "cells.csv")
        known, own = (
            table[KEY_COLUMNS].astype({"bag": str, "image": str}).to_numpy(object)
            for table in (cells, project.cells)
        )
        if made_from != project.digest or not np.array_equal(known, own):
            raise AmilError(f"The clusters in '{folder}' are of other cells; find them again.")
        clusters = Clusters(
            cells["cluster"].to_numpy(np.int64),
            cells[["map_x", "map_y"]].to_numpy(np.float64),
            cells["centre_distance"].to_numpy(np.float64),
        )
    return Exploration(load_table(folder / "clusters.csv"), load_table(folder / "patients.csv"), clusters)


def find_exploration(project: Project, folder: Path) -> Exploration | None:
    """Return the clusters found in a project in ``folder``; None without any, or if its cells changed."""
    try:
        return read_exploration(project, folder / EXPLORATION)
    except AmilError:
        return None


def write_map(project: Project, path: Path, layout: str = "tsne") -> None:
    """Write the places ``(n_cells, 2)`` of all cells by t-SNE or UMAP as ``.npy``.

    Of more than 20,000 cells the usual ones are thinned before they are laid out, unusual ones never.

    Raises
    ------
    AmilError
        As `neighbour_plane`.
    """
    rare = unusual_cells(project.cells, ClusterSettings())
    place = neighbour_plane(project.embeddings, rare, layout)
    with replacing(path) as partial, partial.open("wb") as stream:
        np.save(stream, place.astype(np.float32), allow_pickle=False)


def compare_with_truth(
    project: Project, found: Exploration, truth: str, unseen: str | None, out: Path
) -> pd.DataFrame:
    """Write the agreement of the clusters with the true types of cells into ``truth.csv``; return it.

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


def compare_project(project: Project, found: Exploration | None, groups: Path, out: Path) -> pd.DataFrame:
    """Compare two groups of patients by the table ``groups`` (``patient`` or ``bag``, and ``group``).

    The group that the table names first is the first: a positive effect means that the other has more.

    Compared are the share of cells with q < 0.05, the mean anomaly and, where clusters were found, the share
    of cells in each. Writes ``groups.csv`` and ``groups-patients.csv``.

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
        "share_q05": (project.cells["anomaly_q"] < ANOMALOUS_Q).where(project.cells["anomaly"].notna()),
        "anomaly": project.cells["anomaly"],
    }
    if found is not None:
        values |= {f"cluster_{n}": found.clusters.label == n for n in found.clusters.numbers}
    each = per_patient(pd.DataFrame(values), patient, group, list(values))
    order = list(dict.fromkeys(table["group"].astype(str)))
    compared = compare_groups(each, list(values), order)
    write_table(each, out / "groups-patients.csv")
    write_table(compared, out / "groups.csv")
    return compared


def cluster_sheet(
    project: Project, clusters: Clusters, cluster: int, fields: Fields, most: int = _N_SHOWN
) -> Generator[Event, None, Image | None]:
    """Return the cells in the middle of a cluster side by side; None where no field can be read."""
    rows, title = _middle(project, clusters, cluster, most)
    return (yield from cell_sheet(project, fields, rows, title, distance_caption))


def _middle(project: Project, clusters: Clusters, cluster: int, most: int) -> tuple[NDArray[np.int64], str]:
    """Return the rows of the cells in the middle of a cluster, and the title of their sheet."""
    own = project.cells[clusters.label == cluster].drop_duplicates(PLACE_COLUMNS)
    rows = own.index[np.argsort(clusters.distance[own.index], kind="stable")][:most].to_numpy()
    return rows, f"Cluster {cluster}: {len(own)} cells, those in its middle first"


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

"""Groups of unusual cells that look alike: whether there is something that no known class explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN
from sklearn.decomposition import PCA

from napari_amil.core.errors import AmilError
from napari_amil.core.evaluation.layouts import plane
from napari_amil.core.evaluation.metrics import NORMAL
from napari_amil.core.types import ANOMALOUS_Q, UNSEEN

PLACE = ["image", "y0", "x0", "y1", "x1"]
"""Columns that tell one cell from another; a cell may be in several bags."""
NONE = -1
"""Cluster of a cell that is in none."""
_COMPONENTS = 10
_DENSITY_CELLS = 5
_FEWEST_OF_CLASS = 5
_MOST = 8.0  # deviations; more are not more abnormal
_STAINED = frozenset({"morph_blueness_z"})


@dataclass(frozen=True)
class ClusterSettings:
    """Which cells are looked at, and what counts as a group.

    Parameters
    ----------
    percentile
        Cells that are more anomalous than so many per cent of control cells are looked at, as are
        all with q < 0.05.
    min_cells
        Smallest number of cells of a cluster.
    """

    percentile: float = 97.5
    min_cells: int = 10


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of unusual cells.

    Parameters
    ----------
    label
        ``(n_cells,)`` number of the cluster of each row from 1, `NONE` for all others.
    place
        ``(n_cells, 2)`` the first two principal components of the embeddings of all cells.
    distance
        ``(n_cells,)`` distance to the centre of the own cluster in the space that was clustered; NaN
        outside.
    """

    label: NDArray[np.int64]
    place: NDArray[np.float64]
    distance: NDArray[np.float64]

    @property
    def numbers(self) -> list[int]:
        """Numbers of the clusters."""
        return sorted(set(self.label.tolist()) - {NONE})


def unusual_cells(cells: pd.DataFrame, settings: ClusterSettings) -> NDArray[np.bool_]:
    """Return which cells are looked at."""
    small = cells["anomaly_q"].to_numpy(np.float64) < ANOMALOUS_Q
    high = cells["anomaly_percentile"].to_numpy(np.float64) >= settings.percentile
    return np.asarray(small | high)


def cell_features(
    cells: pd.DataFrame, embeddings: NDArray[np.float32], settings: ClusterSettings
) -> NDArray[np.float64]:
    """Return what cells are clustered by, ``(n_cells, n_features)``: embedding and named measurements.

    Both are taken as deviations from the usual cells of the cohort, those that are not looked at, in their
    standard deviation; the ``morph_<name>_z`` are kept within 8. Embedding and measurements weigh alike,
    however many there are of each. What says more of the stain than of the cell is left out.
    """
    usual = ~unusual_cells(cells, settings)
    names = [name for name in cells if name.startswith("morph_") and name.endswith("_z")]
    names = [name for name in names if name not in _STAINED and cells[name].notna().any()]
    parts = [embeddings.astype(np.float64)]
    if names:
        z = np.nan_to_num(cells[names].to_numpy(np.float64), nan=0.0)
        parts.append(np.clip(z, -_MOST, _MOST))
    return np.concatenate([_deviations(part, usual) / np.sqrt(part.shape[1]) for part in parts], axis=1)


def _deviations(x: NDArray[np.float64], usual: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return deviations from the ``usual`` rows, of all rows where these are too few to tell."""
    known = x[usual] if usual.sum() > 1 else x
    spread = known.std(axis=0)
    return np.asarray((x - known.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def find_clusters(
    cells: pd.DataFrame, embeddings: NDArray[np.float32], settings: ClusterSettings
) -> Clusters:
    """Cluster the unusual cells by their features (HDBSCAN, McInnes et al. 2017).

    The features (`cell_features`) are reduced to their first 10 principal components among the unusual
    cells; a cell that is in several bags counts once, and is looked at if it is unusual in one of them.
    Clusters are numbered by size, the largest is 1.

    Raises
    ------
    AmilError
        If too few cells are unusual.
    """
    group = cells.groupby(PLACE, sort=False).ngroup().to_numpy()
    first = np.unique(group, return_index=True)[1]
    looked_at = np.zeros(len(first), dtype=bool)
    np.logical_or.at(looked_at, group, unusual_cells(cells, settings))
    chosen = first[looked_at]
    if len(chosen) < settings.min_cells:
        raise AmilError(
            f"Only {len(chosen)} cells are unusual, too few for a cluster of {settings.min_cells}; "
            "lower --percentile or --min-cells, or score more samples."
        )
    x = cell_features(cells, embeddings, settings)[chosen]
    x = PCA(min(_COMPONENTS, *x.shape), random_state=0).fit_transform(x)
    found = _dense_groups(x, settings.min_cells)
    sizes = pd.Series(found[found >= 0]).value_counts().index.tolist()
    number = {old: new for new, old in enumerate(sizes, start=1)}
    label = np.full(len(first), NONE)
    distance = np.full(len(first), np.nan)
    label[group[chosen]] = [number.get(old, NONE) for old in found]
    for old in sizes:
        own = x[found == old]
        distance[group[chosen[found == old]]] = np.linalg.norm(own - own.mean(axis=0), axis=1)
    return Clusters(label[group], plane(embeddings), distance[group])


def _dense_groups(x: NDArray[np.float64], min_cells: int) -> NDArray[np.int64]:
    """Return the group of each row, -1 where it is in none; all may be one group if there are not several."""
    for single in (False, True):
        density = min(_DENSITY_CELLS, len(x))
        clusterer = HDBSCAN(min_cells, min_samples=density, allow_single_cluster=single, copy=True)
        found = clusterer.fit_predict(x)
        if (found >= 0).any():
            break
    return np.asarray(found, dtype=np.int64)


def cluster_table(
    cells: pd.DataFrame,
    bags: pd.DataFrame,
    clusters: Clusters,
    classes: Sequence[str],
    features: NDArray[np.float64],
) -> pd.DataFrame:
    """Return one line per cluster, those of samples that no class explains first.

    Columns: ``cluster``, ``n_cells`` (each once), ``n_patients``, ``n_bags``, ``anomaly`` (mean),
    ``in_unseen_bags`` (share of the cells that lie in bags said to be unlike anything seen), and
    ``nearest_class`` with ``nearest_distance``: from the middle of the cluster to the middle of the cells of
    that class, in root mean squares of the distance of these cells from their middle.

    Parameters
    ----------
    classes
        That the model knows, the control class first.
    features
        ``(n_cells, n_features)`` as `cell_features` returns them.
    """
    bag = bags.set_index("bag")
    middles = _middles(cells, bags, classes, features)
    lines = []
    for number in clusters.numbers:
        own = cells[clusters.label == number]
        nearest, distance = _nearest(features[clusters.label == number].mean(axis=0), middles)
        lines.append(
            {
                "cluster": number,
                "n_cells": len(own.drop_duplicates(PLACE)),
                "n_patients": own["bag"].map(bag["patient"]).nunique(),
                "n_bags": own["bag"].nunique(),
                "anomaly": float(own["anomaly"].mean()),
                "in_unseen_bags": float((own["bag"].map(bag["verdict"]) == UNSEEN).mean()),
                "nearest_class": nearest,
                "nearest_distance": distance,
            }
        )
    columns = ["cluster", "n_cells", "n_patients", "n_bags", "anomaly", "in_unseen_bags"]
    table = pd.DataFrame(lines, columns=[*columns, "nearest_class", "nearest_distance"])
    return table.sort_values(["in_unseen_bags", "n_cells"], ascending=False, ignore_index=True)


Middle = tuple[NDArray[np.float64], float]
"""Where the cells of a class lie on average, and the root mean square of their distance from there."""


def _middles(
    cells: pd.DataFrame, bags: pd.DataFrame, classes: Sequence[str], features: NDArray[np.float64]
) -> dict[str, Middle]:
    """Return the middle of each known class: unusual cells of its bags, of the controls the usual ones.

    The class of a bag is its label or, where it has none, the verdict.
    """
    labels = (
        bags["label"].astype(object).where(bags["label"].notna() & (bags["label"] != ""), bags["verdict"])
    )
    of_bag = dict(zip(bags["bag"], labels, strict=True))
    of_cell = cells["bag"].map(of_bag).to_numpy(object)
    unusual = unusual_cells(cells, ClusterSettings())
    scored = np.isfinite(cells["anomaly"].to_numpy(np.float64))
    middles = {}
    for number, name in enumerate(classes):
        own = features[(of_cell == name) & scored & (unusual if number else ~unusual)]
        if len(own) >= _FEWEST_OF_CLASS:
            centre = own.mean(axis=0)
            middles[name] = centre, float(np.sqrt(((own - centre) ** 2).sum(axis=1).mean()))
    return middles


def _nearest(place: NDArray[np.float64], middles: dict[str, Middle]) -> tuple[str, float]:
    """Return the class whose middle is nearest in its own spread, and how far it is."""
    far = {
        name: float(np.linalg.norm(place - centre)) / max(spread, 1e-9)
        for name, (centre, spread) in middles.items()
    }
    if not far:
        return "", float("nan")
    name = min(far, key=far.__getitem__)
    return name, far[name]


def patient_table(cells: pd.DataFrame, bags: pd.DataFrame, clusters: Clusters) -> pd.DataFrame:
    """Return ``patient``, ``n_cells``, and as ``cluster_<n>`` the share of their cells in each cluster."""
    patient = cells["bag"].map(bags.set_index("bag")["patient"]).rename("patient")
    shares = {f"cluster_{n}": (clusters.label == n).astype(float) for n in clusters.numbers}
    table = pd.DataFrame({"n_cells": np.ones(len(cells)), **shares}).groupby(patient.to_numpy()).sum()
    table.iloc[:, 1:] = table.iloc[:, 1:].div(table["n_cells"], axis=0)
    table["n_cells"] = table["n_cells"].astype(int)
    return table.rename_axis("patient").reset_index()


def truth_table(cells: pd.DataFrame, clusters: Clusters, truth: str) -> pd.DataFrame:
    """Return how clusters agree with the true types of cells, each cell counted once.

    Columns: ``cluster``, ``type`` (the most frequent), ``purity`` (its share in the cluster) and
    ``completeness`` (share of all cells of this type that are in the cluster).

    Raises
    ------
    AmilError
        If the types are not known.
    """
    label, types = _once(cells, clusters, truth)
    lines = []
    for number in clusters.numbers:
        own = types[label == number]
        name, count = own.value_counts().index[0], int(own.value_counts().iloc[0])
        completeness = count / int((types == name).sum())
        lines.append((number, name, len(own), count / len(own), completeness))
    return pd.DataFrame(lines, columns=["cluster", "type", "n_cells", "purity", "completeness"])


def unseen_agreement(
    cells: pd.DataFrame, labels: pd.Series, clusters: Clusters, truth: str, unseen: str
) -> pd.DataFrame:
    """Return how clusters agree with the abnormal cell types of one class, each cell counted once.

    Columns: ``cluster``, ``purity`` (share of its cells that are of these types), ``completeness`` (share of
    all cells of these types that it holds) and ``f1``, the best first; the last line takes
    together all clusters of which more than half is of these types.

    Parameters
    ----------
    labels
        Class of the bag of each cell.
    truth
        Column with the true types.
    unseen
        The class.

    Raises
    ------
    AmilError
        If the types are not known, or no bag is of this class.
    """
    label, types = _once(cells, clusters, truth)
    of_class = cells.loc[labels.to_numpy() == unseen, truth].dropna()
    wanted = set(of_class) - {NORMAL, ""}
    if not wanted:
        raise AmilError(
            f"No bag of the class '{unseen}' holds cells of a known abnormal type; check --unseen."
        )
    target = types.isin(wanted).to_numpy()
    pure = [n for n in clusters.numbers if target[label == n].mean() > 0.5]
    groups = [(str(n), label == n) for n in clusters.numbers] + [("together", np.isin(label, pure))]
    lines = [(name, *_agreement(inside, target)) for name, inside in groups]
    table = pd.DataFrame(lines, columns=["cluster", "n_cells", "purity", "completeness", "f1"])
    best = table.iloc[:-1].sort_values("f1", ascending=False)
    return pd.concat([best, table.iloc[-1:]], ignore_index=True)


def _agreement(inside: NDArray[np.bool_], target: NDArray[np.bool_]) -> tuple[int, float, float, float]:
    both = int((inside & target).sum())
    purity = both / inside.sum() if inside.any() else float("nan")
    return (
        int(inside.sum()),
        float(purity),
        both / int(target.sum()),
        2 * both / int(inside.sum() + target.sum()),
    )


def _once(cells: pd.DataFrame, clusters: Clusters, truth: str) -> tuple[NDArray[np.int64], pd.Series]:
    """Return the cluster and the type of every cell of known type, each once."""
    if truth not in cells or not (cells[truth].fillna("") != "").any():
        raise AmilError(
            f"The true types of the cells are not known: there is no column '{truth}' with values."
        )
    known = (cells[truth].fillna("") != "") & ~cells.duplicated(PLACE)
    return clusters.label[known.to_numpy()], cells.loc[known, truth].reset_index(drop=True)

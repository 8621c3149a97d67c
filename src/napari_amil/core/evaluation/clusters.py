"""Clusters of unusual cells that no known class explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from napari_amil.core.base.columns import MORPH_Z, PLACE_COLUMNS, parts
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import Settings
from napari_amil.core.base.types import ANOMALOUS_Q, UNSEEN
from napari_amil.core.evaluation.metrics import NORMAL

"""Columns that tell one cell from another; a cell may be in several bags."""
NONE = -1
"""Cluster of a cell that is in none."""
_COMPONENTS = 10
_PERCENTILE, _UNEXPLAINED_PERCENTILE = 90.0, 75.0
_MOST_GROUPS, _CELLS_A_GROUP, _LEAST_VARIANCE = 12, 8, 1e-3
_FEWEST_OF_CLASS = 5
_MOST = 8.0  # deviations; more are not more abnormal
_STAINED = frozenset({"morph_blueness_z"})


class ClusterSettings(Settings):
    """Choice of the cells to cluster, and least size of a cluster."""

    percentile: float | None = Field(None, ge=0, lt=100)
    """Cells more anomalous than this percentage of control cells are clustered, as are all with q < 0.05;
    empty = 90 in all samples, and 75 in those that no class explains, which hold fewer known cells."""
    min_cells: int = Field(10, ge=2)
    """Smallest number of cells of a cluster."""
    unexplained: bool = False
    """Cluster only samples that no class explains: their label is no class of the model or, without a label,
    the verdict is none."""

    @property
    def threshold(self) -> float:
        """Percentile from which on cells are looked at."""
        if self.percentile is not None:
            return self.percentile
        return _UNEXPLAINED_PERCENTILE if self.unexplained else _PERCENTILE


@dataclass(frozen=True, eq=False)
class Clusters:
    """Clusters of unusual cells.

    Parameters
    ----------
    label
        ``(n_cells,)`` number of the cluster of each row from 1, `NONE` for all others.
    place
        ``(n_cells, 2)`` the first two principal components of the embeddings of all cells; NaN where they
        were not asked for.
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
    """Return a mask of the unusual cells; a box that holds no whole cell is none."""
    small = cells["anomaly_q"].to_numpy(np.float64) < ANOMALOUS_Q
    high = cells["anomaly_percentile"].to_numpy(np.float64) >= settings.threshold
    measured = cells.get("morph_distance", cells["anomaly"]).notna().to_numpy()
    return np.asarray((small | high) & (measured | ~measured.any()))


def looked_at(
    cells: pd.DataFrame, bags: pd.DataFrame, classes: Sequence[str], settings: ClusterSettings
) -> NDArray[np.bool_]:
    """Return a mask of the cells to cluster: unusual ones, of all samples or of unexplained ones."""
    unusual = unusual_cells(cells, settings)
    if not settings.unexplained:
        return unusual
    unknown = ~_class_of_bags(bags).isin(list(classes))
    return unusual & cells["bag"].isin(bags["bag"][unknown]).to_numpy()


def _class_of_bags(bags: pd.DataFrame) -> pd.Series:
    """Return the label of every bag or, where it has none, the verdict."""
    labels = bags["label"].astype(object)
    return labels.where(labels.notna() & (labels != ""), bags["verdict"])


def cell_features(
    cells: pd.DataFrame, embeddings: NDArray[np.float32], chosen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the features to cluster by, ``(n_cells, n_features)``: embedding and named measurements.

    Both are standardised among the cells that are ``chosen``; the ``morph_<name>_z`` are kept within 8
    before. Embedding and measurements weigh alike, however many there are of each. What says more
    of the stain than of the cell is left out.
    """
    names = [name for name in parts(cells, MORPH_Z).values() if name not in _STAINED]
    names = [name for name in names if cells[name].notna().any()]
    blocks = [embeddings.astype(np.float64)]
    if names:
        z = np.nan_to_num(cells[names].to_numpy(np.float64), nan=0.0)
        blocks.append(np.clip(z, -_MOST, _MOST))
    return np.concatenate([_deviations(part, chosen) / np.sqrt(part.shape[1]) for part in blocks], axis=1)


def _deviations(x: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return deviations from the mean of the ``known`` rows, of all rows where these are too few to tell."""
    rows = x[known] if known.sum() > 1 else x
    spread = rows.std(axis=0)
    return np.asarray((x - rows.mean(axis=0)) / np.where(spread > 0, spread, 1.0))


def main_components(features: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the first 10 principal components of the ``chosen`` cells for all cells."""
    known = features[chosen]
    fitted = PCA(min(_COMPONENTS, *known.shape), random_state=0).fit(known)
    return np.asarray(fitted.transform(features))


def find_clusters(
    cells: pd.DataFrame, features: NDArray[np.float64], chosen: NDArray[np.bool_], min_cells: int
) -> Clusters:
    """Cluster the chosen cells by their features with a mixture of Gaussians.

    The features are reduced to their first 10 principal components among the chosen cells; the
    number of Gaussians, at most 12, is that of the least BIC, and one of fewer than ``min_cells`` cells is no
    cluster. A cell that is in several bags counts once, and is chosen if it is in one of them. Clusters are
    numbered by size, the largest is 1.

    Parameters
    ----------
    features
        ``(n_cells, n_features)`` as `cell_features` returns them.
    chosen
        ``(n_cells,)`` as `looked_at` returns it.

    Raises
    ------
    AmilError
        If too few cells are unusual.
    """
    group = cells.groupby(PLACE_COLUMNS, sort=False).ngroup().to_numpy()
    first = np.unique(group, return_index=True)[1]
    any_chosen = np.zeros(len(first), dtype=bool)
    np.logical_or.at(any_chosen, group, chosen)
    rows = first[any_chosen]
    if len(rows) < min_cells:
        raise AmilError(
            f"Only {len(rows)} cells are unusual, too few for a cluster of {min_cells}; "
            "lower --percentile or --min-cells, or score more samples."
        )
    x = features[rows]
    x = PCA(min(_COMPONENTS, *x.shape), random_state=0).fit_transform(x)
    found = _mixture_groups(x, min_cells)
    sizes = pd.Series(found[found >= 0]).value_counts().index.tolist()
    number = {old: new for new, old in enumerate(sizes, start=1)}
    label = np.full(len(first), NONE)
    distance = np.full(len(first), np.nan)
    label[group[rows]] = [number.get(old, NONE) for old in found]
    for old in sizes:
        own = x[found == old]
        distance[group[rows[found == old]]] = np.linalg.norm(own - own.mean(axis=0), axis=1)
    return Clusters(label[group], np.full((len(cells), 2), np.nan), distance[group])


def _mixture_groups(x: NDArray[np.float64], min_cells: int) -> NDArray[np.int64]:
    """Return the Gaussian of each row, -1 where fewer than ``min_cells`` rows share it."""
    most = max(1, min(_MOST_GROUPS, len(x) // _CELLS_A_GROUP))
    floor = _LEAST_VARIANCE * float(x.var()) + 1e-12
    fitted = [
        GaussianMixture(n, covariance_type="full", reg_covar=floor, random_state=0).fit(x)
        for n in range(1, most + 1)
    ]
    found = np.asarray(min(fitted, key=lambda mixture: mixture.bic(x)).predict(x), dtype=np.int64)
    sizes = np.bincount(found, minlength=most)
    return np.where(sizes[found] >= min_cells, found, NONE)


def cluster_table(
    cells: pd.DataFrame,
    bags: pd.DataFrame,
    clusters: Clusters,
    classes: Sequence[str],
    features: NDArray[np.float64],
) -> pd.DataFrame:
    """Return one line per cluster, those of samples that no class explains first.

    Columns: ``cluster``, ``n_cells`` (each once), ``n_patients``, ``n_bags``, ``anomaly`` (mean),
    ``in_unseen_bags`` (share of the cells that lie in bags unlike anything seen), and
    ``nearest_class`` with ``nearest_distance``: how far its cells are from those of it (`separation`).

    Parameters
    ----------
    classes
        That the model knows, the control class first.
    features
        ``(n_cells, n_components)`` as `main_components` returns them.
    """
    bag = bags.set_index("bag")
    known = _of_classes(cells, bags, classes, features)
    lines = []
    for number in clusters.numbers:
        own = cells[clusters.label == number]
        nearest, distance = _nearest(features[clusters.label == number], known)
        lines.append(
            {
                "cluster": number,
                "n_cells": len(own.drop_duplicates(PLACE_COLUMNS)),
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


def _of_classes(
    cells: pd.DataFrame, bags: pd.DataFrame, classes: Sequence[str], features: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return the features of cells of each known class: the unusual ones, of the controls the usual ones."""
    of_bag = dict(zip(bags["bag"], _class_of_bags(bags), strict=True))
    of_cell = cells["bag"].map(of_bag).to_numpy(object)
    unusual = unusual_cells(cells, ClusterSettings())
    scored = np.isfinite(cells["anomaly"].to_numpy(np.float64))
    own = {
        name: features[(of_cell == name) & scored & (unusual if number else ~unusual)]
        for number, name in enumerate(classes)
    }
    return {name: x for name, x in own.items() if len(x) >= _FEWEST_OF_CLASS}


def _nearest(own: NDArray[np.float64], known: dict[str, NDArray[np.float64]]) -> tuple[str, float]:
    """Return the class that is least apart from some cells, and how far apart it is."""
    far = {name: separation(own, x) for name, x in known.items()}
    if not far:
        return "", float("nan")
    name = min(far, key=far.__getitem__)
    return name, far[name]


def separation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the separation of two groups of points ``(n, k)`` along the line that joins their means.

    The distance of the means in the standard deviation along that line, pooled: at 1 the groups overlap
    by more than half, at 4 hardly at all.
    """
    line = b.mean(axis=0) - a.mean(axis=0)
    length = float(np.linalg.norm(line))
    if not length:
        return 0.0
    pooled = float(np.sqrt(((a @ line / length).var() + (b @ line / length).var()) / 2))
    return length / max(pooled, 1e-9)


def patient_table(cells: pd.DataFrame, bags: pd.DataFrame, clusters: Clusters) -> pd.DataFrame:
    """Return ``patient``, ``n_cells``, and as ``cluster_<n>`` the share of their cells in each cluster."""
    patient = cells["bag"].map(bags.set_index("bag")["patient"]).rename("patient")
    shares = {f"cluster_{n}": (clusters.label == n).astype(float) for n in clusters.numbers}
    table = pd.DataFrame({"n_cells": np.ones(len(cells)), **shares}).groupby(patient.to_numpy()).sum()
    table.iloc[:, 1:] = table.iloc[:, 1:].div(table["n_cells"], axis=0)
    table["n_cells"] = table["n_cells"].astype(int)
    return table.rename_axis("patient").reset_index()


def truth_table(cells: pd.DataFrame, clusters: Clusters, truth: str) -> pd.DataFrame:
    """Return the agreement of clusters with the true types of cells, each cell counted once.

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
    """Return the agreement of clusters with the abnormal cell types of one class, each cell counted once.

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
    known = (cells[truth].fillna("") != "") & ~cells.duplicated(PLACE_COLUMNS)
    return clusters.label[known.to_numpy()], cells.loc[known, truth].reset_index(drop=True)

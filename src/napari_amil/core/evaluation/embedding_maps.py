"""Two-dimensional maps of embeddings by t-SNE and UMAP; of many cells, no rare one is left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsRegressor

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.optional import optional

LAYOUTS = ("tsne", "umap")
"""Layouts that are worked out on demand."""
MOST = 20_000
"""So many cells are laid out themselves; others are placed among those that they are most like."""
_NEIGHBOURS = 3


def laid_out_rows(rare: NDArray[np.bool_], most: int = MOST, seed: int = 0) -> NDArray[np.int64]:
    """Return the rows of the cells to lay out: all where they are few, else all rare ones and some others.

    Parameters
    ----------
    rare
        ``(n_cells,)`` cells that must be among them, even if they are more than ``most``.
    """
    if len(rare) <= most:
        return np.arange(len(rare))
    typical = np.flatnonzero(~rare)
    room = min(max(most - int(rare.sum()), _NEIGHBOURS), len(typical))
    drawn = np.random.default_rng(seed).choice(typical, room, replace=False)
    return np.sort(np.concatenate([np.flatnonzero(rare), drawn]))


def neighbour_plane(
    embeddings: NDArray[np.float32],
    rare: NDArray[np.bool_],
    layout: str = "tsne",
    most: int = MOST,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return places ``(n_cells, 2)`` in which cells that are alike stay together.

    t-SNE (van der Maaten 2008) or UMAP (McInnes 2018). Beyond ``most`` cells, a cell that is not laid
    out itself lies at the mean place of the 3 laid out cells that it is most like, so every cell is shown.
    A cell that is in several bags is laid out once: its copies would be its only neighbours.

    Parameters
    ----------
    rare
        ``(n_cells,)`` cells that are laid out themselves in any case.
    layout
        One of `LAYOUTS`.

    Raises
    ------
    AmilError
        If there is no such layout.
    MissingExtraError
        If umap-learn is not installed.
    """
    if layout not in LAYOUTS:
        raise AmilError(f"There is no layout '{layout}'; choose one of {', '.join(LAYOUTS)}.")
    once, copy_of = np.unique(embeddings, axis=0, return_inverse=True)
    of = copy_of.reshape(-1)
    x = once.astype(np.float64)
    rows = laid_out_rows(np.bincount(of, rare) > 0, most, seed)
    placed = _laid_out(x[rows], layout, seed)
    if len(rows) == len(x):
        return placed[of]
    others = np.setdiff1d(np.arange(len(x)), rows)
    whole = np.empty((len(x), 2))
    whole[rows] = placed
    whole[others] = KNeighborsRegressor(_NEIGHBOURS).fit(x[rows], placed).predict(x[others])
    return whole[of]


def _laid_out(x: NDArray[np.float64], layout: str, seed: int) -> NDArray[np.float64]:
    if layout == "umap":
        neighbours = min(15, len(x) - 1)
        found = optional("umap").UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(x)
    else:
        perplexity = min(30.0, max(1.0, (len(x) - 1) / 3))
        found = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(x)
    return np.asarray(found, dtype=np.float64)

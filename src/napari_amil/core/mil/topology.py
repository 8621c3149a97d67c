"""Topological regulariser: the nearest neighbours of cells in the image stay neighbours in the embedding."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.csgraph import minimum_spanning_tree
from torch import Tensor

MOST_CELLS = 500
"""Cells of a bag that are compared; of a larger one as many, evenly spaced."""
_FEWEST_CELLS = 3


def topological_loss(x: Tensor, z: Tensor) -> Tensor:
    """Return the distance of the 0-dimensional topology of embeddings from that of the instances.

    The persistent homology of degree 0 of a point cloud is its minimum spanning tree: each edge merges two
    components at the distance that it has. With distances ``A_x`` and ``A_z``, each divided by its
    largest, and the edges ``t_x`` and ``t_z`` of their trees (Kazeminia, Marr & Rieck 2023, after Moor et
    al. 2020)

        ``L = 1 / (2 (n - 1)) (|A_x[t_x] - A_z[t_x]|^2 + |A_x[t_z] - A_z[t_z]|^2)``

    Which edges the trees have has no gradient; their lengths in the embedding do.

    Parameters
    ----------
    x
        ``(n, ...)`` instances of one bag, without a gradient.
    z
        ``(n, k)`` their embeddings.
    """
    if len(z) > MOST_CELLS:
        rows = torch.linspace(0, len(z) - 1, MOST_CELLS, device=z.device).round().long()
        x, z = x[rows], z[rows]
    n = len(z)
    if n < _FEWEST_CELLS:
        return z.new_zeros(())
    a_x, a_z = (_distances(values.flatten(1).float()) for values in (x.detach(), z))
    loss = z.new_zeros(())
    for tree in (_tree(a_x), _tree(a_z)):
        first, second = (torch.from_numpy(ends).to(z.device) for ends in tree)
        loss = loss + (a_x[first, second] - a_z[first, second]).square().sum()
    return loss / (2 * (n - 1))


def bags_topological_loss(x: Tensor, z: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean loss over bags of ``lengths (n_bags,)`` cells."""
    sizes = lengths.tolist()
    pairs = zip(x.split(sizes), z.split(sizes), strict=True)
    return torch.stack([topological_loss(own_x, own_z) for own_x, own_z in pairs]).mean()


def _distances(values: Tensor) -> Tensor:
    """Return Euclidean distances ``(n, n)`` divided by the largest, which has no gradient."""
    square = (values[:, None] - values[None]).square().sum(dim=2) if values.shape[1] < 64 else _gram(values)
    distance = (square + 1e-12).sqrt()
    return distance / distance.detach().max().clamp_min(1e-12)


def _gram(values: Tensor) -> Tensor:
    """Return squared distances ``(n, n)`` from inner products, for long vectors."""
    centred = values - values.mean(dim=0)
    norm = centred.square().sum(dim=1)
    return (norm[:, None] + norm[None] - 2 * centred @ centred.T).clamp_min(0.0)


def _tree(distances: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return both ends ``(n - 1,)`` of the edges of the minimum spanning tree."""
    known = distances.detach().cpu().double().numpy() + 1.0  # SciPy takes a distance of 0 for no edge
    tree = minimum_spanning_tree(np.triu(known, 1)).tocoo()
    return tree.row.astype(np.int64), tree.col.astype(np.int64)

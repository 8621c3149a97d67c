"""How much each cell of a bag matters: attention a_n, which sums to 1 in the bag."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_amil.core.mil.batch import segment_softmax


class Attention(nn.Module):
    """Attention of Ilse et al. 2018: ``a_n = softmax_n(w^T tanh(V z_n))``, or gated (eq. 9).

    The gated form multiplies the tanh branch by ``sigmoid(U z_n)``. ``a_n`` is relative: it says
    what matters within this bag, and is not an anomaly score.

    Parameters
    ----------
    latent_dim
        Length k of an embedding.
    hidden_dim
        Width of the hidden layer.
    gated
        Use the gate.
    """

    def __init__(self, latent_dim: int, hidden_dim: int, *, gated: bool) -> None:
        super().__init__()
        self.v = nn.Linear(latent_dim, hidden_dim)
        self.u = nn.Linear(latent_dim, hidden_dim) if gated else None
        self.w = nn.Linear(hidden_dim, 1)

    def forward(self, z: Tensor, segment: Tensor, n_bags: int) -> Tensor:
        """Return ``a_n (n_cells,)`` of embeddings ``z (n_cells, k)``."""
        hidden = torch.tanh(self.v(z))  # (n_cells, hidden)
        if self.u is not None:
            hidden = hidden * torch.sigmoid(self.u(z))
        return segment_softmax(self.w(hidden)[:, 0], segment, n_bags)  # a_n (n_cells,)

"""The topological regulariser against trees by hand, its invariances and its gradient."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from napari_amil.core.mil.topology import MOST_CELLS, bags_topological_loss, topological_loss


def by_hand(x: np.ndarray, z: np.ndarray) -> float:
    """Return the loss by Kruskal's algorithm."""
    total, n = 0.0, len(x)
    a = {}
    for name, values in (("x", x), ("z", z)):
        far = np.sqrt(((values[:, None] - values[None]) ** 2).sum(-1))
        a[name] = far / far.max()
    for name in a:
        part = list(range(n))
        for i, j in sorted(itertools.combinations(range(n), 2), key=lambda edge: a[name][edge]):
            if part[i] != part[j]:
                part = [part[i] if p == part[j] else p for p in part]
                total += (a["x"][i, j] - a["z"][i, j]) ** 2
    return total / (2 * (n - 1))


@pytest.mark.parametrize("width", [3, 100])
def test_the_loss_is_that_of_both_trees(width: int) -> None:
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(12, width)), rng.normal(size=(12, 4))
    found = topological_loss(torch.from_numpy(x), torch.from_numpy(z))
    assert float(found) == pytest.approx(by_hand(x, z), rel=1e-4)


def test_a_scaled_turned_copy_costs_nothing_and_equal_cells_are_allowed() -> None:
    x = torch.randn(10, 3)
    turn = torch.linalg.qr(torch.randn(3, 3))[0]
    assert float(topological_loss(x, 5 * x @ turn + 2)) < 1e-8
    x[1] = x[0]
    assert bool(topological_loss(x, torch.randn(10, 4)).isfinite())
    assert float(topological_loss(torch.zeros(4, 3), torch.zeros(4, 2))) == pytest.approx(0, abs=1e-6)


def test_the_order_of_the_cells_does_not_matter() -> None:
    x, z, order = torch.rand(20, 3, 4, 4), torch.randn(20, 5), torch.randperm(20)
    torch.testing.assert_close(topological_loss(x, z), topological_loss(x[order], z[order]))


def test_descent_brings_neighbours_together() -> None:
    torch.manual_seed(0)
    x, z = torch.randn(15, 3), torch.randn(15, 3, requires_grad=True)
    before = float(topological_loss(x, z).detach())
    optimiser = torch.optim.Adam([z], 0.05)
    for _ in range(150):
        optimiser.zero_grad()
        topological_loss(x, z).backward()
        optimiser.step()
    assert float(topological_loss(x, z).detach()) < 0.2 * before


def test_bags_are_averaged_and_small_or_large_ones_pass() -> None:
    x, z = torch.randn(9, 3), torch.randn(9, 2)
    lengths = torch.tensor([4, 2, 3])
    wanted = (topological_loss(x[:4], z[:4]) + topological_loss(x[6:], z[6:])) / 3  # two cells cost nothing
    torch.testing.assert_close(bags_topological_loss(x, z, lengths), wanted)
    many = torch.randn(MOST_CELLS + 40, 3)
    assert float(topological_loss(many, 2 * many)) < 1e-8

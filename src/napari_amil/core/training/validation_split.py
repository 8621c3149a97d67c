"""Split of training bags into training and validation patients, and the order of bags in an epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_PATIENTS_NEEDED = 3  # classes with fewer patients stay in the training part


def split_patients(
    labels: NDArray[np.int64], patients: Sequence[str], fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split bags into training and validation so that no patient is on both sides.

    Of every class about ``fraction`` of the patients, and at least one, is held out; a class with
    fewer than 3 patients keeps them all. With a ``fraction`` of 0 no patient is held out.

    Returns
    -------
    tuple
        Numbers of the training bags and of the validation bags, ascending.
    """
    names = np.asarray(patients)
    if not fraction:
        return np.arange(len(names)), np.arange(0)
    generator = np.random.default_rng(seed)
    held: set[str] = set()
    for label in np.unique(labels):
        of_class = np.array(sorted(set(names[labels == label]) - held))
        if len(of_class) >= _PATIENTS_NEEDED:
            n_held = max(1, round(fraction * len(of_class)))
            held |= set(generator.permutation(of_class)[:n_held].tolist())
    inside = np.isin(names, sorted(held))
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def draw_bags(labels: Tensor, generator: torch.Generator, *, balance: float) -> Tensor:
    """Return ``(n_bags,)`` bag numbers in random order for one epoch.

    A class with ``n`` bags is drawn in proportion to ``n ** (1 - balance)``: 0 shows every bag once,
    1 every class equally often. A bag comes again only when all others of its class were drawn.
    """
    if balance == 0:
        return torch.randperm(len(labels), generator=generator)
    classes, counts = labels.unique(return_counts=True)
    share = counts.double() ** (1.0 - balance)
    n_drawn = torch.ceil(len(labels) * share / share.sum()).long().tolist()
    drawn = []
    for label, n in zip(classes, n_drawn, strict=True):
        bags = (labels == label).nonzero().flatten()
        rounds = -(-n // len(bags))
        turns = [bags[torch.randperm(len(bags), generator=generator)] for _ in range(rounds)]
        drawn.append(torch.cat(turns)[:n])
    order = torch.cat(drawn)
    return order[torch.randperm(len(order), generator=generator)][: len(labels)]

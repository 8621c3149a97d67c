"""Deletion curves: how a logit falls when the cells with the highest scores, or random ones, are removed."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.base.events import Event, Step, drain
from napari_amil.core.base.types import Floats
from napari_amil.core.evaluation.figures import COLOURS, CONTROL_COLOUR, panels
from napari_amil.core.mil.model import AmilModel

SHARES = np.array([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
"""Shares of the cells that are removed; at least one cell always stays."""
N_DRAWS = 20
"""Random orders whose curves are averaged."""
RANDOM = "random"
OF_CONTRIBUTION = "contribution"
"""Name of the order by contribution to the logit of the predicted class."""


@dataclass(frozen=True, eq=False)
class BagCells:
    """The embedded cells of one bag, and scores by which cells are ranked.

    Parameters
    ----------
    z, distance
        ``(n_cells, k)`` embeddings, ``(n_cells,)`` distances d_n that the pooling reads.
    scores
        ``name -> (n_cells,)``, larger for more important. The contribution to the predicted class need
        not be among them.
    temperature
        By which the logits are divided before they become probabilities.
    measurements
        ``(n_cells, m)``, for a model that judges their distribution (`BagProfile`).
    """

    z: Tensor
    distance: Tensor
    scores: Mapping[str, NDArray[np.floating]]
    temperature: float = 1.0
    measurements: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Deletion:
    """Deletion curves of one bag: cells are removed, the rest is scored again.

    Parameters
    ----------
    predicted
        Number of the class whose curves these are: the predicted one of the whole bag.
    probability, logit
        ``order -> (n_steps,)`` of that class after each share of `SHARES` was removed: of each score from
        the highest down, and of ``random`` the mean of `N_DRAWS` random orders.
    """

    predicted: int
    probability: dict[str, Floats]
    logit: dict[str, Floats]

    def areas(self) -> dict[str, float]:
        """Return the area between the random curve and that of each score, in probability and logit.

        Positive where the verdict loses more with the cells that the score points at than with as many
        random ones (Petsiuk et al. 2018, RISE; here against chance). The unit is the mean over the
        shares removed.
        """
        found = {}
        for kind, curves in (("probability", self.probability), ("logit", self.logit)):
            for name in curves:
                if name != RANDOM:
                    gap = curves[RANDOM] - curves[name]
                    found[f"{kind}_area_{name}"] = float(np.trapezoid(gap, SHARES) / SHARES[-1])
        return found


def deletion(model: AmilModel, bag: BagCells, device: torch.device, seed: int = 0) -> Deletion:
    """Return the deletion curves of one bag; the same seed gives the same random orders."""
    found: Deletion = drain(deleting(model, bag, device, seed))
    return found


def deleting(
    model: AmilModel, bag: BagCells, device: torch.device, seed: int = 0
) -> Generator[Event, None, Deletion]:
    """As `deletion`, with a step for every order in which cells are removed."""
    z, d, measured = bag.z.to(device), bag.distance.to(device), bag.measurements
    n_cells = len(z)
    with torch.inference_mode():
        whole = model.aggregate(z, torch.tensor([n_cells], device=device), d, None, measured)
    predicted = int(whole.logits[0].argmax())
    scores = {**bag.scores, OF_CONTRIBUTION: whole.contribution[:, predicted].cpu().numpy()}
    orders = {name: [np.argsort(-np.asarray(score), kind="stable")] for name, score in scores.items()}
    rng = np.random.default_rng(seed)
    orders[RANDOM] = [rng.permutation(n_cells) for _ in range(N_DRAWS)]
    removed = np.minimum(np.round(SHARES * n_cells).astype(int), n_cells - 1)
    done, total = 0, sum(len(ways) for ways in orders.values())
    probability, logit = {}, {}
    for name, ways in orders.items():
        parts = []
        for order in ways:
            yield Step("deletion", done, total, "Removing cells and judging the rest")
            parts.append(_logits(model, (z, d, measured), order, removed))
            done += 1
        logits = torch.stack(parts)  # (ways, steps, classes)
        probability[name] = (logits / bag.temperature).softmax(dim=2)[..., predicted].mean(dim=0).numpy()
        logit[name] = logits[..., predicted].mean(dim=0).numpy()
    return Deletion(predicted, probability, logit)


@torch.inference_mode()
def _logits(
    model: AmilModel,
    cells: tuple[Tensor, Tensor, Tensor | None],
    order: NDArray[np.int64],
    removed: NDArray[np.int64],
) -> Tensor:
    """Return the logits ``(n_steps, n_classes)`` of the remaining cells as the first of ``order`` go."""
    z, d, measured = cells
    rows = torch.from_numpy(np.concatenate([order[n:] for n in removed])).to(z.device)
    lengths = torch.from_numpy(len(order) - removed).to(z.device)
    left = None if measured is None else measured[rows.to(measured.device)]
    return model.aggregate(z[rows], lengths, d[rows], None, left).logits.cpu().double()


def deletion_metrics(table: pd.DataFrame, control: str) -> dict[str, float]:
    """Return the mean area of each score over the bags that are not predicted as control.

    Of a bag that is predicted as control the cells that speak for illness are no reasons, so a score of
    anomaly cannot be expected to point at them.

    Parameters
    ----------
    table
        One line per bag: ``predicted``, ``probability_area_<score>``, ``logit_area_<score>``.
    """
    ill = table[table["predicted"] != control]
    names = [name for name in table.columns if "_area_" in name]
    return {f"deletion_{name}": float(ill[name].mean()) if len(ill) else float("nan") for name in names}


def draw_deletions(deletions: Sequence[Deletion], titles: Mapping[str, str] | None = None) -> Figure:
    """Return the mean deletion curves of some bags: probability and logit of the predicted class."""
    figure, axes = panels(1, 2, (9.0, 3.6))
    labels = {"probability": "Probability of the predicted class", "logit": "Logit of the predicted class"}
    for ax, (kind, label) in zip(axes[0], labels.items(), strict=True):
        curves = [getattr(deletion, kind) for deletion in deletions]
        names = [name for name in curves[0] if name != RANDOM]
        for number, name in enumerate((*names, RANDOM)):
            mean = np.mean([curve[name] for curve in curves], axis=0)
            colour, style = (CONTROL_COLOUR, "--") if name == RANDOM else (COLOURS[number], "-")
            shown = (titles or {}).get(name, name)
            ax.plot(100 * SHARES, mean, style, color=colour, label=shown, marker=".", markersize=4)
        ax.set_xlabel("Cells removed, highest score first (%)")
        ax.set_ylabel(f"{label}\n(mean of {len(deletions)} bags)")
    axes[0, 0].legend(frameon=False, fontsize=8)
    return figure

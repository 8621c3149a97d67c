"""Two classes: sensitivity and specificity at a threshold fixed beforehand, and the decision curve."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_amil.core.base.types import Floats
from napari_amil.core.evaluation.figures import COLOURS, CONTROL_COLOUR, panels

_THRESHOLDS = np.linspace(0.01, 0.99, 99)


def binary_metrics(ill: NDArray[np.bool_], probability: Floats, threshold: float) -> dict[str, float]:
    """Return metrics of a probability that tells ill from healthy bags; NaN where they are undefined.

    The threshold must not come from these bags: chosen on them, both rates come out too high.

    Parameters
    ----------
    ill
        ``(n_bags,)`` whether the bag is of the class that is not the control.
    probability
        ``(n_bags,)`` of that class.
    threshold
        Probability from which on a bag is called ill, fixed on the bags of the training.

    Returns
    -------
    dict
        ``threshold``, ``sensitivity``, ``specificity``, ``balanced_accuracy_at_threshold`` and ``brier``,
        the mean squared error of the probability.
    """
    called = probability >= threshold
    known = not math.isnan(threshold)
    sensitivity = float(called[ill].mean()) if known and ill.any() else math.nan
    specificity = float((~called[~ill]).mean()) if known and not ill.all() else math.nan
    return {
        "threshold": threshold,
        "sensitivity": sensitivity,
        "specificity": specificity,
        "balanced_accuracy_at_threshold": (sensitivity + specificity) / 2,
        "brier": float(np.mean((probability - ill) ** 2)) if len(ill) else math.nan,
    }


def net_benefit(ill: NDArray[np.bool_], probability: Floats, thresholds: Floats) -> Floats:
    """Return the net benefit at each threshold ``t`` (Vickers and Elkin 2006).

    ``(true positives - false positives t / (1 - t)) / n``: a threshold says how many false alarms one found
    patient is worth, and what is gained is counted in found patients per patient.
    """
    called = probability[None, :] >= thresholds[:, None]
    odds = thresholds / (1.0 - thresholds)
    right, wrong = (called & ill).mean(axis=1), (called & ~ill).mean(axis=1)
    return np.asarray(right - wrong * odds)


def draw_decision_curve(ill: NDArray[np.bool_], probability: Floats, name: str) -> Figure:
    """Return the net benefit of the model over all thresholds, beside calling every patient or none ill.

    Parameters
    ----------
    name
        The class that is not the control.
    """
    figure, axes = panels(1, 1, (5.6, 4.2))
    ax = axes[0, 0]
    of_model = net_benefit(ill, probability, _THRESHOLDS)
    of_all = net_benefit(ill, np.ones(len(ill)), _THRESHOLDS)
    ax.plot(_THRESHOLDS, of_model, color=COLOURS[0], linewidth=1.8, label="by the model")
    ax.plot(_THRESHOLDS, of_all, color=CONTROL_COLOUR, linewidth=1.2, label=f"everybody is called {name}")
    ax.axhline(0.0, color="#000000", linewidth=0.8, label=f"nobody is called {name}")
    most = float(ill.mean()) if len(ill) else 1.0
    ax.set(
        xlim=(0, 1),
        ylim=(-0.1 * max(most, 0.1), 1.1 * max(most, 0.1)),
        xlabel=f"Probability of {name} from which on a patient is called so",
        ylabel="Net benefit (found patients per patient)",
        title="Decision curve",
    )
    ax.legend(fontsize=8, frameon=False)
    return figure

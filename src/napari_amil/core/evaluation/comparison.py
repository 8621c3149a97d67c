"""Ablation table: every row measured over runs and folds, and compared with the reference row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from napari_amil.core.base.types import Floats
from napari_amil.core.evaluation.metrics import (
    Fold,
    bag_metrics,
    interval,
    nan_mean,
    patient_weights,
    weighted_accuracy,
    weighted_auroc,
)
from napari_amil.core.evaluation.predictions import Predictions

N_RESAMPLES = 2000
"""Resamples of the bootstrap over patients."""
WITH_INTERVAL = {"accuracy": weighted_accuracy, "macro_auroc": weighted_auroc}
"""Figures that get an interval and a difference."""


@dataclass(frozen=True, eq=False)
class Truth:
    """True labels and patients of the bags of a cohort, in its order.

    Parameters
    ----------
    labels
        ``(n_bags,)`` numbers of the classes.
    patients
        Patient of each bag.
    classes
        Names of the classes.
    cell_type
        For each bag ``(n_cells,)`` names; empty where unknown.
    """

    labels: NDArray[np.int64]
    patients: tuple[str, ...]
    classes: tuple[str, ...]
    cell_type: tuple[NDArray[Any], ...]

    @cached_property
    def weights(self) -> Floats:
        """Number of times each bag is in each resample of patients, ``(n_resamples, n_bags)``."""
        return patient_weights(self.labels, self.patients, N_RESAMPLES)


@dataclass(frozen=True, eq=False)
class RunResult:
    """One row of the table in one run: for each fold the numbers of its bags and their predictions."""

    bags: tuple[NDArray[np.int64], ...]
    predictions: tuple[Predictions, ...]

    def folds(self, truth: Truth) -> list[Fold]:
        """Return the bags with labels and probabilities, fold by fold."""
        return [
            Fold(bags, truth.labels[bags], predictions.probabilities)
            for bags, predictions in zip(self.bags, self.predictions, strict=True)
        ]

    def metrics(self, truth: Truth) -> dict[str, float]:
        """Return the mean over the folds of every metric (as published), and ``<metric>_pooled``."""
        each = [
            predictions.metrics(
                truth.labels[bags], truth.classes, np.concatenate([truth.cell_type[bag] for bag in bags])
            )
            for bags, predictions in zip(self.bags, self.predictions, strict=True)
        ]
        names = dict.fromkeys(name for fold in each for name in fold if name != "n_bags")
        means = {
            name: float(nan_mean(np.array([fold.get(name, np.nan) for fold in each]), axis=0))
            for name in names
        }
        probabilities = np.concatenate([predictions.probabilities for predictions in self.predictions])
        pooled = bag_metrics(truth.labels[np.concatenate(self.bags)], probabilities, truth.classes)
        return means | {f"{name}_pooled": value for name, value in pooled.items() if name != "n_bags"}

    def confusion(self, truth: Truth) -> NDArray[np.int64]:
        """Return the confusion matrix of bags, ``(n_classes, n_classes)``: true class by predicted class."""
        predicted = np.concatenate([one.probabilities.argmax(axis=1) for one in self.predictions])
        numbers = range(len(truth.classes))
        matrix: NDArray[np.int64] = confusion_matrix(
            truth.labels[np.concatenate(self.bags)], predicted, labels=numbers
        )
        return matrix

    def resampled(self, truth: Truth, name: str) -> Floats:
        """Return the mean over the folds of a figure in each resample of patients, ``(n_resamples,)``."""
        measure = WITH_INTERVAL[name]
        return nan_mean(np.stack([measure(fold, truth.weights) for fold in self.folds(truth)]), axis=0)


Runs = Mapping[int, RunResult]
"""``run -> result``, every run with all folds."""


def measured(runs: Runs, truth: Truth) -> dict[str, Any]:
    """Return the columns of one row: mean and population deviation over runs, and 95 % intervals."""
    tested = list(runs.values())
    columns: dict[str, Any] = {
        "n_runs": len(tested),
        "n_folds": len(tested[0].bags),
        "n_bags": int(sum(map(len, tested[0].bags))),
    }
    each = [one.metrics(truth) for one in tested]
    for name in each[0]:
        if name.endswith("_pooled"):
            continue
        values = np.array([run[name] for run in each])
        columns[name] = float(nan_mean(values, axis=0))
        columns[f"{name}_sd"] = float(np.std(values))
        if name in WITH_INTERVAL:
            resampled = nan_mean(np.stack([one.resampled(truth, name) for one in tested]), axis=0)
            columns[f"{name}_low"], columns[f"{name}_high"] = interval(resampled)
        if f"{name}_pooled" in each[0]:
            columns[f"{name}_pooled"] = float(
                nan_mean(np.array([run[f"{name}_pooled"] for run in each]), axis=0)
            )
    return columns


def difference(runs: Runs, reference: Runs, truth: Truth) -> dict[str, float]:
    """Return the paired difference of a row from the reference: the same runs, folds and patients.

    The interval resamples patients and runs.
    """
    both = sorted(set(runs) & set(reference))
    if not both:
        return {}
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(both), size=(N_RESAMPLES, len(both)))
    columns = {}
    for name in WITH_INTERVAL:
        here, there = ([rows[run].metrics(truth)[name] for run in both] for rows in (runs, reference))
        gaps = np.stack(
            [runs[run].resampled(truth, name) - reference[run].resampled(truth, name) for run in both]
        )
        columns[f"{name}_difference"] = float(np.mean(np.subtract(here, there)))
        resampled = nan_mean(gaps[drawn.T, np.arange(N_RESAMPLES)], axis=0)
        columns[f"{name}_difference_low"], columns[f"{name}_difference_high"] = interval(resampled)
    return columns


def ablation_table(
    rows: Mapping[str, Runs], truth: Truth, about: Mapping[str, Mapping[str, Any]], reference: str
) -> pd.DataFrame:
    """Return one line per row of the ablation.

    Parameters
    ----------
    rows
        ``row -> run -> tested``; rows without a run are left out.
    about
        ``row -> further columns``, such as the number of epochs.
    reference
        Row that the others are compared with, where it is there.
    """
    lines = []
    for name, runs in rows.items():
        if not runs:
            continue
        line = {"row": name, **about.get(name, {}), **measured(runs, truth)}
        if rows.get(reference) and name != reference:
            line |= difference(runs, rows[reference], truth)
        lines.append(line)
    return pd.DataFrame(lines)


def markdown(table: pd.DataFrame, classes: Sequence[str]) -> str:
    """Return the ablation table as three Markdown tables: bags, classes, cells."""
    lines = [
        "Mean over the folds of each run; then mean ± population standard deviation over the runs, and in",
        "brackets the 95 % interval of a bootstrap over patients. Differences are paired over runs and",
        "patients. `epochs` of a published schedule that was compressed: used / published.",
        "",
    ]
    bags = {
        "row": table["row"],
        "epochs": [_epochs(line) for _, line in table.iterrows()],
        "runs": table["n_runs"].astype(str),
        **{
            title: [figure_of(line, name) for _, line in table.iterrows()]
            for title, name in {
                "accuracy": "accuracy",
                "balanced accuracy": "balanced_accuracy",
                "weighted F1": "weighted_f1",
                "macro AUROC": "macro_auroc",
                "macro AUPRC": "macro_auprc",
            }.items()
        },
        "accuracy against the reference": [_gap(line, "accuracy") for _, line in table.iterrows()],
        "macro AUROC against the reference": [_gap(line, "macro_auroc") for _, line in table.iterrows()],
    }
    lines += markdown_table(bags)
    lines += ["", "Area under the precision-recall curve of each class against the rest:", ""]
    names = {name: f"auprc_{name}" for name in classes}
    lines += markdown_table({"row": table["row"], **_figures(table, names)})
    cells = [n for n in table.columns if n.startswith("cell_auroc_") and f"{n}_sd" in table.columns]
    if cells:
        lines += ["", "ROC area of cell scores, abnormal against normal cells:", ""]
        lines += markdown_table(
            {"row": table["row"], **_figures(table, {n.removeprefix("cell_auroc_"): n for n in cells})}
        )
    return "\n".join(lines) + "\n"


def _figures(table: pd.DataFrame, names: Mapping[str, str]) -> dict[str, list[str]]:
    return {title: [figure_of(line, n) for _, line in table.iterrows()] for title, n in names.items()}


def _gap(line: pd.Series, name: str) -> str:
    """Return ``difference [low, high]`` to the reference."""
    if pd.isna(line.get(f"{name}_difference")):
        return ""
    low, high = line[f"{name}_difference_low"], line[f"{name}_difference_high"]
    return f"{line[f'{name}_difference']:+.3f} [{low:+.3f}, {high:+.3f}]"


def _epochs(line: pd.Series) -> str:
    """Return the epochs over bags, with those over cells before and the published number behind them."""
    if pd.isna(line.get("epochs")):
        return ""
    text = f"{line['cell_epochs']:.0f} + " if line.get("cell_epochs") else ""
    text += f"{line['epochs']:.0f}"
    published = line.get("published_epochs")
    return text if pd.isna(published) or published == line["epochs"] else f"{text} / {published:.0f}"


def figure_of(line: pd.Series, name: str) -> str:
    """Return ``mean ± deviation [low, high]`` of a figure, as far as the line has them."""
    if pd.isna(line.get(name)):
        return ""
    text = f"{line[name]:.3f}"
    if not pd.isna(line.get(f"{name}_sd")):
        text += f" ± {line[f'{name}_sd']:.3f}"
    if not pd.isna(line.get(f"{name}_low")):
        text += f" [{line[f'{name}_low']:.3f}, {line[f'{name}_high']:.3f}]"
    return text


def markdown_table(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table of texts."""
    rows = zip(*columns.values(), strict=True)
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return head + ["| " + " | ".join(map(str, row)) + " |" for row in rows]

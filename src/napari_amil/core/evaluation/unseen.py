"""Metrics of the open-set test: cells and bags of a class that the training never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.anomaly.calibration import q_value
from napari_amil.core.anomaly.novelty import verdict
from napari_amil.core.base.columns import PROBABILITY, column_name, column_of, scores_for
from napari_amil.core.base.settings import VerdictSettings
from napari_amil.core.base.types import ABSTAIN, ANOMALOUS_Q, UNSEEN
from napari_amil.core.evaluation.comparison import figure_of, markdown_table
from napari_amil.core.evaluation.metrics import NORMAL, area_under_roc, nan_mean
from napari_amil.core.evaluation.predictions import Predictions

_AREA = "cell_auroc_"


@dataclass(frozen=True, eq=False)
class UnseenTest:
    """The test bags of one fold, scored by a model that never saw one of the classes.

    Parameters
    ----------
    unseen, control
        The class that was left out, and the control class.
    known
        Classes of the model, in the order of its probabilities.
    bags
        ``(n_bags,)`` names.
    labels
        ``(n_bags,)`` names of the true classes, the unseen one among them.
    cells
        One line per cell, bag after bag, perhaps with ``cell_type``.
    predictions
        With the bag columns ``novelty`` and ``novelty_p``.
    """

    unseen: str
    control: str
    known: tuple[str, ...]
    bags: NDArray[Any]
    labels: NDArray[Any]
    cells: pd.DataFrame
    predictions: Predictions

    def bag_table(self, settings: VerdictSettings) -> pd.DataFrame:
        """Return one line per bag: label, verdict, novelty, and the share of cells with q < 0.05."""
        found = self.predictions
        novelty_p = found.bags["novelty_p"]
        verdicts = [
            verdict(dict(zip(self.known, p, strict=True)), int(n), float(novel), settings)
            for p, n, novel in zip(found.probabilities, found.lengths, novelty_p, strict=True)
        ]
        share = [float((q < ANOMALOUS_Q).mean()) for q in self._q()]
        columns = {"bag": self.bags, "label": self.labels, "verdict": verdicts, "n_cells": found.lengths}
        columns |= {
            column_name(PROBABILITY, n): p for n, p in zip(self.known, found.probabilities.T, strict=True)
        }
        columns |= {"novelty": found.bags["novelty"], "novelty_p": novelty_p, "share_q05": share}
        return pd.DataFrame(columns)

    def cell_table(self) -> pd.DataFrame:
        """Return one line per cell: where it is, ``label``, and its scores."""
        found = self.predictions
        table = self.cells.reset_index(drop=True)
        for name, values in {"bag": self.bags, "label": self.labels}.items():
            table[name] = np.repeat(values, found.lengths)
        return table.assign(**found.cells, anomaly_p=found.p, anomaly_q=np.concatenate(self._q()))

    def metrics(self, settings: VerdictSettings) -> dict[str, float]:
        """Return the figures of this fold; NaN where they are undefined.

        ``cell_auroc_<score>``
            Abnormal cells of bags of the unseen class against normal cells of all bags. Where cell
            types are unknown: all cells of these bags against all cells of control bags.
        ``q05_unseen``, ``q05_normal``
            Share of the same two groups with q < 0.05 within their bag.
        ``bag_auroc_novelty``
            Bags of the unseen class against all others.
        ``unseen_<verdict>``
            Share of bags of the unseen class that are said to be unlike anything seen (``novel``), on
            which the model abstains, that are taken for control or for another disease.
        ``known_right``, ``known_novel``, ``known_abstain``
            The same for bags of the classes that were seen.
        """
        cells, bags = self.cell_table(), self.bag_table(settings)
        odd, typical = odd_and_normal(cells, self.unseen, self.control)
        found = {"n_bags": float((bags["label"] == self.unseen).sum()), "n_cells": float(odd.sum())}
        found |= {f"cell_auroc_{name}": area for name, area in cell_areas(cells, odd, typical).items()}
        small = cells["anomaly_q"].to_numpy() < ANOMALOUS_Q
        found |= {"q05_unseen": _share(small[odd]), "q05_normal": _share(small[typical])}
        mine = (bags["label"] == self.unseen).to_numpy()
        found["bag_auroc_novelty"] = area_under_roc(mine, bags["novelty"].to_numpy())
        verdicts = bags["verdict"].to_numpy()
        kinds = {
            "novel": verdicts == UNSEEN,
            "abstain": verdicts == ABSTAIN,
            "control": verdicts == self.control,
        }
        kinds["disease"] = ~np.logical_or.reduce(list(kinds.values()))
        found |= {f"unseen_{name}": _share(which[mine]) for name, which in kinds.items()}
        kinds = {
            "right": verdicts == bags["label"].to_numpy(),
            "novel": kinds["novel"],
            "abstain": kinds["abstain"],
        }
        return found | {f"known_{name}": _share(which[~mine]) for name, which in kinds.items()}

    def _q(self) -> list[NDArray[np.float64]]:
        """Return the q-values of each bag."""
        return [q_value(p) for p in np.split(self.predictions.p, np.cumsum(self.predictions.lengths)[:-1])]


def odd_and_normal(
    cells: pd.DataFrame, unseen: str, control: str
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return masks of the cells that should stand out and should not; see `UnseenTest.metrics`."""
    label = cells["label"].to_numpy()
    types = cells["cell_type"].fillna("").to_numpy() if "cell_type" in cells else np.full(len(cells), "")
    if not (types != "").any():
        return label == unseen, label == control
    return (label == unseen) & (types != "") & (types != NORMAL), types == NORMAL


def cell_areas(cells: pd.DataFrame, odd: NDArray[np.bool_], typical: NDArray[np.bool_]) -> dict[str, float]:
    """Return the ROC area of each evaluated score; cells without the score are left out."""
    areas = {}
    for name in scores_for("evaluate", cells):
        score = cells[name].to_numpy()
        rows = (odd | typical) & ~np.isnan(score)
        areas[name] = area_under_roc(odd[rows], score[rows])
    return areas


def unseen_table(
    tests: Mapping[str, Mapping[int, Sequence[UnseenTest]]], settings: VerdictSettings
) -> pd.DataFrame:
    """Return one line per class left out, and their mean: means over folds, then over runs.

    Parameters
    ----------
    tests
        ``class -> run -> the folds``.
    """
    lines = []
    for name, runs in tests.items():
        line: dict[str, Any] = {"unseen": name, "n_runs": len(runs)}
        each = [_over_folds([test.metrics(settings) for test in folds]) for folds in runs.values()]
        for key in each[0]:
            values = np.array([run[key] for run in each])
            line[key] = float(nan_mean(values, axis=0))
            if not key.startswith("n_"):
                line[f"{key}_sd"] = float(np.std(values))
        lines.append(line)
    table = pd.DataFrame(lines)
    if len(table) > 1:
        kept = [n for n in table.columns if n not in {"unseen", "n_runs", "n_bags", "n_cells"}]
        means = {key: table[key].mean() for key in kept if not key.endswith("_sd")}
        table = pd.concat([table, pd.DataFrame([{"unseen": "mean", **means}])], ignore_index=True)
    return table


def unseen_markdown(table: pd.DataFrame) -> str:
    """Return the table as two Markdown tables: cells and bags."""
    areas = {name.removeprefix(_AREA): name for name in map(str, table.columns) if name.startswith(_AREA)}
    cells = {
        **{column_of(name).heading: areas[name] for name in scores_for("evaluate", areas)},
        "q < 0.05, its cells": "q05_unseen",
        "q < 0.05, normal cells": "q05_normal",
    }
    bags = {
        "ROC area of novelty": "bag_auroc_novelty",
        "called novel": "unseen_novel",
        "abstained": "unseen_abstain",
        "taken for control": "unseen_control",
        "for another disease": "unseen_disease",
        "known bags: right": "known_right",
        "known bags: novel": "known_novel",
        "known bags: abstained": "known_abstain",
    }
    return "\n".join(
        [
            "Every class is left out of the training in turn. ROC area of cell scores, cells of the class",
            "that was left out against normal cells of all test bags; mean over folds, then mean ±",
            "population standard deviation over runs.",
            "",
            *_columns(table, cells),
            "",
            "Verdicts, as shares of the bags of the class that was left out and of the others:",
            "",
            *_columns(table, bags),
            "",
        ]
    )


def _columns(table: pd.DataFrame, names: Mapping[str, str]) -> list[str]:
    lines = [line for _, line in table.iterrows()]
    shown = {title: [figure_of(line, name) for line in lines] for title, name in names.items()}
    return markdown_table({"left out": table["unseen"].tolist(), **shown})


def _over_folds(folds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean over folds of every figure, the sum of every number."""
    found = {}
    for key in folds[0]:
        values = np.array([fold[key] for fold in folds])
        found[key] = float(values.sum() if key.startswith("n_") else nan_mean(values, axis=0))
    return found


def _share(which: NDArray[np.bool_]) -> float:
    return float(which.mean()) if len(which) else float("nan")

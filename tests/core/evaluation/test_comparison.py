"""The ablation table on predictions that are made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from napari_amil.core.evaluation.comparison import RunResult, Truth, ablation_table, markdown
from napari_amil.core.evaluation.predictions import Predictions

TRUTH = Truth(
    labels=np.array([0, 0, 1, 1, 0, 1]),
    patients=("a", "b", "c", "d", "e", "f"),
    classes=("control", "ill"),
    cell_type=tuple(np.array(types) for types in [["normal", "burr"]] * 6),
)
FOLDS = (np.array([0, 1, 2, 3]), np.array([4, 5]))


def _said(probability_ill: list[float], anomaly: tuple[float, float] = (0.0, 1.0)) -> Predictions:
    p = np.array(probability_ill)
    n = len(p)
    cells = {"anomaly": np.tile(anomaly, n)}
    return Predictions(np.stack([1 - p, p], axis=1), np.full(n, 2), np.full(2 * n, 0.5), cells)


def _run(first: list[float], second: list[float]) -> RunResult:
    return RunResult(FOLDS, (_said(first), _said(second, (1.0, 0.0))))


RIGHT = _run([0.1, 0.2, 0.8, 0.9], [0.1, 0.9])
HALF = _run([0.1, 0.7, 0.8, 0.4], [0.1, 0.9])  # half of fold 0 is wrong, fold 1 is right


def _table() -> pd.DataFrame:
    rows = {"recommended": {0: RIGHT, 1: RIGHT}, "worse": {0: RIGHT, 1: HALF}, "absent": {}}
    about = {
        "recommended": {"cell_epochs": 20, "epochs": 60},
        "worse": {"cell_epochs": 0, "epochs": 30, "published_epochs": 300},
    }
    return ablation_table(rows, TRUTH, about, "recommended").set_index("row")


def test_figures_are_means_over_folds_and_then_over_runs() -> None:
    table = _table()
    assert list(table.index) == ["recommended", "worse"]
    worse = table.loc["worse"]
    assert worse["accuracy"] == pytest.approx((1.0 + (0.5 + 1.0) / 2) / 2)
    assert worse["accuracy_sd"] == pytest.approx(0.125)  # of 1 and 0.75, population
    assert worse["accuracy_pooled"] == pytest.approx((1.0 + 4 / 6) / 2)
    assert worse["macro_auroc"] == pytest.approx((1.0 + (0.75 + 1.0) / 2) / 2)
    assert worse["cell_auroc_anomaly"] == pytest.approx(0.5)  # 1 in fold 0, 0 in fold 1
    assert (worse["n_runs"], worse["n_folds"], worse["n_bags"]) == (2, 2, 6)
    assert table.loc["recommended", "accuracy_low"] == table.loc["recommended", "accuracy_high"] == 1.0
    assert worse["accuracy_low"] < worse["accuracy"] <= worse["accuracy_high"]


def test_differences_are_paired() -> None:
    table = _table()
    assert table.loc["worse", "accuracy_difference"] == pytest.approx(-0.125)
    assert table.loc["worse", "accuracy_difference_high"] <= 0.0  # never better, whoever is drawn
    assert np.isnan(table.loc["recommended", "accuracy_difference"])


def test_confusions_count_all_folds() -> None:
    np.testing.assert_array_equal(HALF.confusion(TRUTH), [[2, 1], [1, 2]])


def test_markdown_names_what_was_compressed() -> None:
    text = markdown(_table().reset_index(), TRUTH.classes)
    lines = text.splitlines()
    assert "| recommended | 20 + 60 | 2 | 1.000 ± 0.000 [1.000, 1.000] |" in lines[6]
    assert lines[7].startswith("| worse | 30 / 300 | 2 | 0.875 ± 0.125 [")
    assert "| -0.125 [" in lines[7]
    assert "| worse | 0.500 ± 0.000 |" in lines


def test_cell_types_may_be_known_in_some_folds_alone() -> None:
    for unknown, area in ((4, 1.0), (0, 0.0)):  # bags of the second fold, or of the first
        types = list(TRUTH.cell_type)
        for bag in range(unknown, unknown + (2 if unknown else 4)):
            types[bag] = np.array(["", ""])
        metrics = RIGHT.metrics(replace(TRUTH, cell_type=tuple(types)))
        assert metrics["cell_auroc_anomaly"] == area

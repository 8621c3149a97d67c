"""A class that was left out: figures of cells and bags, counted by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_amil.core.base.settings import VerdictSettings
from napari_amil.core.base.types import ABSTAIN, UNSEEN
from napari_amil.core.evaluation.predictions import Predictions
from napari_amil.core.evaluation.unseen import (
    UnseenTest,
    cell_areas,
    odd_and_normal,
    unseen_markdown,
    unseen_table,
)

SETTINGS = VerdictSettings(min_cells=1)


def _test(*, typed: bool = True) -> UnseenTest:
    """Return four bags of two cells: a control, a known disease, and two of the class that was left out."""
    types = ["normal", "normal", "normal", "burr", "normal", "target", "normal", "target"]
    cells = pd.DataFrame({"image": "a.png", "cell_type": types if typed else [""] * 8})
    anomaly = np.array([1.0, 2.0, 3.0, 9.0, 1.5, 8.0, 2.5, 0.5])
    p = np.array([0.9, 0.8, 0.5, 0.001, 0.9, 0.002, 0.7, 0.9])
    scores = dict.fromkeys(("anomaly", "attention_x_n", "pool_weight"), anomaly)
    scores["morph_distance"] = np.array([np.nan, 1, 1, 1, 1, 2, 1, 2])
    said = Predictions(
        np.array([[0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.45, 0.55]]),
        np.full(4, 2),
        p,
        scores,
        {"novelty": np.array([1.0, 2.0, 5.0, 1.5]), "novelty_p": np.array([0.9, 0.5, 0.01, 0.6])},
    )
    bags, labels = np.array(["c", "k", "u", "v"]), np.array(["control", "known", "new", "new"])
    return UnseenTest("new", "control", ("control", "known"), bags, labels, cells, said)


def test_verdicts_of_bags() -> None:
    bags = _test().bag_table(VerdictSettings(min_cells=1, min_probability=0.6)).set_index("bag")
    assert bags["verdict"].to_dict() == {"c": "control", "k": "known", "u": UNSEEN, "v": ABSTAIN}
    assert bags["share_q05"].to_dict() == {"c": 0.0, "k": 0.5, "u": 0.5, "v": 0.0}
    assert bags.loc["v", "probability_known"] == 0.55


def test_metrics_of_a_fold() -> None:
    found = _test().metrics(SETTINGS)
    assert (found["n_bags"], found["n_cells"]) == (2, 2)
    # the cells of the class score 8.0 and 0.5; normal ones 1, 2, 3, 1.5 and 2.5
    assert found["cell_auroc_anomaly"] == pytest.approx(5 / 10)
    assert found["cell_auroc_morph_distance"] == 1.0  # the cell that could not be measured is left out
    assert found["q05_unseen"] == 0.5
    assert found["q05_normal"] == 0.0
    assert found["bag_auroc_novelty"] == pytest.approx(3 / 4)
    assert found["unseen_novel"] == 0.5
    assert found["unseen_disease"] == 0.5
    assert found["unseen_control"] == found["unseen_abstain"] == 0.0
    assert found["known_right"] == 1.0


def test_without_cell_types_whole_bags_are_compared() -> None:
    cells = _test(typed=False).cell_table()
    odd, usual = odd_and_normal(cells, "new", "control")
    np.testing.assert_array_equal(odd, cells["bag"].isin(["u", "v"]))
    np.testing.assert_array_equal(usual, cells["bag"] == "c")
    assert cell_areas(cells, odd, usual)["anomaly"] == pytest.approx((1 + 2 + 2 + 0) / 8)


def test_cells_carry_bag_label_and_q_values_within_their_bag() -> None:
    cells = _test().cell_table()
    assert cells["label"].tolist() == ["control"] * 2 + ["known"] * 2 + ["new"] * 4
    assert cells.loc[5, "anomaly_q"] == pytest.approx(2 * 0.002)


def test_the_table_has_a_line_per_class_and_their_mean() -> None:
    tests = {"new": {0: [_test(), _test()], 1: [_test(), _test()]}, "other": {0: [_test()]}}
    table = unseen_table(tests, SETTINGS).set_index("unseen")
    assert list(table.index) == ["new", "other", "mean"]
    assert table.loc["new", "n_cells"] == 4
    assert table.loc["new", "cell_auroc_anomaly_sd"] == 0.0
    assert table.loc["mean", "cell_auroc_anomaly"] == pytest.approx(0.5)
    lines = unseen_markdown(table.reset_index()).splitlines()
    assert any(line.startswith("| new | 0.500 ± 0.000 |") for line in lines)
    assert any(line.startswith("| mean | 0.500 |") for line in lines)

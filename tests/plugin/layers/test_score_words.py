from __future__ import annotations

import numpy as np
import pytest

from napari_amil.plugin.layers import score_words as _words

SCORED = {
    "cell_id": 7,
    "anomaly": 12.345,
    "anomaly_percentile": 99.24,
    "attention_x_n": 3.2,
    "contribution_control": -0.2,
    "contribution_sickle cell": 0.15,
    "detection_score": 0.93,
    "touches_border": True,
    "overlaps": False,
    "status": "scored",
}


def test_a_scored_cell_is_described_in_plain_words() -> None:
    assert _words.describe(SCORED) == [
        "Cell 7: more unusual than 99.2 % of control cells",
        "Distance from control cells 12.3",
        "Attention 3.2 times an average cell's",
        "Moved the score of sickle cell by +0.15",
        "93 % certain to be a cell, cut by the border",
    ]


@pytest.mark.parametrize(
    ("status", "said"),
    [("unscored", "not scored yet"), ("edited", "changed by hand, score again"), ("excluded", "left out")],
)
def test_a_cell_without_scores_says_why(status: str, said: str) -> None:
    row = {"cell_id": 3, "anomaly": np.nan, "detection_score": np.nan, "status": status}
    assert _words.describe(row) == [f"Cell 3: {said}", "Drawn by hand"]


def test_a_cell_at_the_border_says_why_it_has_no_score() -> None:
    row = {
        "cell_id": 3,
        "anomaly": np.nan,
        "detection_score": 0.9,
        "touches_border": True,
        "status": "unscored",
    }
    assert _words.describe(row)[0] == "Cell 3: not scored, since the border of the image cuts it"


def test_certainty_is_said_by_q() -> None:
    assert _words.certainty({"anomaly_q": 0.04}).startswith("Stands out: of cells this unusual at most 4 %")
    assert _words.certainty({"anomaly_q": 0.2}).startswith("Not sure: of cells this unusual up to 20 %")
    assert _words.certainty({"anomaly_q": 0.4}).endswith("as unusual (q = 0.40).")
    assert _words.certainty({"anomaly_q": np.nan}) == _words.certainty({}) == ""


def test_numbers_have_their_errors() -> None:
    row = SCORED | {"anomaly_se": 0.7, "anomaly_percentile_se": np.nan}
    assert _words.numbers(row) == [
        "Percentile among control cells 99.24",
        "Distance from control cells 12.3 ± 0.7",
        "Attention 3.2 times an average cell's",
        "93 % certain to be a cell",
    ]
    exact = row | {"anomaly_se": 0.0, "anomaly_percentile_se": 9.7e-15}
    assert _words.numbers(exact)[:2] == [
        "Percentile among control cells 99.24",
        "Distance from control cells 12.3",
    ]
    assert _words.describe(exact)[1] == "Distance from control cells 12.3"


@pytest.mark.parametrize(
    ("share", "said"), [(0.123, "12 %"), (0.012, "1.2 %"), (0.997, "100 %"), (0.0, "0 %")]
)
def test_shares_are_said_to_two_digits(share: float, said: str) -> None:
    assert _words.per_cent(share) == said


@pytest.mark.parametrize(
    ("percentile", "said"),
    [(50, "50.0 %"), (99.95, "99.95 %"), (99.999, "99.99 %"), (100, "every control cell")],
)
def test_a_percentile_is_never_rounded_up_to_all(percentile: float, said: str) -> None:
    assert said in _words.unusual(percentile)

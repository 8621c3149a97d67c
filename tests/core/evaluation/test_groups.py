"""Groups of patients: effect sizes by hand, p-values that count patients and hold under the null."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from napari_amil.core.base.errors import AmilError
from napari_amil.core.evaluation.groups import cliffs_delta, compare_groups, per_patient


def table(first: list[float], second: list[float], *, paired: bool = False) -> pd.DataFrame:
    names = [f"p{n}" for n in range(len(first))]
    others = names if paired else [f"q{n}" for n in range(len(second))]
    groups = ["after"] * len(first) + ["before"] * len(second)
    return pd.DataFrame({"group": groups, "patient": names + others, "anomaly": first + second})


def test_cliffs_delta_by_hand() -> None:
    assert cliffs_delta(np.array([1.0, 2]), np.array([3.0, 4])) == 1
    assert cliffs_delta(np.array([1.0, 3]), np.array([2.0, 3])) == pytest.approx(1 / 4)
    assert cliffs_delta(np.array([1.0, 3]), np.array([1.0, 0])) == pytest.approx(-3 / 4)


def test_all_ways_to_deal_few_patients_are_counted() -> None:
    line = compare_groups(table([1, 2, 3, 4], [11, 12, 13, 14]), ["anomaly"]).iloc[0]
    assert line["p"] == pytest.approx(2 / 70)  # 8 choose 4, and either end
    assert (line["difference"], line["cliffs_delta"]) == (10, 1)
    assert not line["paired"]


def test_the_same_patients_twice_are_compared_with_themselves() -> None:
    first, second = [1.0, 20, 300, 4000, 50000], [2.0, 21, 302, 4003, 50009]
    line = compare_groups(table(first, second, paired=True), ["anomaly"]).iloc[0]
    assert line["paired"]
    assert line["p"] == pytest.approx(2 / 2**5)
    assert compare_groups(table(first, second), ["anomaly"]).iloc[0]["p"] > 0.5


def test_p_and_effect_agree_with_scipy_where_ranks_are_the_values() -> None:
    ranks = np.random.default_rng(1).permutation(np.arange(1.0, 12))
    first, second = ranks[:5], ranks[5:]
    line = compare_groups(table(list(first), list(second)), ["anomaly"]).iloc[0]
    known = stats.mannwhitneyu(second, first, method="exact")
    assert line["cliffs_delta"] == pytest.approx(2 * known.statistic / (5 * 6) - 1)
    assert line["p"] == pytest.approx(known.pvalue)
    change = np.array([1.0, -2, 3, 4, -5, 6, 7, 8])
    line = compare_groups(table([0.0] * 8, list(change), paired=True), ["anomaly"]).iloc[0]
    assert line["p"] == pytest.approx(stats.wilcoxon(change, method="exact").pvalue)


def test_the_order_of_the_groups_can_be_given() -> None:
    values = table([1, 2, 3], [11, 12, 13])  # "after" and "before"
    line = compare_groups(values, ["anomaly"], ["before", "after"]).iloc[0]
    assert (line["first"], line["difference"], line["cliffs_delta"]) == ("before", -10, -1)


def test_cells_do_not_make_patients() -> None:
    """A thousand cells of two patients each say no more than two patients."""
    rng = np.random.default_rng(0)
    patient = pd.Series(np.repeat(["a", "b", "c", "d"], 1000))
    group = patient.map({"a": "x", "b": "x", "c": "y", "d": "y"})
    shift = patient.map({"a": 0.0, "b": 1.0, "c": 0.4, "d": 1.4})
    cells = pd.DataFrame({"anomaly": rng.normal(size=4000) + shift})
    each = per_patient(cells, patient, group, ["anomaly"])
    assert len(each) == 4
    assert compare_groups(each, ["anomaly"]).iloc[0]["p"] > 0.3
    assert stats.ttest_ind(cells["anomaly"][:2000], cells["anomaly"][2000:]).pvalue < 1e-6


def test_what_cannot_be_compared_is_said() -> None:
    with pytest.raises(AmilError, match="two groups, not 1"):
        compare_groups(table([1, 2], []), ["anomaly"])
    with pytest.raises(AmilError, match="2 and 1 patients"):
        compare_groups(table([1, 2], [3]), ["anomaly"])
    mixed = table([1, 2, 3], [3, 4, 5]).assign(patient=["a", "b", "c", "c", "d", "e"])
    with pytest.raises(AmilError, match="both groups"):
        compare_groups(mixed, ["anomaly"])

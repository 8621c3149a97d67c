"""Clusters of unusual cells: planted ones are found, counted once, and held against the truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_amil.core.base.errors import AmilError, SettingsError
from napari_amil.core.base.types import UNSEEN
from napari_amil.core.evaluation.clusters import (
    NONE,
    Clusters,
    ClusterSettings,
    cell_features,
    cluster_table,
    find_clusters,
    looked_at,
    main_components,
    patient_table,
    separation,
    truth_table,
    unseen_agreement,
    unusual_cells,
)

SETTINGS = ClusterSettings(min_cells=8)


def clustered(cells: pd.DataFrame, z: np.ndarray) -> Clusters:
    chosen = unusual_cells(cells, SETTINGS)
    return find_clusters(cells, cell_features(cells, z, chosen), chosen, SETTINGS.min_cells)


@pytest.fixture
def planted() -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """Two kinds of unusual cells among 200 usual ones; the first cell of the first kind is in two bags."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(260, 6)).astype(np.float32)
    z[200:240, 0] += 25
    z[240:, 1] += 25
    n = np.arange(260)
    cells = pd.DataFrame({"bag": np.where(n < 100, "a", "b"), "image": "x", "cell_id": n + 1})
    cells[["y0", "x0", "y1", "x1"]] = np.stack([n, n, n + 9, n + 9], axis=1)
    cells["anomaly"] = 1.0 + 9.0 * (n >= 200)
    cells["anomaly_q"] = np.where(n >= 200, 0.01, 0.9)
    cells["anomaly_percentile"] = 50.0
    cells["pool_weight"] = 0.5
    cells["contribution_control"] = 0.0
    cells["contribution_ill"] = 0.5 * np.log(3)
    cells["cell_type"] = np.repeat(["normal", "burr", "target"], [200, 40, 20])
    again = cells.iloc[[200]].assign(bag="a")
    cells = pd.concat([cells, again], ignore_index=True)
    bags = pd.DataFrame({"bag": ["a", "b"], "patient": ["p", "q"], "label": ["control", "new"]})
    return cells, bags.assign(verdict=["control", UNSEEN]), np.concatenate([z, z[[200]]])


def test_a_box_that_holds_no_whole_cell_is_not_looked_at(
    planted: tuple[pd.DataFrame, pd.DataFrame, np.ndarray],
) -> None:
    cells, _, _ = planted
    empty = cells.index.isin([3, 205])
    cells["morph_distance"] = np.where(empty, np.nan, 2.0)
    np.testing.assert_array_equal(unusual_cells(cells, SETTINGS), (cells["anomaly"] == 10) & ~empty)
    cells["morph_distance"] = np.nan  # nothing was measured: that says nothing of the boxes
    np.testing.assert_array_equal(unusual_cells(cells, SETTINGS), cells["anomaly"] == 10)


def test_planted_kinds_are_found(planted: tuple[pd.DataFrame, pd.DataFrame, np.ndarray]) -> None:
    cells, bags, z = planted
    found = clustered(cells, z)
    assert found.numbers == [1, 2]
    assert set(found.label[:200]) == {NONE}
    assert (found.label[200:240] == 1).mean() > 0.9
    assert (found.label[240:260] == 2).mean() > 0.9
    assert found.label[260] == found.label[200]
    assert np.isfinite(found.distance[found.label > 0]).all()
    chosen = unusual_cells(cells, SETTINGS)
    features = main_components(cell_features(cells, z, chosen), chosen)
    table = cluster_table(cells, bags, found, ["control", "ill"], features).set_index("cluster")
    assert table.loc[1, "n_cells"] == len(set(cells.loc[found.label == 1, "cell_id"]))
    assert table.loc[2, "in_unseen_bags"] == 1
    assert table.loc[2, "anomaly"] == 10
    assert table.loc[2, "nearest_class"] == "control"  # the only class with cells
    usual = features[(cells["bag"] == "a") & (cells["anomaly"] == 1)]
    far = separation(features[found.label == 2], usual)
    assert table.loc[2, "nearest_distance"] == pytest.approx(far)
    assert far == pytest.approx(7.4835, abs=1e-3)  # the spread of the chosen cells counts as 1 in it
    planted_at = separation(z[found.label == 2], z[(cells["bag"] == "a") & (cells["anomaly"] == 1)])
    assert planted_at > 10  # they were planted 25 deviations away
    halves = np.array([[0.0, 0], [2, 0]])  # with a deviation of 1 along the line that joins them
    assert separation(halves, halves + np.array([3, 0])) == pytest.approx(3)
    patients = patient_table(cells, bags, found).set_index("patient")
    assert patients.loc["q", "cluster_2"] == pytest.approx((found.label[100:260] == 2).mean())
    assert patients.loc["p", "n_cells"] == 101


def test_agreement_with_the_truth_counts_every_cell_once(
    planted: tuple[pd.DataFrame, pd.DataFrame, np.ndarray],
) -> None:
    cells, bags, _ = planted
    label = np.full(261, NONE)
    label[200:230] = 1  # 30 of 40 burr cells
    label[[0, 1, 260]] = 1  # two normal cells, and one burr cell for the second time
    label[240:260] = 2
    clusters = Clusters(label, np.zeros((261, 2)), np.zeros(261))
    table = truth_table(cells, clusters, "cell_type").set_index("cluster")
    assert table.loc[1, "type"] == "burr"
    assert table.loc[1, "purity"] == pytest.approx(30 / 32)
    assert table.loc[1, "completeness"] == pytest.approx(30 / 40)
    assert table.loc[2, ["purity", "completeness"]].tolist() == [1, 1]
    labels = cells["bag"].map(bags.set_index("bag")["label"])
    found = unseen_agreement(cells, labels, clusters, "cell_type", "new")
    assert found["cluster"].tolist() == ["1", "2", "together"]
    last = found.iloc[-1]
    assert (last["purity"], last["completeness"]) == pytest.approx((50 / 52, 50 / 60))
    with pytest.raises(AmilError, match="'absent' holds"):
        unseen_agreement(cells, labels, clusters, "cell_type", "absent")
    with pytest.raises(AmilError, match="no column 'kind'"):
        truth_table(cells, clusters, "kind")


def test_too_few_cells_are_said(planted: tuple[pd.DataFrame, pd.DataFrame, np.ndarray]) -> None:
    cells, _, z = planted
    with pytest.raises(AmilError, match=r"Only 0 cells are unusual.*--percentile"):
        clustered(cells[:100], z[:100])


def test_samples_that_no_class_explains_can_be_looked_into_alone() -> None:
    cells = pd.DataFrame({"bag": list("aabbccdd"), "anomaly": 3.0, "anomaly_q": 0.5})
    cells["anomaly_percentile"] = [80.0, 95] * 4
    bags = pd.DataFrame({"bag": list("abcd"), "label": ["ill", "new", None, ""]})
    bags["verdict"] = [UNSEEN, "ill", UNSEEN, "ill"]  # a label that is known counts, whatever the verdict
    known = ["control", "ill"]
    every = looked_at(cells, bags, known, ClusterSettings())
    assert every.tolist() == [False, True] * 4
    some = looked_at(cells, bags, known, ClusterSettings(unexplained=True))
    assert some.tolist() == [False, False, True, True, True, True, False, False]
    high = looked_at(cells, bags, known, ClusterSettings(percentile=90, unexplained=True))
    assert high.tolist() == [False, False, False, True, False, True, False, False]


def test_measurements_weigh_as_much_as_the_embedding_and_stain_not_at_all() -> None:
    rng = np.random.default_rng(0)
    cells = pd.DataFrame({f"morph_m{n}_z": rng.normal(size=50) for n in range(4)})
    cells = cells.assign(morph_blueness_z=100.0, morph_m0=7.0, morph_m3_z=np.nan)
    z = rng.normal(3, 9, size=(50, 10)).astype(np.float32)
    x = cell_features(cells, z, np.ones(50, dtype=bool))
    assert x.shape == (50, 13)
    np.testing.assert_allclose((x[:, :10] ** 2).sum(axis=1).mean(), 1, rtol=1e-6)
    np.testing.assert_allclose((x[:, 10:] ** 2).sum(axis=1).mean(), 1, rtol=1e-6)


@pytest.mark.parametrize("values", [{"percentile": 120}, {"min_cells": 1}, {"min_cell": 9}])
def test_cluster_settings_are_validated(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=f"The setting '{next(iter(values))}' = "):
        ClusterSettings.parse(values)

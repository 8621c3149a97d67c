"""Deletion curves are what scoring the smaller bag gives, and they tell a faithful score from chance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.evaluation.faithfulness import (
    RANDOM,
    SHARES,
    BagCells,
    Deletion,
    deletion,
    deletion_metrics,
    draw_deletions,
)
from napari_amil.core.mil.model import AmilModel

CPU = torch.device("cpu")


@pytest.fixture
def model() -> AmilModel:
    settings = ModelSettings(latent_dim=6, attention_dim=4, width=4, measurement_columns=0)
    return AmilModel(settings, 3).eval()


@pytest.fixture
def bag() -> BagCells:
    """Forty cells of which the first eight are far from the rest."""
    z, d = torch.randn(40, 6), torch.rand(40)
    z[:8] += 4.0
    d[:8] += 8.0
    return BagCells(z, d, {"anomaly": d.numpy()})


def test_a_curve_is_what_scoring_the_smaller_bag_gives(model: AmilModel, bag: BagCells) -> None:
    found = deletion(model, bag, CPU)
    kept = np.argsort(-bag.scores["anomaly"])[8:]
    with torch.no_grad():
        whole = model.aggregate(bag.z, torch.tensor([40]), bag.distance).logits[0]
        left = model.aggregate(bag.z[kept], torch.tensor([32]), bag.distance[kept]).logits[0]
    step = SHARES.tolist().index(0.2)
    assert found.predicted == int(whole.argmax())
    for curves in (found.logit, found.probability):
        assert len({float(curve[0].round(6)) for curve in curves.values()}) == 1
    assert found.logit["anomaly"][step] == pytest.approx(float(left[found.predicted]), abs=1e-5)
    expected = float(left.softmax(0)[found.predicted])
    assert found.probability["anomaly"][step] == pytest.approx(expected, abs=1e-5)


def test_the_contribution_is_more_faithful_than_chance(model: AmilModel, bag: BagCells) -> None:
    areas = deletion(model, bag, CPU).areas()
    assert areas["logit_area_contribution"] > 0.05
    assert areas["probability_area_contribution"] > 0


def test_a_score_without_meaning_has_no_area(model: AmilModel) -> None:
    z, d = torch.randn(100, 6), torch.rand(100)
    areas = [
        deletion(model, BagCells(z, d, {"noise": np.random.default_rng(seed).random(100)}), CPU).areas()
        for seed in range(10)
    ]
    noise, real = (np.array([a[f"logit_area_{name}"] for a in areas]) for name in ("noise", "contribution"))
    assert abs(noise.mean()) < 0.2 * real.mean()


def test_the_same_seed_draws_the_same_orders_and_no_cell_is_no_bag(model: AmilModel, bag: BagCells) -> None:
    one, same = deletion(model, bag, CPU, seed=3), deletion(model, bag, CPU, seed=3)
    np.testing.assert_array_equal(one.logit[RANDOM], same.logit[RANDOM])
    single = BagCells(bag.z[:1], bag.distance[:1], {})
    assert np.ptp(deletion(model, single, CPU).logit["contribution"]) == 0


def test_area_of_straight_curves() -> None:
    flat, falling = np.ones(len(SHARES)), 1 - SHARES
    found = Deletion(0, {RANDOM: flat, "s": falling}, {RANDOM: flat, "s": flat}).areas()
    assert found == {"probability_area_s": pytest.approx(0.45), "logit_area_s": 0.0}


def test_metrics_are_means_over_bags_that_are_not_predicted_as_control() -> None:
    table = pd.DataFrame({"predicted": ["control", "ill", "ill"], "logit_area_anomaly": [-9.0, 1.0, 2.0]})
    assert deletion_metrics(table, "control") == {"deletion_logit_area_anomaly": 1.5}
    assert np.isnan(deletion_metrics(table[:1], "control")["deletion_logit_area_anomaly"])


def test_the_figure_shows_every_order(model: AmilModel, bag: BagCells) -> None:
    figure = draw_deletions([deletion(model, bag, CPU)], {"anomaly": "Anomaly"})
    assert figure.axes[0].get_legend_handles_labels()[1] == ["Anomaly", "contribution", RANDOM]

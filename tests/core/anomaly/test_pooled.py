"""The distance of the pooling, made of several scores: by its parts, without a look at the cell itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from napari_amil.core.anomaly.channels import active_channels
from napari_amil.core.anomaly.morphology.channel import MorphDistance
from napari_amil.core.anomaly.patients import parts_of_patients
from napari_amil.core.anomaly.pooled import PooledDistance, distance_columns, distance_in
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import ModelSettings, RunSettings
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.morphology.measures import NAMES
from napari_amil.core.training.pooling_scores import with_pooling_scores

CPU = torch.device("cpu")
D = torch.rand(200, dtype=torch.float64) + 1.0
MORPH = np.random.default_rng(0).uniform(1, 3, 200)


def settings(*pooled: str, **changes: Any) -> ModelSettings:
    return ModelSettings(pooled=pooled, **changes)


def fitted(*pooled: str, **changes: Any) -> PooledDistance:
    found = PooledDistance.wanted(settings(*pooled, **changes))
    assert found is not None
    found.fit(D, {"morph_distance": MORPH})
    return found


def test_nothing_is_pooled_where_the_gaussian_alone_is_asked_for() -> None:
    assert PooledDistance.wanted(settings()) is None
    assert PooledDistance.wanted(settings("latent_distance")) is None
    table = {"latent_distance": D.numpy()}
    torch.testing.assert_close(distance_in(table, None), D.float())
    assert distance_columns(None) == ("latent_distance",)


def test_one_score_alone_orders_the_cells_and_the_gaussian_gives_the_scale() -> None:
    pooled = fitted("morph_distance")
    found = pooled(D, {"morph_distance": MORPH}).numpy()
    np.testing.assert_array_equal(np.argsort(found), np.argsort(MORPH))
    assert np.log(found).mean() == pytest.approx(float(D.log().mean()), abs=1e-6)
    assert np.log(found).std() == pytest.approx(float(D.log().std(correction=0)), rel=1e-6)


def test_both_count_by_their_weight_and_an_unknown_score_as_a_median_one() -> None:
    pooled = fitted("latent_distance", "morph_distance", morphology_weight=0.6)
    np.testing.assert_allclose(pooled.joint.weights, [0.4, 0.6])
    assert pooled.joint.alone.tolist() == [True, False]
    unknown, median = (
        pooled(D, {"morph_distance": np.full(200, value)}) for value in (np.nan, np.exp(np.log(MORPH).mean()))
    )
    torch.testing.assert_close(unknown, median)
    table = {"latent_distance": D.numpy(), "morph_distance": MORPH}
    torch.testing.assert_close(
        distance_in(table, pooled), pooled(D.float(), {"morph_distance": MORPH}), rtol=1e-5, atol=1e-6
    )
    again = PooledDistance(settings("latent_distance", "morph_distance"))
    again.load_state_dict(pooled.state_dict())
    torch.testing.assert_close(again(D, {"morph_distance": MORPH}), pooled(D, {"morph_distance": MORPH}))


def test_a_score_that_is_not_active_cannot_be_pooled() -> None:
    with pytest.raises(SettingsError, match=r"model.pooled names 'memae', which is not in model.channels"):
        active_channels(settings("memae"))
    with pytest.raises(SettingsError, match=r"morphology_weight is 0; raise it"):
        PooledDistance.wanted(settings("morph_distance", morphology_weight=0))


def test_no_control_cell_is_scored_for_the_pooling_by_what_saw_its_patient() -> None:
    rng = np.random.default_rng(1)
    measured = rng.normal(size=(80, len(NAMES))).astype(np.float32) + 5
    rows = tuple(np.arange(i, i + 10) for i in range(0, 80, 10))
    labels, patients = np.array([0] * 6 + [1] * 2), tuple("aabbccde")
    pixels = np.zeros((80, 3, 8, 8), dtype=np.uint8)
    bags = BagArrays(pixels, rows, labels, patients, ("control", "ill"), "control")
    run = RunSettings(model=settings("morph_distance"))
    inputs = CellInputs(measurements=measured)
    found, networks = drain(with_pooling_scores(bags, inputs, run, CPU))
    assert not networks  # measurements are no network, and are fitted again with their standard errors

    def scores(known: np.ndarray, cells: np.ndarray) -> np.ndarray:
        scorer = MorphDistance(run.model)
        drain(scorer.fit(inputs.take(known), 0, CPU))
        return scorer.score(inputs.take(cells))

    own = found.scores["morph_distance"]
    control = np.arange(60)
    part = parts_of_patients(np.repeat(patients[:6], 10), 3)
    for number in range(3):
        inside = control[part == number]
        np.testing.assert_allclose(own[inside], scores(control[part != number], inside))
    np.testing.assert_allclose(own[60:], scores(control, np.arange(60, 80)))
    np.testing.assert_array_equal(found.scores_at(rows[2])["morph_distance"], own[20:30])
    assert drain(with_pooling_scores(bags, inputs, RunSettings(), CPU))[0].scores == {}

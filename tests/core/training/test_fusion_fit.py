"""Fusion and threshold are fitted to logits of bags that no network has seen."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.base.types import Floats
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.clinical import ClinicalCodes
from napari_amil.core.mil.covariates import Covariates
from napari_amil.core.mil.heads import BagHead
from napari_amil.core.mil.model import AmilModel
from napari_amil.core.training.fusion_fit import best_share, best_threshold, fit_to_held_out

N = 120
LABELS = np.arange(N) % 2


def _bags(counts: Floats) -> BagArrays:
    covariates = Covariates.from_records([{"COUNT": float(count)} for count in counts], [{}] * N)
    rows = tuple(np.array([number]) for number in range(N))
    patients = tuple(f"p{number}" for number in range(N))
    cells = np.zeros((N, 3, 8, 8), np.uint8)
    return BagArrays(cells, rows, LABELS, patients, ("reactive", "malignant"), "reactive", covariates)


def _model(bags: BagArrays, clinical: str) -> AmilModel:
    settings = ModelSettings.parse({"clinical": clinical, "width": 4, "measurement_columns": 0})
    return AmilModel(settings, 2, clinical=ClinicalCodes.fit(bags.covariates))


def _last_weight(model: AmilModel) -> Tensor:
    last = cast(BagHead, model.heads[0]).classifier.layers[-1]
    return cast(Tensor, last.weight).detach().clone()


def _called(model: AmilModel, logits: Floats, bags: BagArrays) -> Floats:
    """Return the probabilities of disease after a fit to logits."""
    before = _last_weight(model)
    fit_to_held_out(model, logits, bags.labels, [bags.covariates])
    factor = float((_last_weight(model) / before).mean())
    assert model.fusion is not None
    s = torch.from_numpy(factor * logits).float()
    values = model.fusion.codes.encode(bags.covariates, N)
    return np.asarray(model.fusion(s, s[None], values).logits.softmax(1)[:, 1].detach().numpy())


def test_the_clinical_expert_alone_is_logistic_regression() -> None:
    bags = _bags(np.random.default_rng(0).normal(2.0 * LABELS, 1.5))
    model = _model(bags, "alone")
    logits = fit_to_held_out(model, np.zeros((N, 2)), LABELS, [bags.covariates])
    assert model.fusion is not None
    z = model.fusion.codes.encode(bags.covariates, N)
    expected = LogisticRegression(C=2.0).fit(z.numpy(), LABELS).predict_proba(z.numpy())[:, 1]
    nothing = torch.zeros(N, 2)
    found = model.fusion(nothing, nothing[None], z).logits.softmax(1)[:, 1].detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3)  # C = 2: one weight for each class
    np.testing.assert_allclose(np.exp(logits[:, 1]), expected, atol=1e-3)


def test_images_that_tell_nothing_of_unseen_bags_are_not_trusted() -> None:
    rng = np.random.default_rng(1)
    bags = _bags(rng.normal(4.0 * LABELS, 1.0))
    model = _model(bags, "moe")
    before, logits = _last_weight(model), 8.0 * rng.normal(size=(N, 2))
    called = _called(model, logits, bags) > 0.5
    assert float((_last_weight(model) / before).mean()) < 0.2
    assert (called == (LABELS == 1)).mean() > 0.95


def test_a_mixture_takes_whichever_expert_knows() -> None:
    rng, odd = np.random.default_rng(2), np.arange(N) % 4 == 1
    margin = np.where((LABELS == 1) & odd, 4.0, -2.0) + rng.normal(0, 0.8, N)
    bags = _bags(np.where((LABELS == 1) & ~odd, 30.0, 6.0) + rng.normal(0, 2, N))
    logits = np.stack([-margin / 2, margin / 2], axis=1)
    called = _called(_model(bags, "moe"), logits, bags) > 0.5
    assert (called == (LABELS == 1)).mean() > 0.95
    assert ((margin > 0) == (LABELS == 1)).mean() < 0.8


def test_nothing_is_fitted_where_a_class_was_never_held_out() -> None:
    bags = _bags(np.arange(N, dtype=float))
    model = _model(bags, "moe")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    logits = np.random.default_rng(0).normal(size=(N, 2))
    found = fit_to_held_out(model, logits, np.zeros(N, dtype=np.int64), [bags.covariates])
    assert np.isfinite(found).all()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_threshold_has_the_best_balanced_accuracy() -> None:
    ill = np.array([False, False, False, True, True])
    assert best_threshold(ill, np.array([0.1, 0.2, 0.6, 0.7, 0.9])) == pytest.approx(0.65)
    assert best_threshold(ill, np.array([0.1, 0.2, 0.4, 0.45, 0.9])) == pytest.approx(0.425)
    assert np.isnan(best_threshold(ill[:3], np.array([0.1, 0.2, 0.6])))


def test_the_share_of_the_profile_is_that_with_which_held_out_bags_are_most_likely() -> None:
    generator = np.random.default_rng(0)
    true = np.eye(2)[LABELS] + 0.0
    noise = generator.normal(size=(N, 2))
    weights = np.full(N, 1 / N)
    assert best_share(noise, 2 * true + 0.5 * generator.normal(size=(N, 2)), LABELS, weights) > 0.9
    assert best_share(2 * true + 0.5 * generator.normal(size=(N, 2)), noise, LABELS, weights) < 0.1
    one, other = (2 * true + generator.normal(size=(N, 2)) for _ in range(2))
    assert best_share(one, other, LABELS, weights) == pytest.approx(0.5, abs=0.15)

"""A model is referred to other control cells: what its classifiers see, how it calls them, its power."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_amil.core.anomaly.calibration import Calibration
from napari_amil.core.instances.drift import drift_sentences, withheld
from napari_amil.core.mil.heads import LinearStack
from napari_amil.core.model.bundle import Bundle
from napari_amil.core.model.reference import HeldOutCells, called_control, power
from napari_amil.core.model.scorer import Scorer


@pytest.fixture
def scorer(small_bundle: Bundle) -> Scorer:
    scorer = small_bundle.need_scorer()
    return replace(scorer, model=copy.deepcopy(scorer.model))


def some_cells(scorer: Scorer, n_cells: int = 60) -> torch.Tensor:
    return torch.randn(n_cells, scorer.model.embedding_dim, generator=torch.Generator().manual_seed(0))


def test_classifiers_see_other_controls_as_those_that_they_know(scorer: Scorer) -> None:
    known, model = some_cells(scorer), scorer.model
    elsewhere = 3.0 * known - 2.0
    lengths, distances = torch.tensor([60]), torch.ones(60)
    before = model.aggregate(known, lengths, distances).logits
    assert not torch.allclose(model.aggregate(elsewhere, lengths, distances).logits, before, atol=1e-3)
    model.refer_to(elsewhere, known)
    after = model.aggregate(elsewhere, lengths, distances)
    torch.testing.assert_close(after.logits, before, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.bias + after.contribution.sum(dim=0), after.logits[0])
    torch.testing.assert_close(after.latent, elsewhere, rtol=0, atol=0)


@pytest.mark.parametrize(("shift", "share"), [(0.0, 1.0), (50.0, 0.5)])
def test_left_out_controls_are_called_by_a_model_referred_to_the_others(
    scorer: Scorer, shift: float, share: float
) -> None:
    with torch.no_grad():  # class 1 is called where the mean of the first dimension is above 3
        for head in scorer.model.heads:
            head.classifier = LinearStack(scorer.model.embedding_dim, 2)
            linear = head.classifier.layers[0]
            linear.weight.zero_()
            linear.weight[1, 0] = 1.0
            linear.bias.copy_(torch.tensor([3.0, 0.0]))
    units = np.repeat(["a", "b", "c", "d"], 15)
    z = some_cells(scorer)
    z[torch.from_numpy(units >= "c"), 0] += shift  # patients who are unlike the others
    cells = HeldOutCells(z, torch.ones(60), units, np.repeat([0, 1, 2, 2], 15))
    found = called_control(scorer, cells, z[torch.from_numpy(units < "c")], 0)
    assert found["held_out_samples"] == 4
    assert found["called_control"] == share


def test_cells_that_were_never_left_out_are_not_called(scorer: Scorer) -> None:
    cells = HeldOutCells(
        some_cells(scorer), torch.full((60,), torch.nan), np.full(60, "a"), np.zeros(60, int)
    )
    found = called_control(scorer, cells, None, 0)
    assert found["held_out_samples"] == 0
    assert np.isnan(found["called_control"])


def test_power_grows_with_patients() -> None:
    rng = np.random.default_rng(0)

    def controls(n_patients: int) -> Calibration:
        patients = np.repeat(np.arange(n_patients), 30)
        scores = np.exp(0.3 * rng.normal(size=n_patients)[patients] + 0.2 * rng.normal(size=len(patients)))
        return Calibration(scores, patients.astype(str))

    few, many = power(controls(4)), power(controls(60))
    assert few["n_patients"] == 4
    assert few["reachable_p"] > 0.005
    assert many["reachable_p"] < few["reachable_p"] / 5
    assert few["patients_wanted"] in {8, 16, 32, 64, 128, 256}
    assert np.isnan(power(Calibration(np.arange(1.0, 9.0)))["patients_wanted"])


def test_few_patients_and_lost_controls_are_said() -> None:
    found = {"share_p05": 0.3, "distance": 2.0, "density": np.nan, "diameter": np.nan, "focus": np.nan}
    found |= dict.fromkeys(("density_deviations", "diameter_deviations", "focus_deviations"), np.nan)
    lost = {"called_control": 0.4, "held_out_samples": 5.0, "reachable_p": 0.088, "n_patients": 5.0}
    sentences = drift_sentences(found | lost | {"patients_wanted": 40.0})
    assert "40% of 5 control samples are called control" in sentences[2]
    assert "names no class" in sentences[2]
    assert "no single cell can have q < 0.05. About 40 patients" in sentences[3]
    assert "where at least 4.0% of a sample" in drift_sentences(found | lost | {"reachable_p": 0.002})[3]
    assert withheld({"calibration": {"drift": lost}}).startswith(
        "Of the 5 control samples of this microscope"
    )
    assert withheld({"calibration": {"drift": lost | {"called_control": 0.9}}}) == ""
    assert withheld({}) == ""

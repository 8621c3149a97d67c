"""The bag profile is a mean over cells, adds up exactly, and follows the control cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.mil.model import AmilModel
from napari_amil.core.mil.profile import BagProfile

CONTROLS = np.random.default_rng(0).normal(size=(400, 3))
UNITS = np.repeat(["a", "b", "c", "d"], 100)


def bags(shift: float, n: int = 30) -> tuple[np.ndarray, tuple[np.ndarray, ...], np.ndarray]:
    """Return bags of 20 cells; in those of class 1 the second measurement is shifted."""
    values = np.random.default_rng(1).normal(size=(2 * n * 20, 3))
    values[n * 20 :, 1] += shift
    rows = tuple(np.arange(20) + 20 * bag for bag in range(2 * n))
    return values, rows, np.repeat([0, 1], n)


def fitted(n_classes: int = 2, counted: tuple[bool, ...] = (True, True, True)) -> BagProfile:
    values, rows, labels = bags(1.5)
    profile = BagProfile(n_classes, 3)
    profile.set_controls(CONTROLS, UNITS)
    profile.fit(values, rows, labels, np.array(counted))
    return profile


def test_bags_are_told_apart_by_how_a_measurement_is_distributed() -> None:
    values, _, labels = bags(1.5)
    added, logits = fitted()(torch.from_numpy(values).float(), torch.full((60,), 20))
    assert (logits.argmax(dim=1).numpy() == labels).mean() == 1.0
    by_bag = added.reshape(60, 20, 2).sum(dim=1) + fitted().bias
    torch.testing.assert_close(by_bag, logits, atol=1e-5, rtol=1e-5)


def test_a_measurement_that_does_not_count_changes_nothing() -> None:
    profile = fitted(counted=(True, False, True))
    values = torch.randn(20, 3)
    other = values.clone()
    other[:, 1] += 4
    lengths = torch.tensor([20])
    torch.testing.assert_close(profile(values, lengths)[1], profile(other, lengths)[1])


def test_an_unknown_measurement_counts_as_usual_and_a_missing_class_is_improbable() -> None:
    profile = fitted(3)
    unknown, lengths = torch.full((1, 3), torch.nan), torch.tensor([1])
    median = torch.from_numpy(np.median(CONTROLS, axis=0))[None].float()
    torch.testing.assert_close(profile(unknown, lengths)[1], profile(median, lengths)[1], atol=1e-3, rtol=0)
    assert float(profile(unknown, lengths)[1][0, 2]) == -5.0


def test_every_unit_counts_alike_for_what_is_usual() -> None:
    values = np.concatenate([np.zeros((2000, 1)), np.ones((100, 1)), 2 * np.ones((100, 1))])
    profile = BagProfile(2, 1)
    profile.set_controls(values, np.repeat(["many", "b", "c"], [2000, 100, 100]))
    assert profile.knots[5].item() == 1.0


def test_other_controls_move_the_profile_with_them() -> None:
    values = torch.from_numpy(bags(1.5)[0]).float()
    profile, lengths = fitted(), torch.full((60,), 20)
    before = profile(values, lengths)[1]
    profile.set_controls(2 * CONTROLS + 5, UNITS)
    torch.testing.assert_close(profile(2 * values + 5, lengths)[1], before, atol=1e-4, rtol=1e-4)


def test_it_joins_the_network_by_its_share_and_contributions_still_add_up() -> None:
    torch.manual_seed(0)
    settings = ModelSettings(latent_dim=6, bag_heads=2, attention_dim=4, width=4)
    model = AmilModel(settings, 2, n_measurements=3).eval()
    assert model.profile is not None
    model.profile.load_state_dict(fitted().state_dict())
    z, d, lengths = torch.randn(12, model.embedding_dim), torch.rand(12), torch.tensor([5, 7])
    measured = torch.randn(12, 3)
    with torch.no_grad():
        alone = model.aggregate(z, lengths, d).logits
        for share in (0.0, 0.3, 1.0):
            model.profile.share.fill_(share)
            found = model.aggregate(z, lengths, d, None, measured)
            told = model.profile(measured, lengths)[1]
            torch.testing.assert_close(found.logits, (1 - share) * alone + share * told)
            torch.testing.assert_close(found.head_logits.mean(dim=0), found.logits)
            cells = torch.stack([part.sum(dim=0) for part in found.contribution.split([5, 7])])
            torch.testing.assert_close(cells + found.bias, found.logits, atol=1e-5, rtol=1e-5)
        model.scale_logits(2.0)
        twice = model.aggregate(z, lengths, d, None, measured).logits
    torch.testing.assert_close(twice, 2 * found.logits)


@pytest.mark.parametrize("changes", [{"bag_profile": False}, {"measurement_columns": 0}])
def test_a_model_without_measurements_or_by_wish_has_none(changes: dict[str, int]) -> None:
    settings = ModelSettings(latent_dim=6).model_copy(update=changes)
    assert AmilModel(settings, 2, n_measurements=3).profile is None

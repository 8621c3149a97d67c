"""A bag that lies between known classes is none of them, and what is said of it follows the settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from napari_amil.core.anomaly.calibration import Calibration
from napari_amil.core.anomaly.novelty import BagNovelty, verdict
from napari_amil.core.base.settings import VerdictSettings
from napari_amil.core.base.types import ABSTAIN, UNSEEN

K, N_CELLS = 5, 20
CENTRES = {0: torch.zeros(K), 1: torch.tensor([6.0, 0, 0, 0, 0]), 2: torch.tensor([0, 6.0, 0, 0, 0])}


def cells(labels: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return bags of which 4 of 20 cells lie at the centre of the class, and 3 is a class of its own."""
    torch.manual_seed(seed)
    latents, distances = [], []
    for label in labels:
        z = torch.randn(N_CELLS, 2, K)
        centre = CENTRES.get(label, torch.tensor([0, 0, 6.0, 0, 0]))
        z[:4] += centre + 0.3 * torch.randn(K)
        latents.append(z)
        distances.append(z.mean(dim=1).norm(dim=1))
    return torch.cat(latents), torch.cat(distances), torch.full((len(labels),), N_CELLS)


def fitted(n_bags: int = 20) -> BagNovelty:
    labels = [0, 1, 2] * n_bags
    novelty = BagNovelty(3, K)
    novelty.set_controls(torch.randn(500, 2, K))
    novelty.fit(*cells(labels), torch.tensor(labels))
    return novelty


def test_a_class_that_was_never_seen_is_far_from_all() -> None:
    novelty = fitted()
    known = novelty.score(*cells([0, 1, 2] * 10, seed=1))
    unseen = novelty.score(*cells([3] * 10, seed=2))
    assert unseen.min() > known.max()
    novelty.calibration = Calibration(known, [f"p{i}" for i in range(30)])
    np.testing.assert_allclose(novelty.p_value(*cells([3] * 4, seed=3)), 1 / 31)
    assert np.isnan(fitted().p_value(*cells([0]))).all()


def test_known_bags_of_new_patients_have_uniform_p_values() -> None:
    novelty = fitted()
    novelty.calibration = Calibration(novelty.score(*cells([0, 1, 2] * 100, seed=4)), list(range(300)))
    p = novelty.p_value(*cells([0, 1, 2] * 100, seed=5))
    assert stats.kstest(p, "uniform").pvalue > 0.05


def test_order_of_cells_and_company_do_not_matter() -> None:
    novelty = fitted()
    z, d, lengths = cells([1, 3])
    order = torch.randperm(N_CELLS)
    shuffled = novelty.score(z[:N_CELLS][order], d[:N_CELLS][order], lengths[:1])
    torch.testing.assert_close(shuffled, novelty.score(z, d, lengths)[:1])


def test_other_controls_move_the_origin_and_a_bag_moved_with_them_stays_as_it_was() -> None:
    z, d, lengths = cells([1, 3])
    novelty = fitted()
    before = novelty.score(z, d, lengths)
    controls = torch.randn(500, 2, K)
    novelty.set_controls(controls)
    near = novelty.score(z, d, lengths)
    novelty.set_controls(3 * controls + 40)
    torch.testing.assert_close(novelty.score(3 * z + 40, d, lengths), near, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(near, before, rtol=0.2, atol=0.5)


def test_a_class_without_a_bag_is_never_the_nearest_and_tensors_tell_everything() -> None:
    novelty = BagNovelty(4, K)
    novelty.set_controls(torch.randn(500, K))
    labels = [0, 1, 2] * 10
    novelty.fit(*cells(labels), torch.tensor(labels))
    assert novelty.score(*cells([0, 3])).isfinite().all()
    novelty.calibration = Calibration(torch.rand(9), list("aabbccdde"))
    other = BagNovelty.from_state(novelty.state_dict())
    np.testing.assert_array_equal(other.p_value(*cells([1])), novelty.p_value(*cells([1])))
    bare = fitted()
    assert BagNovelty.from_state(bare.state_dict()).calibration is None


@pytest.mark.parametrize(
    ("probability", "n_cells", "novelty_p", "said"),
    [
        ({"control": 0.9, "ill": 0.1}, 50, 0.6, "control"),
        ({"control": 0.3, "ill": 0.7}, 50, 0.06, "ill"),
        ({"control": 0.9, "ill": 0.1}, 50, 0.04, UNSEEN),
        ({"control": 0.4, "ill": 0.35, "other": 0.25}, 50, 0.6, ABSTAIN),
        ({"control": 0.9, "ill": 0.1}, 4, 0.01, ABSTAIN),
        ({"control": 0.4, "ill": 0.35, "other": 0.25}, 2, float("nan"), "control"),
        ({"control": float("nan"), "ill": float("nan")}, 50, 0.6, ABSTAIN),
        ({"control": float("nan"), "ill": float("nan")}, 50, float("nan"), ABSTAIN),
    ],
)
def test_verdicts(probability: dict[str, float], n_cells: int, novelty_p: float, said: str) -> None:
    assert verdict(probability, n_cells, novelty_p, VerdictSettings()) == said


def test_thresholds_can_be_set() -> None:
    unsure = {"control": 0.4, "ill": 0.35, "other": 0.25}
    never = VerdictSettings(novelty=0.0, min_probability=0.0, min_cells=1)
    assert verdict(unsure, 1, 0.001, never) == "control"
    assert verdict(unsure, 50, 0.2, VerdictSettings(novelty=0.3)) == UNSEEN


def bags_of(n_cells: int, n_bags: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return bags of one class, whose patients differ, of a number of cells each."""
    torch.manual_seed(seed)
    z = torch.randn(n_bags, n_cells, K) + 0.5 * torch.randn(n_bags, 1, K)
    distance = torch.rand(n_bags, n_cells)
    return z.reshape(-1, K), distance.flatten(), torch.full((n_bags,), n_cells)


@pytest.mark.parametrize("n_cells", [12, 30, 80, 200])
def test_p_values_are_uniform_whatever_the_number_of_cells(n_cells: int) -> None:
    novelty = BagNovelty(1, K)
    sizes = [12, 40, 100]
    known = [torch.cat(parts) for parts in zip(*(bags_of(n, 100, n) for n in sizes), strict=True)]
    novelty.set_controls(known[0])
    novelty.fit(known[0], known[1], known[2], torch.zeros(300, dtype=torch.int64))
    novelty.calibration = Calibration(novelty.score(*bags_of(40, 1500, seed=1)), list(range(1500)))
    p = novelty.p_value(*bags_of(n_cells, 1000, seed=2 + n_cells))
    assert stats.kstest(p, "uniform").statistic < 0.08
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.025)


def test_an_older_bundle_has_the_distance_that_knows_no_number_of_cells() -> None:
    novelty = fitted()
    old = {n: v for n, v in novelty.state_dict().items() if n not in {"between", "within"}}
    loaded = BagNovelty.from_state(old)
    z, d, lengths = cells([0, 1, 3])
    top = [z.mean(dim=1)[20 * i : 20 * i + 20][d[20 * i : 20 * i + 20].topk(4).indices] for i in range(3)]
    x = torch.stack([(own.double() - old["origin"]) / old["unit"] for own in map(_mean, top)])
    apart = ((x[:, None] - old["means"]) @ old["factor"]).norm(dim=2).amin(dim=1)
    torch.testing.assert_close(loaded.score(z, d, lengths), apart, rtol=1e-5, atol=1e-5)


def _mean(rows: torch.Tensor) -> torch.Tensor:
    return rows.double().mean(dim=0)

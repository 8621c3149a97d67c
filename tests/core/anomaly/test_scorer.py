"""The contract of every registered anomaly score of single cells."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from napari_amil.core.anomaly.channels import RECONSTRUCTIONS, SCORERS
from napari_amil.core.anomaly.scorer import CellInputs, CellScorer
from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.morphology.measures import NAMES

SMALL: dict[str, Any] = {"size_px": 16, "widths": [8, 16], "latent_dim": 8, "batch_size": 15, "steps": 40}
NETWORKS = dict.fromkeys(RECONSTRUCTIONS, SMALL | {"turn_deg": 0})
NETWORKS["dpa"] = NETWORKS["dpa"] | {"widths": [8, 8, 16]}
NETWORKS["fanogan"] = NETWORKS["fanogan"] | {"gan_share": 0.3, "encoder_rate": 1e-2}
SETTINGS = ModelSettings(latent_dim=4, measurement_columns=0, networks=NETWORKS)
N, SIZE = 60, 32


def cells(seed: int, apart: float = 0.0) -> CellInputs:
    """Return cells around those of controls; ``apart`` moves embedding, measurements and pixels away."""
    rng = np.random.default_rng(seed)
    far = np.hypot(*np.meshgrid(*[np.arange(SIZE) - SIZE / 2] * 2))
    mask = far < rng.uniform(9, 11, (N, 1, 1))
    colour = rng.normal(120, 5, (N, 3, 1, 1)) - 30 * apart
    pixels = np.where(mask[:, None], np.clip(colour, 0, 255), 250)
    return CellInputs(
        torch.from_numpy(rng.normal(apart, 1, (N, 2, 4))).float(),
        rng.normal(apart, 1, (N, len(NAMES))).astype(np.float32),
        np.concatenate([pixels, 255 * mask[:, None]], axis=1).astype(np.uint8),
        np.repeat(["a", "b", "c"], N // 3),
    )


@functools.cache
def fitted(name: str) -> CellScorer:
    return newly_fitted(name)


def newly_fitted(name: str) -> CellScorer:
    scorer = SCORERS[name](SETTINGS)
    drain(scorer.fit(cells(0), 0, torch.device("cpu")))
    return scorer


@pytest.fixture(params=sorted(SCORERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_at_most_four_methods_make_a_scorer() -> None:
    own = {
        name for name, value in vars(CellScorer).items() if callable(value) or isinstance(value, classmethod)
    }
    assert {name for name in own if not name.startswith("_")} == {
        "fit",
        "score",
        "score_refits",
        "from_state",
    }


def test_the_score_of_a_cell_does_not_depend_on_the_others(name: str) -> None:
    scorer, known = fitted(name), cells(1)
    together = scorer.score(known)
    alone = [scorer.score(known.take(np.array([row])))[0] for row in range(N)]
    np.testing.assert_allclose(together, alone, rtol=5e-6)  # single precision sums in another order
    order = np.random.default_rng(0).permutation(N)
    np.testing.assert_allclose(scorer.score(known.take(order)), together[order], rtol=1e-6)
    assert scorer.score(known.take(np.arange(0))).shape == (0,)


def test_the_same_controls_and_seed_give_the_same_score(name: str) -> None:
    known = cells(1)
    np.testing.assert_array_equal(newly_fitted(name).score(known), fitted(name).score(known))


def test_a_scorer_is_the_same_after_save_and_load(name: str) -> None:
    scorer, known = fitted(name), cells(1)
    loaded = type(scorer).from_state(scorer.state_dict(), SETTINGS)
    np.testing.assert_array_equal(loaded.score(known), scorer.score(known))
    before, after = scorer.score_refits(known), loaded.score_refits(known)
    assert (before is None) == (after is None)
    if before is not None and after is not None:
        np.testing.assert_array_equal(after, before)


def test_an_unknown_cell_has_no_score(name: str) -> None:
    scorer, known = fitted(name), cells(1)
    assert known.embedding is not None
    assert known.measurements is not None
    known.embedding[3], known.measurements[3] = torch.nan, np.nan
    found = scorer.score(known)
    assert np.isnan(found[3]) == (scorer.reads != "pixels")
    assert np.isfinite(np.delete(found, 3)).all()
    nothing = replace(known, **{scorer.reads: None})
    assert np.isnan(scorer.score(nothing)).all()
    assert len(scorer.score(nothing)) == N


def test_unusual_cells_score_higher_and_all_scores_are_positive(name: str) -> None:
    scorer = fitted(name)
    near, far = scorer.score(cells(1)), scorer.score(cells(2, apart=4.0))
    assert near.min() > 0
    assert far.min() > np.quantile(near, 0.95)

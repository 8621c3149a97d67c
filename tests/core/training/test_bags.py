"""A step on bags of any sizes computes exactly their cells, and no bag feels which others are with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_amil.core.base.presets import preset
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.instances import Instances
from napari_amil.core.training.bags import encoder_step, score_bags
from napari_amil.core.training.engine import Engine
from napari_amil.core.training.state import TrainingState

CPU = torch.device("cpu")
SETTINGS = preset("amil-code").changed({"model": {"latent_dim": 8, "attention_dim": 4}})
SIZES = (1, 40, 2, 17, 5, 3)


@pytest.fixture
def bags() -> BagArrays:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(sum(SIZES), 4, 14, 14)).astype(np.float16)
    rows = tuple(np.split(np.arange(sum(SIZES)), np.cumsum(SIZES)[:-1]))
    labels = np.arange(len(SIZES)) % 2
    return BagArrays(maps, rows, labels, tuple("abcdef"), ("control", "ill"), "control")


def test_a_step_embeds_each_cell_of_its_bags_once(bags: BagArrays, monkeypatch: pytest.MonkeyPatch) -> None:
    state = TrainingState(bags, SETTINGS, CPU)
    state.refit(bags)
    seen: list[Instances] = []
    embed = Engine.embed

    def listening(engine: Engine, instances: Instances) -> torch.Tensor:
        seen.append(instances)
        return embed(engine, instances)

    monkeypatch.setattr(Engine, "embed", listening)
    encoder_step(state, bags, torch.tensor([3, 0, 1]), beta=0.5, share=0.5)
    (instances,) = seen
    assert len(instances) == SIZES[3] + SIZES[0] + SIZES[1]
    wanted = np.concatenate([bags.rows[3], bags.rows[0], bags.rows[1]])
    assert torch.equal(instances.pixels, torch.from_numpy(bags.instances[wanted]))


@pytest.mark.parametrize("name", ["amil-code", "recommended"])
def test_logits_of_a_bag_are_the_same_in_any_company(bags: BagArrays, name: str) -> None:
    small = {"encoder": "roi", "latent_dim": 8, "measurement_columns": 0, "attention_dim": 4}
    state = TrainingState(bags, preset(name).changed({"model": small}), CPU)
    state.refit(bags)
    together, _ = score_bags(state.model, state.gaussian, bags, CPU)
    for company in ([4], [4, 1], [0, 2, 4]):
        among, _ = score_bags(state.model, state.gaussian, bags.take(company), CPU)
        at = company.index(4)
        torch.testing.assert_close(among.logits[at], together.logits[4], rtol=1e-4, atol=1e-5)

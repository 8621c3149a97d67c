"""A step changes what it should; validation changes nothing; every class is drawn equally often."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_amil.core.base.presets import preset
from napari_amil.core.base.settings import ModelSettings, TrainingSettings
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.instances import Instances
from napari_amil.core.mil.model import AmilModel
from napari_amil.core.training.engine import Engine
from napari_amil.core.training.state import ScorerTraining
from napari_amil.core.training.steps import LabelledCells, encoder_step, score_bags

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
    state = ScorerTraining(bags, SETTINGS, CPU)
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
    state = ScorerTraining(bags, preset(name).changed({"model": small}), CPU)
    state.refit(bags)
    together, _ = score_bags(state.model, state.gaussian, bags, CPU)
    for company in ([4], [4, 1], [0, 2, 4]):
        among, _ = score_bags(state.model, state.gaussian, bags.take(company), CPU)
        at = company.index(4)
        torch.testing.assert_close(among.logits[at], together.logits[4], rtol=1e-4, atol=1e-5)


ROWS = tuple(np.array(rows) for rows in ([0, 1, 2, 3], [3, 4], [5, 4]))
BAGS = BagArrays(
    np.zeros((8, 3, 4, 4), np.uint8),
    ROWS,
    np.array([0, 1, 1]),
    ("a", "b", "c"),
    ("control", "ill"),
    "control",
)


def test_targets_are_the_labels_of_all_bags_of_a_cell() -> None:
    cells = LabelledCells.from_bags(BAGS, TrainingSettings(balance_classes=False))
    assert cells.rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert cells.targets[:, 1].tolist() == [0, 0, 0, 0.5, 1, 1]
    assert cells.weight.tolist() == [1, 1, 1, 2, 2, 1]
    assert cells.share == pytest.approx(0.5 / (0.5 + 0.5 * 0.75))


def test_balanced_cells_show_every_class_equally_often() -> None:
    few = BAGS.take([0, 1])  # four control cells, two of ill bags
    cells = LabelledCells.from_bags(few, TrainingSettings())
    drawn = (cells.weight[:, None] * cells.targets).sum(0)
    torch.testing.assert_close(drawn, torch.ones(2, dtype=torch.float64))
    assert cells.targets[3].tolist() == pytest.approx([1 / 3, 2 / 3])


def test_an_epoch_draws_as_many_cells_as_there_are() -> None:
    cells = LabelledCells.from_bags(BAGS, TrainingSettings())
    steps = list(cells.draw(4, torch.Generator().manual_seed(0)))
    assert [len(step) for step in steps] == [3, 3]
    assert int(torch.cat(steps).max()) < 6


def test_a_fitted_bag_profile_needs_the_measurements(bags: BagArrays) -> None:
    model = AmilModel(ModelSettings(latent_dim=6), 2, n_measurements=3)
    assert model.profile is not None
    model.profile.share.fill_(0.5)
    gaussian = ScorerTraining(bags, SETTINGS, CPU).gaussian
    with pytest.raises(ValueError, match="needs the measurements of the cells"):
        score_bags(model, gaussian, bags, CPU)

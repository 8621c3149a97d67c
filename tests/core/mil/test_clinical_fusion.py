"""Clinical values become columns and join the images; their contributions add up exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.mil.clinical import ClinicalCodes
from napari_amil.core.mil.covariates import Covariates
from napari_amil.core.mil.loss import bag_loss
from napari_amil.core.mil.model import AmilModel

RECORDS: list[dict[str, float | str]] = [
    {"AGE": 60.0, "SEX": "F", "SITE_ID": "a"},
    {"AGE": 70.0, "SEX": "M", "SITE_ID": "a"},
    {"SEX": "M", "SITE_ID": "a"},
    {"AGE": 80.0, "SEX": "F", "SITE_ID": "a"},
]
COVARIATES = Covariates.from_records(RECORDS, [{}] * 4)
LENGTHS = torch.tensor([2, 1, 3, 2])
Z = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


def _model(clinical: str, hidden: tuple[int, ...] = ()) -> AmilModel:
    torch.manual_seed(1)
    values = {"clinical": clinical, "clinical_hidden": hidden, "latent_dim": 6, "measurement_columns": 0}
    settings = ModelSettings.parse({**values, "width": 4, "pooling": "attention", "bag_heads": 2})
    model = AmilModel(settings, 2, clinical=ClinicalCodes.fit(COVARIATES)).eval()
    assert model.fusion is not None
    for parameter in model.fusion.parameters():
        torch.nn.init.normal_(parameter)
    return model


def test_numbers_are_z_scores_and_unknown_ones_the_mean_with_an_indicator() -> None:
    codes = ClinicalCodes.fit(COVARIATES)
    assert codes.names == ("AGE", "SEX")  # the site is the same for all
    spread = np.std([60.0, 70.0, 80.0])
    expected = [[-10 / spread, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 1], [10 / spread, 0, 1, 0]]
    np.testing.assert_allclose(codes.encode(COVARIATES, 4).numpy(), expected, atol=1e-6)


def test_other_bags_are_measured_by_the_bags_of_the_training() -> None:
    codes = ClinicalCodes.fit(COVARIATES)
    other = Covariates.from_records([{"AGE": 70.0 + 1000, "SEX": "X"}, {}], [{}] * 2)
    found = codes.encode(other, 2).numpy()
    np.testing.assert_allclose(found[0], [1000 / np.std([60.0, 70.0, 80.0]), 0, 0, 0], rtol=1e-5)
    np.testing.assert_array_equal(found[1], [0, 1, 0, 0])
    np.testing.assert_array_equal(codes.encode(None, 2).numpy(), [found[1]] * 2)
    words = Covariates.from_records([{"AGE": "old"}], [{}])
    np.testing.assert_array_equal(codes.encode(words, 1).numpy(), [found[1]])


def test_codes_come_back_from_their_record() -> None:
    codes = ClinicalCodes.fit(COVARIATES)
    assert ClinicalCodes.from_record(json.loads(json.dumps(codes.record()))) == codes


def test_names_are_no_categories() -> None:
    many = Covariates.from_records([{"NAME": f"n{i}"} for i in range(11)], [{}] * 11)
    assert ClinicalCodes.fit(many).names == ()


def test_a_mixture_mixes_probabilities() -> None:
    found = _model("moe").aggregate(Z, LENGTHS, None, COVARIATES)
    assert found.fusion is not None
    w = found.fusion.image_weight[:, None]
    images, values = found.image_logits.softmax(1), found.fusion.clinical_logits.softmax(1)
    torch.testing.assert_close(found.logits.softmax(1), w * images + (1 - w) * values)
    torch.testing.assert_close(found.logits.exp().sum(1), torch.ones(4))
    assert ((w > 0) & (w < 1)).all()


@pytest.mark.parametrize("clinical", ["moe", "concat", "alone"])
@pytest.mark.parametrize("hidden", [(), (2,), (3, 2)])
def test_contributions_of_cells_and_values_add_up(clinical: str, hidden: tuple[int, ...]) -> None:
    model = _model(clinical, hidden)
    found = model.aggregate(Z, LENGTHS, None, COVARIATES)
    assert found.fusion is not None
    assert model.fusion is not None
    bag = torch.repeat_interleave(torch.arange(4), LENGTHS)
    cells = torch.zeros(4, 2).index_add(0, bag, found.contribution)
    torch.testing.assert_close(cells + found.bias, found.image_logits)
    values = model.fusion.codes.encode(COVARIATES, 4)
    constant = found.fusion.clinical_logits - found.fusion.clinical.sum(dim=1)
    nearby = model.fusion.contributions(values * (1 + 1e-3))[1] - found.fusion.clinical_logits
    torch.testing.assert_close(nearby, 1e-3 * found.fusion.clinical.sum(dim=1), atol=1e-5, rtol=0.01)
    if not hidden:
        torch.testing.assert_close(constant, constant[:1].expand(4, -1))
    if clinical == "concat":
        torch.testing.assert_close(found.logits, found.image_logits + found.fusion.clinical_logits)
    if clinical == "alone":
        torch.testing.assert_close(found.logits.softmax(1), found.fusion.clinical_logits.softmax(1))


def test_a_bag_among_others_is_the_bag_alone() -> None:
    model = _model("moe")
    together = model.aggregate(Z, LENGTHS, None, COVARIATES).logits
    alone = model.aggregate(Z[3:6], LENGTHS[2:3], None, COVARIATES.take([2])).logits
    torch.testing.assert_close(alone, together[2:3])


def test_the_mean_counts_all_cells_alike() -> None:
    settings = {"latent_dim": 6, "measurement_columns": 0, "width": 4, "pooling": "mean", "bag_head": ()}
    model = AmilModel(ModelSettings.parse({**settings, "bag_heads": 1}), 2).eval()
    found = model.aggregate(Z, LENGTHS)
    each = [model.aggregate(Z[[row]], torch.tensor([1])).logits for row in range(3, 6)]
    torch.testing.assert_close(found.logits[2:3], torch.stack(each).mean(dim=0))


def test_each_expert_has_a_loss_of_its_own() -> None:
    labels = torch.tensor([0, 1, 1, 0])
    found = _model("moe").aggregate(Z, LENGTHS, None, COVARIATES)
    assert found.fusion is not None
    alone = torch.nn.functional.cross_entropy(found.fusion.clinical_logits, labels)
    of_experts = bag_loss(found, labels, experts=1.0) - bag_loss(found, labels)
    assert of_experts.item() > alone.item()
    plain = _model("concat").aggregate(Z, LENGTHS, None, COVARIATES)
    torch.testing.assert_close(bag_loss(plain, labels, experts=1.0), bag_loss(plain, labels))


def test_without_clinical_values_they_cannot_be_wanted() -> None:
    settings = ModelSettings(clinical="moe", width=4, measurement_columns=0)
    with pytest.raises(AmilError, match=r"model.clinical is 'moe', but the bags have no clinical values"):
        AmilModel(settings, 2, clinical=ClinicalCodes.fit(Covariates()))

"""A preset is what was published, every switch decided, and names itself."""

from __future__ import annotations

import pytest

from napari_amil.core.base import presets
from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.presets import PRESETS, preset, preset_table
from napari_amil.core.base.settings import ModelSettings, RunSettings, TrainingSettings

IDLE = {"width", "cells_per_step", "cell_learning_rate", "views"}
IDLE |= {"devices", "seed", "scales"}
IDLE |= {f"external_{name}" for name in ("file", "architecture", "size_px", "mean", "std")}
"""Fields that say nothing where the encoder takes feature maps and only bags are trained on."""


def test_recommended_is_the_default() -> None:
    assert preset("recommended") == RunSettings(preset="recommended")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_notes_its_name_and_survives_yaml(name: str) -> None:
    assert preset(name).preset == name
    assert RunSettings.parse(preset(name).model_dump(mode="json")) == preset(name)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="called 'amil'; choose one of recommended, amil-code"):
        preset("amil")


def test_the_published_code_is_decided_field_by_field() -> None:
    decided = {*presets._PUBLISHED_MODEL, *presets._PUBLISHED_TRAINING}
    assert decided | IDLE == {*ModelSettings.model_fields, *TrainingSettings.model_fields}
    assert not decided & IDLE


def test_the_published_numbers_are_those_of_code_and_papers() -> None:
    code, paper, attmil = (preset(name) for name in ("amil-code", "amil-paper", "attmil"))
    assert (code.model.latent_dim, code.model.attention_dim) == (500, 128)
    assert (code.model.bag_head, code.model.sic_head) == ((10,), (32,))
    assert (code.training.max_epochs, code.training.learning_rate) == (300, 5e-4)
    assert (code.training.stop_loss, code.training.stop_count) == (3e-4, 5)
    assert (paper.training.max_epochs, paper.training.learning_rate) == (100, 5e-5)
    assert (paper.training.weight_decay, paper.training.early_stop) == (1e-5, "none")
    assert (paper.model.distance_transform, paper.model.bag_head) == ("raw", ())
    assert (attmil.training.max_epochs, attmil.training.weight_decay) == (150, 1e-4)
    assert (attmil.training.stop_loss, attmil.training.stop_count) == (1e-3, 7)
    assert (attmil.model.encoder, attmil.model.dropout, attmil.model.roi_scaling) == (
        "roi-attmil",
        0.1,
        False,
    )
    assert (attmil.training.loss, attmil.training.amsgrad) == ("bce_softmax", True)


def test_the_published_mixture_is_that_of_its_paper() -> None:
    published = preset("lympho-published")
    model, training = published.model, published.training
    assert (model.clinical, model.clinical_hidden, model.pooling, model.sic) == ("moe", (2,), "mean", False)
    assert (training.optimiser, training.learning_rate, training.weight_decay) == ("adam", 1e-4, 5e-4)
    assert (training.schedule, training.expert_loss, published.crop.size_px) == ("steps", 0.0, 224)


def test_the_first_row_of_table_1_is_the_code_with_attention_alone() -> None:
    row = preset("amil-code").changed({"model": {"pooling": "attention", "sic": False}, "preset": "abmil"})
    assert row == preset("abmil")


def test_the_table_shows_where_the_presets_differ_and_nothing_else() -> None:
    lines = preset_table().splitlines()
    assert lines[0].split("|")[2].strip() == "`recommended`"
    fields = [line.split("|")[1].strip(" `") for line in lines[2:]]
    assert "training.learning_rate" in fields
    assert "training.seed" not in fields
    row = next(line for line in lines if "training.sic_decay" in line or "`model.pool_bias`" in line)
    changed = dict(zip(PRESETS, (cell.strip() for cell in row.split("|")[2:-1]), strict=True))
    assert {name: value for name, value in changed.items() if value} == {
        "recommended": "True",
        "amil-paper": "False",
    }

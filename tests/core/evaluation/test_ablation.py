"""The rows of the ablation: what each changes, what it shares, and how a schedule is compressed."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.presets import PRESETS, preset
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.evaluation.ablation import (
    BAG_STAGE,
    BASELINE,
    GROUPS,
    REFERENCE,
    ROWS,
    compressed,
    digest,
    encoder_stage,
    named_rows,
    read_rows,
    row_settings,
    with_values,
)

RECOMMENDED = preset("recommended")


@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_a_preset_with_other_values(name: str) -> None:
    change = ROWS[name]
    settings = row_settings(change, RECOMMENDED)
    start = preset(change.start)
    for field, value in change.values.items():
        stage, key = field.split(".")
        assert getattr(getattr(settings, stage), key) == value
    assert with_values(settings, {f: _value(start, f) for f in change.values}) == start


def _value(settings: RunSettings, field: str) -> object:
    stage, key = field.split(".")
    return getattr(getattr(settings, stage), key)


def test_no_two_rows_are_the_same() -> None:
    trained = {name: change for name, change in ROWS.items() if name != BASELINE}
    digests = {name: digest(row_settings(change, RECOMMENDED)) for name, change in trained.items()}
    assert len(set(digests.values())) == len(trained)


def test_the_five_rows_of_the_paper() -> None:
    found = {name: row_settings(ROWS[name], RECOMMENDED).model for name in GROUPS["table"][:5]}
    assert {name: (model.pooling, model.sic) for name, model in found.items()} == {
        "Att": ("attention", False),
        "Att+SIC": ("attention", True),
        "Anomaly": ("anomaly", False),
        "Anomaly+Att": ("both", False),
        "Anomaly+Att+SIC": ("both", True),
    }


def test_rows_are_named_singly_and_in_groups() -> None:
    assert list(named_rows(["recommended", "table"])) == ["recommended", *GROUPS["table"][:5], BASELINE]
    with pytest.raises(SettingsError, match=r"no row called 'Atr'; choose from: .*Att\+SIC"):
        named_rows(["Atr"])


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_named_as_a_row(name: str) -> None:
    (change,) = named_rows([name]).values()
    assert digest(row_settings(change, RECOMMENDED)) == digest(preset(name))


def test_rows_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rows.yaml"
    path.write_text("wide: {model.width: 32}\npaper: {start: amil-paper}\nsame:\n")
    rows = read_rows(path)
    assert row_settings(rows["wide"], RECOMMENDED).model.width == 32
    assert rows["paper"].start == "amil-paper"
    assert row_settings(rows["paper"], RECOMMENDED, 7).training.max_epochs == 7
    assert row_settings(rows["same"], RECOMMENDED, 7) == RECOMMENDED
    assert row_settings(rows["same"], RECOMMENDED) == RECOMMENDED
    path.write_text("wide: 3")
    with pytest.raises(SettingsError, match="must hold 'name:"):
        read_rows(path)


@pytest.mark.parametrize("values", [{"model.widht": 3}, {"widht": 3}, {"model.width": "broad"}])
def test_a_wrong_value_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        with_values(RECOMMENDED, values)


def test_a_compressed_schedule_ends_where_the_published_one_ends() -> None:
    code = preset("amil-code")
    short = compressed(code, 30)
    assert short.training.max_epochs == 30
    assert short.training.sic_decay**30 == pytest.approx(code.training.sic_decay**300)
    assert short.training.refit_every == 1
    assert compressed(code, 60).training.refit_every == 1
    assert compressed(code, 150).training.refit_every == 2
    assert row_settings(ROWS["Att"], RECOMMENDED, 30).training.max_epochs == 30
    assert row_settings(ROWS[REFERENCE], RECOMMENDED, 30) == RECOMMENDED


METHOD = ("normalisation", "crop", "model", "training")
OPERATION = {"training.seed", "training.devices", "training.precision"}
"""How a training computes, not what it computes."""
OF_A_FILE = {f"model.external_{name}" for name in ("file", "architecture", "size_px", "mean", "std")}
"""Facts about the file of another encoder, which belong to that file alone."""


def test_every_setting_of_the_method_has_a_row_or_a_preset_that_differs() -> None:
    changed = {field for change in ROWS.values() for field in change.values}
    presets = [preset(name) for name in PRESETS]
    idle = {
        f"{stage}.{name}"
        for stage in METHOD
        for name in type(getattr(RECOMMENDED, stage)).model_fields
        if len({str(_value(start, f"{stage}.{name}")) for start in presets}) == 1
    }
    assert idle - changed == OPERATION | OF_A_FILE


def test_mixtures_of_the_paper_are_a_group_that_shares_the_encoder() -> None:
    rows = {name: row_settings(change, RECOMMENDED) for name, change in named_rows(["mixtures"]).items()}
    kinds = {(s.model.n_components, s.model.mixture_fit, s.model.mixture) for s in rows.values()}
    assert (len(rows), len(kinds)) == (13, 13)
    assert kinds == {(1, "em", "moment")} | {
        (k, fit, distance)
        for k in (3, 5)
        for fit in ("em", "bayes")
        for distance in ("moment", "min", "responsibility")
    }
    assert len({encoder_stage(settings) for settings in rows.values()}) == 1
    groups = [
        set(GROUPS[name]) - {REFERENCE}
        for name in ("published", "changes", "further", "mixtures", "networks", "white")
    ]
    assert sum(map(len, groups)) == len(ROWS) - 2


def test_settings_of_the_bag_stage_exist() -> None:
    for stage, names in BAG_STAGE.items():
        assert names <= set(type(getattr(RECOMMENDED, stage)).model_fields)


def test_rows_that_differ_only_in_the_bag_stage_share_their_encoder() -> None:
    stages = {name: encoder_stage(row_settings(change, RECOMMENDED)) for name, change in ROWS.items()}
    sharing = {name for name, stage in stages.items() if stage == stages[REFERENCE]}
    assert {"distance raw", "attention not gated", "pooling anomaly", "roundness 0"} <= sharing
    assert not {"no augmentation", "no hypersphere", "no SIC", "encoder roi"} & sharing
    assert stages["Att"] is None
    assert stages["no instance pre-training"] is None
    assert stages["encoder on bags"] is None


def test_a_digest_sees_values_and_not_the_name_of_the_preset() -> None:
    assert digest(RECOMMENDED) == digest(RECOMMENDED.changed({"preset": "mine"}))
    assert digest(RECOMMENDED) != digest(RECOMMENDED.changed({"training": {"seed": 1}}))
    assert digest(RECOMMENDED, "a") != digest(RECOMMENDED, "b")

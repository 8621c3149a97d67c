"""Settings refuse what cannot work, say why, travel as YAML, and every field explains itself."""

from __future__ import annotations

from pathlib import Path

import pydantic
import pytest
import yaml

from napari_amil.core.base import settings
from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.settings import (
    CropSettings,
    DetectionSettings,
    RunSettings,
    SelectionSettings,
    Settings,
    TrainingSettings,
)

CLASSES = [
    value
    for value in vars(settings).values()
    if isinstance(value, type) and issubclass(value, Settings) and value is not Settings
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_field_says_what_it_means(kind: type[Settings]) -> None:
    for name, field in kind.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_defaults_are_valid_and_come_back(kind: type[Settings]) -> None:
    values = kind().model_dump(mode="json")
    assert kind.parse(values) == kind()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_score": 1.5}, r"The setting 'min_score' = 1\.5: .*less than or equal to 1"),
        ({"min_scor": 0.5}, r"The setting 'min_scor' = 0\.5: Extra inputs are not permitted"),
        ({"keep_border": "perhaps"}, r"The setting 'keep_border' = 'perhaps'"),
    ],
)
def test_a_wrong_value_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        SelectionSettings.parse(values)


def test_a_wrong_value_inside_is_named_with_its_path() -> None:
    with pytest.raises(SettingsError, match=r"'detection\.max_cells' = 0"):
        RunSettings.parse({"detection": {"max_cells": 0}})


REMOVED = {
    "normalisation": {"cell_optical_density": [0.30, 0.62, 0.40]},
    "model": {"measurement_dim": 8, "grad_through_distance": False},
    "training": {"normal_share": 0.75},
}


def test_a_file_of_an_older_version_may_hold_removed_fields(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(REMOVED), encoding="utf-8")
    assert RunSettings.from_yaml(path) == RunSettings.parse(REMOVED) == RunSettings()
    assert {kind.__name__ for kind in CLASSES if kind.removed} == {
        type(getattr(RunSettings(), stage)).__name__ for stage in REMOVED
    }


@pytest.mark.parametrize(
    "values",
    [
        {"normalisation": {"cell_optical_density": [0.2, 0.4, 0.3]}},
        {"model": {"measurement_dim": 4}},
        {"model": {"grad_through_distance": True}},
        {"training": {"normal_share": 0.5}},
    ],
)
def test_a_removed_field_with_another_value_is_refused_in_a_sentence(values: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match=r"^The setting '\w+' = .* was removed, .* wrote it\.$"):
        RunSettings.parse(values)


def test_settings_are_frozen() -> None:
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        CropSettings().size_px = 5  # type: ignore[misc]


@pytest.mark.parametrize("kind", [TrainingSettings, settings.DetectorTrainingSettings])
def test_a_seed_is_not_negative(kind: type[Settings]) -> None:
    with pytest.raises(SettingsError, match="'seed' = -1"):
        kind.parse({"seed": -1})


def test_the_cap_of_cells_is_a_setting_of_at_least_a_thousand() -> None:
    assert DetectionSettings().max_cells >= 1000


def test_a_run_travels_as_yaml(tmp_path: Path) -> None:
    run = RunSettings(
        detection=DetectionSettings(max_cells=77, cell_diameter_px=31.5),
        training=TrainingSettings(seed=5),
        control="gesund",
    )
    path = tmp_path / "run.yaml"
    path.write_text(run.to_yaml(), encoding="utf-8")
    assert RunSettings.from_yaml(path) == run


def test_missing_fields_keep_their_defaults(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("crop:\n  size_px: 48\n", encoding="utf-8")
    assert RunSettings.from_yaml(path) == RunSettings(crop=CropSettings(size_px=48))
    path.write_text("", encoding="utf-8")
    assert RunSettings.from_yaml(path) == RunSettings()


def test_a_file_changes_single_fields_of_what_it_starts_from(tmp_path: Path) -> None:
    start = RunSettings(crop=CropSettings(size_px=48, field=2.0), control="gesund")
    path = tmp_path / "run.yaml"
    path.write_text("crop:\n  size_px: 32\n", encoding="utf-8")
    expected = RunSettings(crop=CropSettings(size_px=32, field=2.0), control="gesund")
    assert RunSettings.from_yaml(path, start) == expected
    with pytest.raises(SettingsError, match=r"'crop\.size_px' = 5"):
        start.changed({"crop": {"size_px": 5}})


def test_every_fold_and_run_has_a_seed_of_its_own() -> None:
    run = RunSettings(training=TrainingSettings(seed=7))
    seeds = {run.for_run(fold, number).training.seed for fold in range(10) for number in range(10)}
    assert len(seeds) == 100
    assert run.for_run(3, 4) == run.for_run(3, 4)
    assert run.for_run(3, 4).training.seed != RunSettings().for_run(3, 4).training.seed


@pytest.mark.parametrize(
    "content", [b"crop: [", b"\xff\xfe\x00", b"[" * 5000, b"a: 2026-99-99", b"a: &a [1]\nb: *a"]
)
def test_a_file_that_is_no_yaml_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"run\.yaml' cannot be read as YAML \(.*\); check the path"):
        RunSettings.from_yaml(path)
    with pytest.raises(SettingsError, match=r"missing\.yaml"):
        RunSettings.from_yaml(tmp_path / "missing.yaml")


def test_a_list_is_no_settings(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("- 1\n- 2\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"run\.yaml' holds no settings; write 'name: value'"):
        RunSettings.from_yaml(path)


def test_a_wrong_value_in_a_file_is_named_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("detection: {cell_diameter_px: '12,5'}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"In '.*mine\.yaml': The setting 'detection.cell_diameter_px'"):
        RunSettings.from_yaml(path)

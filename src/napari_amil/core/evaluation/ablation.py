"""Rows of the ablation table: the preset from which each starts, and the settings that it changes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.files import json_sha256, read_yaml
from napari_amil.core.base.presets import PRESETS, preset
from napari_amil.core.base.settings import RunSettings

REFERENCE = "recommended"
"""The row that the others are compared with, and the preset that the rows below it start from."""
BASELINE = "measurements alone"
"""The row without a network (`napari_amil.core.evaluation.measurement_baseline`); it has no settings."""


@dataclass(frozen=True)
class Change:
    """One row: a preset with some settings changed.

    Parameters
    ----------
    start
        Name of the preset.
    values
        ``"model.pooling" -> value``: what is different from it.
    published
        Whether the schedule is a published one, which ``preset_epochs`` compresses.
    """

    start: str = REFERENCE
    values: Mapping[str, Any] = field(default_factory=dict)
    published: bool = False


def _paper(pooling: str, *, sic: bool) -> Change:
    return Change("amil-code", {"model.pooling": pooling, "model.sic": sic}, published=True)


def _mixture(n_components: int, fit: str, distance: str) -> Change:
    values = {"n_components": n_components, "mixture_fit": fit, "mixture": distance}
    return Change(values={f"model.{name}": value for name, value in values.items()})


_FURTHER = {
    "flat background": Change(values={"normalisation.illumination_order": 0}),
    "stain as it is": Change(values={"normalisation.max_gain": 1.0}),
    "crops of 48 pixels": Change(values={"crop.size_px": 48}),
    "wider crops": Change(values={"crop.field": 2.0}),
    "crops with neighbours": Change(values={"crop.outside_margin": None}),
    "narrow encoder": Change(values={"model.width": 12}),
    "no augmented views": Change(values={"training.views": 0}),
    "32 cells per step": Change(values={"training.cells_per_step": 32}),
    "smaller step size for cells": Change(values={"training.cell_learning_rate": 1e-3}),
    "epoch chosen by validation": Change(values={"training.validation_fraction": 0.2}),
    "faster SIC decay": Change("amil-code", {"training.sic_decay": 0.9}, published=True),
    "refit in every epoch": Change("amil-code", {"training.refit_every": 1}, published=True),
}
"""Settings that docs/results.md does not judge."""

_MIXTURES = {
    f"mixture {k} {fit} {distance}": _mixture(k, fit, distance)
    for k, fit, distance in itertools.product((3, 5), ("em", "bayes"), ("moment", "min", "responsibility"))
}
"""Several Gaussians, as the paper has them; `recommended` has one."""

_NAMES = ("ra", "dpa", "memae", "ganomaly", "fanogan")
_NETWORKS = {
    f"{name} in the anomaly": Change(
        values={
            "model.channels": ("latent_distance", "morph_distance", name),
            "model.networks": {name: {"preset": "cell"}},
        }
    )
    for name in _NAMES
} | {
    f"{name} in the pooling": Change(
        values={
            "model.channels": ("latent_distance", "morph_distance", name),
            "model.joined": ("latent_distance", "morph_distance"),
            "model.pooled": ("latent_distance", name),
            "model.networks": {name: {"preset": "cell"}},
        }
    )
    for name in _NAMES
}
"""One network more that judges cells, in their anomaly or in d_n of the pooling (docs/anomaly-models.md)."""
WHITE = tuple(name for name in PRESETS if name.startswith("lympho"))
"""Presets for images of single white cells, which no smear can be scored with."""

ROWS: dict[str, Change] = {
    # Table 1 of Kazeminia et al. 2022
    "Att": _paper("attention", sic=False),
    "Att+SIC": _paper("attention", sic=True),
    "Anomaly": _paper("anomaly", sic=False),
    "Anomaly+Att": _paper("both", sic=False),
    "Anomaly+Att+SIC": _paper("both", sic=True),
    "amil-paper": Change("amil-paper", published=True),
    "attmil": Change("attmil", published=True),
    **{name: Change(name) for name in WHITE},
    REFERENCE: Change(),
    BASELINE: Change(),
    # what is recommended, with one thing changed
    "distance softmax": Change(values={"model.distance_transform": "softmax"}),
    "distance raw": Change(values={"model.distance_transform": "raw"}),
    "attention not gated": Change(values={"model.gated_attention": False}),
    "pooling attention": Change(values={"model.pooling": "attention"}),
    "pooling anomaly": Change(values={"model.pooling": "anomaly"}),
    "no SIC": Change(values={"model.sic": False}),
    "one bag per step": Change(values={"training.bags_per_step": 1}),
    "no class balance": Change(values={"training.balance_classes": False, "training.bag_balance": 0.0}),
    "crops in colour": Change(values={"model.colour": True}),
    "measurements count half": Change(values={"model.morphology_weight": 0.5}),
    "no augmentation": Change(values={"training.augment": False}),
    "no instance pre-training": Change(
        values={"training.cell_epochs": 0, "training.train_encoder_on_bags": True}
    ),
    "encoder on bags": Change(values={"training.train_encoder_on_bags": True}),
    "no measurements": Change(values={"model.measurement_columns": 0}),
    "one measurement network": Change(values={"model.measurement_columns": 1}),
    "measurements in the Gaussian": Change(
        values={"model.measurements_in_gaussian": True, "model.roundness": 0.3}
    ),
    "no morphology in the anomaly": Change(values={"model.channels": ("latent_distance",)}),
    "measurements alone in the anomaly": Change(values={"model.joined": ("morph_distance",)}),
    "measurements in the pooling": Change(values={"model.pooled": ("latent_distance", "morph_distance")}),
    "no bag profile": Change(values={"model.bag_profile": False}),
    "one bag head": Change(values={"model.bag_heads": 1}),
    "encoder roi": Change(values={"model.encoder": "roi"}),
    "one scale": Change(values={"model.scales": 1}),
    "no hypersphere": Change(values={"training.hypersphere_weight": 0.0}),
    "topological regulariser": Change(values={"training.topology_weight": 1.0}),
    "roundness 0": Change(values={"model.roundness": 0.0}),
    "every control cell alike": Change(values={"model.units_alike": False}),
    "one orientation": Change(values={"model.orientations": 1}),
    "constant step size": Change(values={"training.schedule": "constant"}),
    **_FURTHER,
    **_MIXTURES,
    **_NETWORKS,
}
"""Every row that has a name. The names stand in the table as they stand here."""

PUBLISHED = ("Att", "Att+SIC", "Anomaly", "Anomaly+Att", "Anomaly+Att+SIC")
GROUPS: dict[str, tuple[str, ...]] = {
    "table": (*PUBLISHED, REFERENCE, BASELINE),
    "published": (*PUBLISHED, "amil-paper", "attmil"),
    "amil-code": ("Anomaly+Att+SIC",),
    "abmil": ("Att",),
    "changes": tuple(
        name
        for name, change in ROWS.items()
        if not change.published and name not in {BASELINE, *_FURTHER, *_MIXTURES, *_NETWORKS, *WHITE}
    ),
    "further": (REFERENCE, *_FURTHER),
    "mixtures": (REFERENCE, *_MIXTURES),
    "networks": (REFERENCE, *_NETWORKS),
    "white": WHITE,
    "all": tuple(name for name in ROWS if name not in WHITE),
}
"""Names that stand for other rows: every preset has its row."""

BAG_STAGE: dict[str, frozenset[str]] = {
    "model": frozenset(
        {
            "attention_dim",
            "bag_head",
            "bag_heads",
            "bag_profile",
            "distance_transform",
            "gated_attention",
            "measurements_in_gaussian",
            "mixture",
            "mixture_fit",
            "channels",
            "morphology_weight",
            "joined",
            "pooled",
            "networks",
            "n_components",
            "orientations",
            "pool_bias",
            "pooling",
            "roundness",
            "shrinkage",
            "units_alike",
        }
    ),
    "training": frozenset(
        {
            "bag_balance",
            "bags_per_step",
            "early_stop",
            "learning_rate",
            "max_epochs",
            "refit_every",
            "sic_decay",
            "stop_count",
            "stop_loss",
            "views",
        }
    ),
}
"""Settings that matter only after the encoder has come to rest; all others decide about the encoder."""


def read_rows(path: Path) -> dict[str, Change]:
    """Return further rows from a YAML file ``name: {start: preset, model.pooling: both, ...}``.

    Raises
    ------
    SettingsError
        If the file cannot be read or is not of that form.
    """
    found = read_yaml(path, SettingsError) or {}
    if not isinstance(found, dict) or not all(isinstance(v, dict | None) for v in found.values()):
        raise SettingsError(f"'{path}' must hold 'name: {{model.pooling: both, ...}}' for each row.")
    rows = {}
    for name, given in found.items():
        values = dict(given or {})
        start = values.pop("start", REFERENCE)
        rows[str(name)] = Change(start, values, published=start != REFERENCE)
    return rows


def named_rows(names: Iterable[str], known: Mapping[str, Change] = ROWS) -> dict[str, Change]:
    """Return the rows that ``names`` name, singly or as groups, each once.

    Raises
    ------
    SettingsError
        Naming a row that does not exist, and those that do.
    """
    chosen: dict[str, Change] = {}
    for name in names:
        for row in GROUPS.get(name, (name,)):
            if row not in known:
                listed = ", ".join((*GROUPS, *known))
                raise SettingsError(f"There is no row called '{row}'; choose from: {listed}.")
            chosen[row] = known[row]
    return chosen


def row_settings(change: Change, reference: RunSettings, preset_epochs: int | None = None) -> RunSettings:
    """Return the settings of a row.

    Parameters
    ----------
    reference
        Settings of the row ``recommended``; the control class of every row is theirs.
    preset_epochs
        Epochs to which a published schedule is compressed.
    """
    start = reference if change.start == REFERENCE else preset(change.start)
    settings = with_values(start, change.values).changed({"control": reference.control})
    return compressed(settings, preset_epochs) if change.published and preset_epochs else settings


def with_values(settings: RunSettings, values: Mapping[str, Any]) -> RunSettings:
    """Return settings with ``"stage.field" -> value`` changed.

    Raises
    ------
    SettingsError
        If there is no such setting, or it cannot have the value.
    """
    for name, value in values.items():
        stage, _, key = name.partition(".")
        settings = settings.changed({stage: {key: value} if key else value})
    return settings


def compressed(settings: RunSettings, epochs: int) -> RunSettings:
    """Return the schedule of the settings compressed into ``epochs`` epochs.

    The weight of the single-instance loss and the fits of the control Gaussian keep their place in
    the schedule: ``sic_decay ** (published / epochs)`` per epoch. The step size stays.
    """
    training = settings.training
    factor = training.max_epochs / epochs
    values = {
        "max_epochs": epochs,
        "sic_decay": training.sic_decay**factor,
        "refit_every": max(1, round(training.refit_every / factor)),
    }
    return settings.changed({"training": values})


def encoder_stage(settings: RunSettings) -> RunSettings | None:
    """Return the settings with all that matters only later put to its default; None without such a stage.

    Two rows with equal results share one trained encoder.
    """
    training = settings.training
    single = settings.model.sic or training.hypersphere_weight > 0
    if not (training.cell_epochs and single) or training.train_encoder_on_bags:
        return None
    default = RunSettings().model_dump(mode="json")
    later = {stage: {name: default[stage][name] for name in names} for stage, names in BAG_STAGE.items()}
    return settings.changed({**later, "preset": ""})


def digest(*parts: Any) -> str:  # noqa: ANN401
    """Return a short hash of settings (whatever preset they came from) and of plain values."""
    plain = [
        part.model_dump(mode="json", exclude={"preset"}) if isinstance(part, RunSettings) else part
        for part in parts
    ]
    return json_sha256(plain)[:16]


def study_reference(path: Path | None, control: str | None) -> RunSettings:
    """Return the settings of the row ``recommended``, which the rows below change: the preset or a file."""
    settings = preset(REFERENCE)
    if path is not None:
        settings = RunSettings.from_yaml(path, settings)
    return settings.changed({"control": control}) if control else settings


def ablation_rows(
    changes: Mapping[str, Change], reference: RunSettings, preset_epochs: int | None
) -> dict[str, RunSettings]:
    """Return the settings of the rows; see `row_settings`."""
    return {name: row_settings(change, reference, preset_epochs) for name, change in changes.items()}

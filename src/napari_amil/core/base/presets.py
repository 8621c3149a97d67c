"""Presets: the published systems, as they were published, and the recommended one."""

from __future__ import annotations

from typing import Any

from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.settings import RunSettings

# Every field is named, so that a new default changes no published system.
_PUBLISHED_MODEL: dict[str, Any] = {
    "cells": "red",
    "encoder": "roi",
    "roi_scaling": True,
    "latent_dim": 500,
    "measurement_columns": 0,
    "measurements_in_gaussian": False,
    "colour": True,
    "orientations": 1,
    "attention_dim": 128,
    "gated_attention": False,
    "pooling": "both",
    "distance_transform": "softmax",
    "pool_bias": True,
    "bag_heads": 1,
    "bag_head": [10],
    "bag_profile": False,
    "clinical": "none",
    "clinical_hidden": [],
    "sic": True,
    "sic_head": [32],
    "dropout": 0.0,
    "shrinkage": "none",
    "roundness": 0.0,
    "units_alike": False,
    "channels": ["latent_distance", "morph_distance"],
    "joined": [],
    "pooled": [],
    "networks": {},
    "morphology_weight": 0.0,
    "n_components": 1,
    "mixture_fit": "em",
    "mixture": "moment",
}
_PUBLISHED_TRAINING: dict[str, Any] = {
    "max_epochs": 300,
    "learning_rate": 5e-4,
    "schedule": "constant",
    "weight_decay": 0.0,
    "optimiser": "adam",
    "amsgrad": False,
    "max_gradient": None,
    "loss": "ce",
    "expert_loss": 0.0,
    "bags_per_step": 1,
    "early_stop": "cumulative",
    "stop_loss": 3e-4,
    "stop_count": 5,
    "sic_decay": 0.95,
    "cell_epochs": 0,
    "hypersphere_weight": 0.0,
    "topology_weight": 0.0,
    "refit_every": 5,
    "balance_classes": False,
    "bag_balance": 0.0,
    "train_encoder_on_bags": True,
    "augment": False,
    "validation_fraction": 0.0,
    "calibration_folds": 0,
    "precision": "32",
}

_CODE = RunSettings().changed({"model": _PUBLISHED_MODEL, "training": _PUBLISHED_TRAINING})

_WHITE = RunSettings().changed({"model": {"cells": "white"}, "crop": {"outside_margin": None}})

_LYMPHO_PUBLISHED = _CODE.changed(
    {
        "crop": {"size_px": 224, "outside_margin": None},
        "model": {
            "cells": "white",
            "encoder": "crop",
            "latent_dim": 512,
            "width": 64,
            "scales": 1,
            "pooling": "mean",
            "bag_head": [],
            "sic": False,
            "clinical": "moe",
            "clinical_hidden": [2],
        },
        "training": {
            "max_epochs": 1400,  # 200,000 steps of one of 142 patients
            "learning_rate": 1e-4,
            "weight_decay": 5e-4,
            "schedule": "steps",
            "early_stop": "none",
        },
    }
)

_PRESETS = {
    "recommended": RunSettings(),
    # Kazeminia et al. 2022, the code that was published
    "amil-code": _CODE,
    # the same as its paper tells it, with the code's values where the paper gives none
    "amil-paper": _CODE.changed(
        {
            "model": {"distance_transform": "raw", "pool_bias": False, "bag_head": [], "roi_scaling": False},
            "training": {
                "max_epochs": 100,
                "learning_rate": 5e-5,
                "weight_decay": 1e-5,  # printed as 10^5
                "amsgrad": True,
                "early_stop": "none",
            },
        }
    ),
    # Sadafi et al. 2020
    "attmil": _CODE.changed(
        {
            "model": {
                "encoder": "roi-attmil",
                "roi_scaling": False,
                "dropout": 0.1,
                "pooling": "attention",
                "bag_head": [],
            },
            "training": {
                "max_epochs": 150,
                "weight_decay": 1e-4,
                "amsgrad": True,
                "loss": "bce_softmax",
                "stop_loss": 1e-3,
                "stop_count": 7,
            },
        }
    ),
    # Ilse et al. 2018 on the network of AMIL: the row "Att" of its table 1
    "abmil": _CODE.changed({"model": {"pooling": "attention", "sic": False}}),
    # images of single white cells
    "lympho-moe": _WHITE.changed({"model": {"clinical": "moe"}}),
    "lympho-concat": _WHITE.changed({"model": {"clinical": "concat"}}),
    "lympho-images": _WHITE,
    # white cells that the detector finds in smears
    "lympho-smears": _WHITE.changed({"detection": {"cells": "white"}}),
    # Sahasrabudhe et al. 2021, with the crop encoder in place of their narrow ResNet
    "lympho-published": _LYMPHO_PUBLISHED,
    "lympho-clinical": _WHITE.changed({"model": {"clinical": "alone"}}),
}

PRESETS = tuple(_PRESETS)
"""Names of the presets."""


def preset(name: str) -> RunSettings:
    """Return the settings of a preset; its name is noted in them.

    Raises
    ------
    SettingsError
        If there is no such preset.
    """
    if name not in _PRESETS:
        raise SettingsError(f"There is no preset called '{name}'; choose one of {', '.join(PRESETS)}.")
    return _PRESETS[name].changed({"preset": name})


def preset_table() -> str:
    """Return a Markdown table of the settings in which a preset differs from ``recommended``."""
    columns = {name: _flat(settings) for name, settings in _PRESETS.items()}
    rows = [
        field for field in _flat(RunSettings()) if len({values[field] for values in columns.values()}) > 1
    ]
    lines = ["| setting |" + "".join(f" `{name}` |" for name in columns), "|---|" + "---|" * len(columns)]
    for field in rows:
        default = columns["recommended"][field]
        cells = [
            default,
            *("" if v[field] == default else v[field] for n, v in columns.items() if n != "recommended"),
        ]
        lines.append(f"| `{field}` |" + "".join(f" {cell} |" for cell in cells))
    return "\n".join(lines)


def _flat(settings: RunSettings) -> dict[str, str]:
    """Return the settings as ``stage.field -> text``."""
    flat: dict[str, Any] = {}
    for stage, value in settings.model_dump(mode="json").items():
        fields = (
            {f"{stage}.{name}": inner for name, inner in value.items()} if isinstance(value, dict) else {}
        )
        flat |= fields or {stage: value}
    return {name: "none" if value is None else str(value) for name, value in flat.items()}

"""Bundles of format 2, which name the parts of the anomaly model one by one, in the present layout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_PLACES = {
    "gaussian/": "anomaly/channels/latent_distance/gaussian.",
    "moments/": "anomaly/channels/latent_distance/moments.",
    "morphology/": "anomaly/channels/morph_distance/statistics.",
    "refits/": "anomaly/channels/morph_distance/refits.",
    "calibration/": "anomaly/calibrations/anomaly/",
    "joint/": "anomaly/joint/",
    "novelty/": "anomaly/novelty/",
}
_LATENT, _MORPH = "latent_distance", "morph_distance"


def converted(header: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return header and tensors of format 2 in the layout of the present format.

    Format 2 stored a weight for two channels, an infinite mean for a class without a bag, and NaN for a
    number that is not known.
    """
    found = {_renamed(name): value for name, value in tensors.items() if value.ndim or not _is_nan(value)}
    channels = [_LATENT] + [_MORPH] * any(name.startswith("morphology/") for name in tensors)
    joint = "joint/weight" in tensors and _MORPH in channels
    if joint:
        weight = float(found.pop("anomaly/joint/weight"))
        found["anomaly/joint/weights"] = torch.tensor([1.0 - weight, weight], dtype=torch.float64)
        found["anomaly/joint/alone"] = torch.tensor([True, False])
    means = found.get("anomaly/novelty/means")
    if means is not None:
        known = ~means.isinf().any(dim=1)
        found["anomaly/novelty/known"] = known
        found["anomaly/novelty/means"] = torch.where(known[:, None], means, 0.0)
    names = {
        "channels": channels,
        "joined": [_LATENT, _MORPH] if joint else [_LATENT],
        "calibrations": ["anomaly"],
        "n_networks": 0,
    }
    return header | {"anomaly": names}, found


def _renamed(name: str) -> str:
    for old, new in _PLACES.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def _is_nan(value: Tensor) -> bool:
    return value.is_floating_point() and bool(value.isnan())

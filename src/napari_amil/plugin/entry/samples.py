"""The fields under File > Open Sample."""

from __future__ import annotations

from typing import Any

from napari_amil.core.base.types import Image
from napari_amil.core.cohort import samples

LayerData = tuple[Image, dict[str, Any], str]


def synthetic_smear() -> list[LayerData]:
    """Return the made-up smear as an image layer."""
    return [(samples.synthetic_field().image, {"name": "made-up smear", "rgb": True}, "image")]


def real_smear() -> list[LayerData]:
    """Return a real field as an image layer: the local copy, else the publishers' file."""
    return [(samples.real_field(), {"name": f"Chula {samples.REAL_FILE}", "rgb": True}, "image")]

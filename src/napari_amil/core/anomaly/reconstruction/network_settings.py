"""Settings that all networks among the anomaly scores share; each model adds its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field

from napari_amil.core.base.errors import SettingsError
from napari_amil.core.base.settings import Settings

CELL = "cell"
"""Name of the preset that trains on a processor in minutes."""
CODE = "code"
"""Name of the preset of the published program."""


class NetworkSettings(Settings):
    """Input, size and schedule of a network that is trained on control cells alone."""

    coarsest_counts: ClassVar[bool] = False
    """True if the last of the widths is that of 4 x 4 pixels, not of the step to them."""

    size_px: int = Field(32, ge=8, le=256)
    """Side of the input in pixels, 4 times a power of 2; crops are resampled to it."""
    grey: bool = False
    """See the mean of the three colours alone."""
    outside: Literal["white", "keep"] = "white"
    """Paint what lies outside a cell and its nearest surroundings white, or keep it."""
    region: Literal["mask", "crop"] = "mask"
    """Pixels that count in the score: the cell with its nearest surroundings, or the whole crop."""
    widths: tuple[int, ...] = (32, 64, 128)
    """Channels at each resolution, from the finest to the one of 4 x 4 pixels."""
    latent_dim: int = Field(64, ge=1, le=4096)
    """Length of the code of a cell."""
    batch_size: int = Field(32, ge=2, le=4096)
    """Cells in one optimiser step."""
    learning_rate: float = Field(1e-3, gt=0, lt=1)
    """Step size of the optimiser."""
    epochs: int = Field(1000, ge=1)
    """Most passes over the control cells."""
    steps: int = Field(2000, ge=1)
    """Most optimiser steps; the training ends with the first of both limits."""
    turn_deg: float = Field(180.0, ge=0, le=180)
    """Largest angle, to either side, by which a crop is turned while training, in degrees."""
    shift: float = Field(0.03, ge=0, le=0.5)
    """Largest shift while training, as a share of the side."""
    zoom: float = Field(0.05, ge=0, lt=1)
    """Largest change of size while training, as a share."""
    mirror: bool = True
    """Mirror half of the crops while training."""
    perceptual: str = "pyramid"
    """Network whose features compare pictures: 'pyramid' (fixed random filters), 'encoder' (of the model that
    the score is added to), or a safetensors file of VGG19 or SqueezeNet 1.1."""

    domains: tuple[str, ...] = ()
    """Acquisition columns ('stain', 'scanner' ...), each with a part of the code that learns it (MADDR)."""
    domain_dim: int = Field(10, ge=1, le=1000)
    """Numbers of the code of each of these."""
    domain_weight: float = Field(0.1, ge=0)
    """Weight of telling them apart."""
    center_weight: float = Field(0.1, ge=0)
    """Weight of drawing the rest of the codes together; counts only with domains."""
    mixup: bool = False
    """Mix pairs of cells while training with domains."""

    @property
    def channels(self) -> int:
        """Number of colours of the input."""
        return 1 if self.grey else 3

    @property
    def n_values(self) -> int:
        """Number of values of the input of one cell."""
        return self.channels * self.size_px**2


Kind = TypeVar("Kind", bound=NetworkSettings)


def network_settings(name: str, presets: Mapping[str, Kind], changes: Mapping[str, Any]) -> Kind:
    """Return the settings of a network from its entry in ``model.networks``.

    Parameters
    ----------
    name
        Name of the score.
    presets
        Its presets.
    changes
        ``preset`` (or `CELL`), and the fields that differ from it.

    Raises
    ------
    SettingsError
        If there is no such preset or field, or the value of one is wrong.
    """
    values = dict(changes)
    preset = values.pop("preset", CELL)
    if preset not in presets:
        raise SettingsError(
            f"There is no preset '{preset}' of the anomaly score '{name}'; "
            f"choose one of {', '.join(presets)}."
        )
    start = presets[preset]
    known = type(start).parse(start.model_dump(mode="json") | values)
    side = 4 * 2 ** (len(known.widths) - known.coarsest_counts)
    if known.size_px != side:
        raise SettingsError(
            f"model.networks: '{name}' has {len(known.widths)} widths and inputs of {known.size_px} pixels; "
            f"with so many widths size_px must be {side}."
        )
    return known

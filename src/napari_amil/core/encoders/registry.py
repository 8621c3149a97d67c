"""Encoders by name."""

from __future__ import annotations

from napari_amil.core.base.encoders import ENCODER_SPECS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.encoders.base import Encoder
from napari_amil.core.encoders.crop import CropEncoder
from napari_amil.core.encoders.external import ExternalEncoder
from napari_amil.core.encoders.measurements import MeasurementEncoder
from napari_amil.core.encoders.roi import AttMilRoiEncoder, RoiEncoder

ENCODERS: dict[str, type[Encoder]] = {}
"""Class of every encoder by its name in the settings."""


def register_encoder(kind: type[Encoder]) -> None:
    """Make an encoder known, so that ``model.encoder`` accepts its name."""
    ENCODERS[kind.spec.name] = kind
    ENCODER_SPECS[kind.spec.name] = kind.spec


for _kind in (CropEncoder, RoiEncoder, AttMilRoiEncoder, MeasurementEncoder, ExternalEncoder):
    register_encoder(_kind)


def build_encoder(settings: ModelSettings, in_channels: int, n_measurements: int = 0) -> Encoder:
    """Return the encoder that the settings name.

    Parameters
    ----------
    in_channels
        Channels of a crop or feature map.
    n_measurements
        Number of measurements of a cell.

    Raises
    ------
    AmilError
        If cells are crops and do not have 3 channels.
    """
    kind = ENCODERS[settings.encoder]
    if kind.spec.input == "crop" and in_channels != 3:
        raise AmilError(
            f"The encoder '{settings.encoder}' takes crops of 3 channels, not {in_channels}; "
            "set model.encoder to 'roi'."
        )
    encoder = kind.from_settings(
        settings, n_measurements if kind.spec.input == "measurements" else in_channels
    )
    return encoder.requires_grad_(not kind.spec.frozen).train(encoder.training)

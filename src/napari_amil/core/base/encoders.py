"""Names and declarations of the encoders; settings are checked against them without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

InputKind = Literal["crop", "roi", "measurements"]
"""Input of an encoder: an image crop, the detector's feature map, or named measurements."""

MEASUREMENT_DIM = 8
"""Length of the part of z_n that each network over the named measurements gives, of about 30 numbers."""


@dataclass(frozen=True)
class EncoderSpec:
    """Declaration of an encoder.

    Parameters
    ----------
    name
        Its name in the settings.
    input
        Kind of input of a cell.
    embedding_dim
        Length of its embedding; None where ``model.latent_dim`` decides.
    frozen
        Whether its weights stay as they are, so that only what sits on the embedding is trained.
    """

    name: str
    input: InputKind
    embedding_dim: int | None = None
    frozen: bool = False


ENCODER_SPECS: dict[str, EncoderSpec] = {
    spec.name: spec
    for spec in (
        EncoderSpec("crop", "crop"),
        EncoderSpec("roi", "roi"),
        EncoderSpec("roi-attmil", "roi"),
        EncoderSpec("measurements", "measurements"),
        EncoderSpec("external", "crop"),
    )
}
"""Every encoder by name; `napari_amil.core.encoders.registry` holds their classes."""


@dataclass(frozen=True)
class NameOf:
    """Marks a text field of settings whose value is one of the keys of a registry."""

    registry: dict[str, EncoderSpec]
    noun: str

    def names(self) -> tuple[str, ...]:
        """Return the names that are registered now."""
        return tuple(self.registry)

    def check(self, name: str) -> str:
        """Return ``name``, or refuse it and list the known ones."""
        if name not in self.registry:
            raise ValueError(
                f"There is no {self.noun} called '{name}'; choose one of {', '.join(self.names())}."
            )
        return name

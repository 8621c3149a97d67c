"""Base class of all encoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from napari_amil.core.base.encoders import EncoderSpec
from napari_amil.core.base.settings import ModelSettings


class Encoder(nn.Module, ABC):
    """Maps each cell by itself to its embedding ``z_n (n, k)``.

    A subclass sets `spec`, and gets a name in `napari_amil.core.encoders.registry`. In evaluation the
    embedding of a cell must not depend on the cells that are embedded with it. An encoder that is
    declared frozen stays in evaluation mode, and no optimiser changes it.
    """

    spec: ClassVar[EncoderSpec]

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: ModelSettings, n_inputs: int) -> Self:
        """Return an encoder with new (or, if frozen, its own) weights.

        Parameters
        ----------
        n_inputs
            Channels of crops or feature maps, or number of measurements.
        """

    @abstractmethod
    def forward(self, inputs: Tensor) -> Tensor:
        """Return the embeddings ``(n, k)`` of inputs ``(n, ...)`` of the declared kind."""

    def folded(self) -> Encoder:
        """Return a faster encoder with equal embeddings in evaluation where there is one, else this one."""
        return self

    def pixelwise(self, inputs: Tensor) -> Tensor:
        """Return the inputs after the steps that treat each pixel by itself, which turned views share."""
        return inputs

    def embed(self, prepared: Tensor) -> Tensor:
        """Return the embeddings ``(n, k)`` of the result of `pixelwise`, turned or not."""
        z: Tensor = self(prepared)
        return z

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; a frozen encoder stays in evaluation."""
        return super().train(mode and not self.spec.frozen)

    def origin(self) -> dict[str, Any]:
        """Return the origin of the encoder for the card of a model; empty if it is ours."""
        return {}

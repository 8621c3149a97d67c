"""Fusion of the images of a bag with its clinical values: a sum of logits, or a mixture of two experts."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor, nn

from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.mil.clinical import ClinicalCodes


@dataclass(frozen=True, eq=False)
class FusionOutput:
    """Prediction from images and clinical values together.

    Parameters
    ----------
    kind
        `ModelSettings.clinical`.
    logits
        ``(n_bags, n_classes)``; their softmax is the probability. Of a mixture they are its logarithm.
    head_logits
        ``(n_heads, n_bags, n_classes)`` the same of every bag head.
    clinical
        ``(n_bags, n_values, n_classes)`` what each value adds to `clinical_logits`, exactly.
    clinical_logits
        ``(n_bags, n_classes)`` of the clinical expert, or the clinical part of the sum.
    image_weight
        ``(n_bags,)`` weight of the images in the mixture, 0 to 1; 1 for a sum, 0 without images.
    expert_logits
        ``(1 + n_heads, n_bags, n_classes)`` of the experts of a mixture, each by itself; None of others.
    """

    kind: str
    logits: Tensor
    head_logits: Tensor
    clinical: Tensor
    clinical_logits: Tensor
    image_weight: Tensor
    expert_logits: Tensor | None = None


class ClinicalFusion(nn.Module):
    """Clinical values ``c`` beside the image logits ``s`` (Sahasrabudhe et al. 2021).

    * ``concat``: ``s + V c + b``, which is what a linear classifier makes of ``c`` beside the bag vector;
    * ``moe``: ``p = w softmax(s) + (1 - w) softmax(e(c))`` with the weight
      ``w = sigmoid(u [tanh(s), c] + b)``, ``s`` less its mean over the classes;
    * ``alone``: ``softmax(e(c))``, logistic regression where ``e`` has no hidden layer.

    An expert with hidden layers of ReLU is linear around every point: the contributions of its values
    are those of that linear map, and with its constant they add up exactly.

    Parameters
    ----------
    settings
        ``clinical`` and ``clinical_hidden``.
    codes
        Columns of the clinical values.
    n_classes
        Number of classes.
    """

    def __init__(self, settings: ModelSettings, codes: ClinicalCodes, n_classes: int) -> None:
        super().__init__()
        self.kind, self.codes = settings.clinical, codes
        hidden = () if self.kind == "concat" else settings.clinical_hidden
        widths = (codes.width, *hidden, n_classes)
        self.expert = nn.ModuleList(nn.Linear(*pair) for pair in itertools.pairwise(widths))
        self.gate = nn.Linear(n_classes + codes.width, 1) if self.kind == "moe" else None
        layers = [*([] if hidden else self.expert), *([] if self.gate is None else [self.gate])]
        for layer in layers:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, image_logits: Tensor, head_logits: Tensor, values: Tensor) -> FusionOutput:
        """Return both together.

        Parameters
        ----------
        image_logits, head_logits
            ``(n_bags, n_classes)`` and ``(n_heads, n_bags, n_classes)``.
        values
            ``(n_bags, width)`` columns of the clinical values.
        """
        terms, clinical_logits = self.contributions(values)
        clinical = self.codes.by_value(terms), clinical_logits
        n_bags = len(values)
        if self.kind == "concat":
            both = image_logits + clinical_logits, head_logits + clinical_logits
            return FusionOutput(self.kind, *both, *clinical, image_logits.new_ones(n_bags))
        if self.gate is None:
            alone = F.log_softmax(clinical_logits, dim=1)
            none = image_logits.new_zeros(n_bags)
            return FusionOutput(self.kind, alone, alone.expand_as(head_logits), *clinical, none)
        gate = self.gate_logit(image_logits, values)
        heads = torch.stack([_mixed(logits, clinical_logits, gate) for logits in head_logits])
        mixture = _mixed(image_logits, clinical_logits, gate)
        experts = torch.cat([clinical_logits[None], head_logits])
        return FusionOutput(self.kind, mixture, heads, *clinical, gate.sigmoid(), experts)

    def gate_logit(self, image_logits: Tensor, values: Tensor) -> Tensor:
        """Return the logit ``(n_bags,)`` of the weight of the images."""
        assert self.gate is not None
        centred = image_logits - image_logits.mean(dim=1, keepdim=True)
        gate: Tensor = self.gate(torch.cat([torch.tanh(centred), values], dim=1))
        return gate[:, 0]

    def contributions(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return contributions of columns ``(n_bags, width, n_classes)``, and logits ``(n_bags, n_classes)``.

        The logits are the sum over the columns, and the constant of the linear map around the point.
        """
        first, *others = (layer for layer in self.expert if isinstance(layer, nn.Linear))
        x = first(values)
        slope = first.weight.T.expand(len(values), -1, -1)  # (n_bags, width, n_out)
        for layer in others:
            active = (x > 0).to(x)
            x = layer(x * active)
            slope = (slope * active[:, None, :]) @ layer.weight.T
        return values[:, :, None] * slope, x


def _mixed(image_logits: Tensor, clinical_logits: Tensor, gate: Tensor) -> Tensor:
    """Return ``log(w softmax(s) + (1 - w) softmax(e))`` with ``w = sigmoid(gate)``."""
    images = F.log_softmax(image_logits, dim=1) + F.logsigmoid(gate)[:, None]
    values = F.log_softmax(clinical_logits, dim=1) + F.logsigmoid(-gate)[:, None]
    return torch.logaddexp(images, values)

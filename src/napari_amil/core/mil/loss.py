"""Losses of bags and of single instances, and the weight between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from torch import Tensor

from napari_amil.core.mil.batch import segment_of
from napari_amil.core.mil.model import AmilOutput

Loss = Literal["ce", "bce_softmax"]

NORMAL_SHARE = 0.75
"""Expected share of normal cells in a diseased bag; a quarter of abnormal cells is typical of the diseases
of red cells, and the weight of the loss, which is a setting, makes up for an error."""


def sic_weight(epoch: int, decay: float = 0.95) -> float:
    """Return ``beta = decay ** epoch``, the weight of the single-instance loss; epochs count from 0."""
    return decay**epoch


def class_loss(logits: Tensor, targets: Tensor, kind: Loss = "ce") -> Tensor:
    """Return the mean loss of logits ``(n, n_classes)``.

    ``"ce"`` is the cross-entropy; ``"bce_softmax"`` the binary cross-entropy of every class, averaged,
    on softmax probabilities (Sadafi et al. 2020).

    Parameters
    ----------
    targets
        ``(n,)`` int64 classes, or ``(n, n_classes)`` shares of each class.
    """
    if kind == "ce":
        return F.cross_entropy(logits, targets)
    if targets.ndim == 1:
        targets = F.one_hot(targets, logits.shape[1])
    with torch.autocast(logits.device.type, enabled=False):  # unsafe in half precision
        return F.binary_cross_entropy(logits.float().softmax(dim=1), targets.float())


def amil_loss(
    output: AmilOutput,
    labels: Tensor,
    lengths: Tensor,
    beta: float,
    kind: Loss = "ce",
    experts: float = 0.0,
) -> Tensor:
    """Return ``(1 - beta) L_MIL + beta mean_n L_SIC`` (Kazeminia et al. 2022, section 2.4).

    Without a single-instance classifier the loss is ``L_MIL``.

    Parameters
    ----------
    labels
        ``(n_bags,)`` class of each bag; it is also the target of each of its cells.
    beta
        Weight of the single-instance loss.
    experts
        Weight of the loss of each expert of a mixture by itself.
    """
    mil = bag_loss(output, labels, kind, experts)
    if output.sic_logits is None:
        return mil
    return (1 - beta) * mil + beta * sic_loss(output.sic_logits, labels[segment_of(lengths)], kind)


def bag_loss(output: AmilOutput, labels: Tensor, kind: Loss = "ce", experts: float = 0.0) -> Tensor:
    """Return the mean loss of the bags ``(n_bags,)`` over the heads, each of which learns by itself.

    In a mixture each expert learns by itself as well, with the weight ``experts``.
    """
    loss = torch.stack([class_loss(logits, labels, kind) for logits in output.head_logits]).mean()
    alone = None if output.fusion is None else output.fusion.expert_logits
    if alone is None or not experts:
        return loss
    of_values, of_images = alone[0], torch.stack([class_loss(s, labels, kind) for s in alone[1:]]).mean()
    return loss + experts * (class_loss(of_values, labels, kind) + of_images)


def sic_loss(sic_logits: Tensor, targets: Tensor, kind: Loss = "ce") -> Tensor:
    """Return the mean loss of logits ``(n_cells, n_columns, n_classes)`` over the parts of the embedding."""
    return torch.stack([class_loss(logits, targets, kind) for logits in sic_logits.unbind(1)]).mean()


def hypersphere_loss(
    z: Tensor, control: Tensor, share: float, columns: Sequence[int] | None = None
) -> Tensor:
    """Return the loss that draws normal cells to the origin of the latent space and keeps others away.

    A cell is normal with probability ``exp(-h)``, ``h = sqrt(1 + |z|^2) - 1`` (hypersphere classifier,
    Liznerski et al. 2022), and a normal cell comes from a control bag with probability ``share``,
    since most cells of a diseased bag are normal too. The loss is the cross-entropy of
    ``share * exp(-h)`` to whether the cell came from a control bag. What makes cells of healthy
    people differ from each other shrinks, and the distance to their Gaussian tells the ill ones.

    Parameters
    ----------
    z
        ``(n_cells, k)`` embeddings.
    control
        ``(n_cells,)`` 1 for a cell of a control bag, else 0; between for a cell of several bags.
    share
        `control_share` of the cells as they are drawn.
    columns
        Lengths of parts of ``z`` that each have a loss of their own, which is averaged.
    """
    if columns is not None and len(columns) > 1:
        parts = z.split(tuple(columns), dim=1)
        return torch.stack([hypersphere_loss(part, control, share) for part in parts]).mean()
    h = torch.sqrt(1.0 + (z * z).sum(dim=1)) - 1.0  # (n_cells,)
    log_p = math.log(share) - h
    return -(control * log_p + (1.0 - control) * torch.log1p(-log_p.exp())).mean()


def control_share(class_share: Tensor, control: int) -> float:
    """Return the probability that a normal cell comes from a control bag.

    Parameters
    ----------
    class_share
        ``(n_classes,)`` share of the cells, as they are drawn, from bags of each class.
    control
        Number of the control class.
    """
    from_control = float(class_share[control])
    return from_control / (from_control + (1.0 - from_control) * NORMAL_SHARE)

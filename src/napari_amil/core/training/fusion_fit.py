"""Fit the scale of image logits, and their fusion with clinical values, to held-out bags."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor

from napari_amil.core.base.types import Floats
from napari_amil.core.mil.covariates import Covariates
from napari_amil.core.mil.fusion import ClinicalFusion
from napari_amil.core.mil.model import AmilModel

RIDGE = 0.5
"""Weight of the sum of squared weights beside the sum of the losses of all bags."""
_MOST_TIMES = 100.0  # logits are multiplied or divided by at most
_STEPS = 200  # of L-BFGS; a few dozen suffice


def fit_to_held_out(
    model: AmilModel, image_logits: Floats, labels: NDArray[np.int64], covariates: Sequence[Covariates]
) -> Floats:
    """Fit scale of the image logits and fusion in place to held-out bags, and return their logits by it.

    The network has seen the bags of the training and is too sure about them. ``image_logits`` come from
    networks trained without the bag, so that the images are trusted as much as they deserve. The
    cross-entropy of what images and values say together, of a mixture also that of each expert by
    itself, is minimised over the factor ``tau >= 0`` on the image logits, the gate and the expert, with a
    ridge on all weights but the constants.

    Parameters
    ----------
    model
        The final network, which has a fusion; it is left as it is where the held-out bags lack a class.
    image_logits
        ``(n_bags, n_classes)`` of networks trained without the bag.
    labels
        ``(n_bags,)`` classes.
    covariates
        Clinical values, part by part in the order of the bags.
    """
    fusion = model.fusion
    assert fusion is not None
    logits, targets = torch.from_numpy(image_logits), torch.from_numpy(labels)
    sizes = [max(part.lengths(), default=0) for part in covariates]
    values = torch.cat([fusion.codes.encode(p, n) for p, n in zip(covariates, sizes, strict=True)]).double()
    fitted = copy.deepcopy(fusion).cpu().double()
    scale = 1.0
    if len(np.unique(labels)) == image_logits.shape[1]:
        scale = _minimise(fitted, logits, values, targets)
        fusion.load_state_dict(fitted.state_dict())
        model.scale_logits(scale)
    with torch.no_grad():
        return np.asarray(_fused(fitted, scale * logits, values).numpy())


def best_share(network: Floats, profile: Floats, labels: NDArray[np.int64], weights: Floats) -> float:
    """Return the share ``w`` of the profile in ``(1 - w) s + w u`` that makes held-out bags most likely.

    The logits of each are divided by a temperature as well: ``a s + b u`` is fitted, ``w = b / (a + b)``.

    Parameters
    ----------
    network, profile
        ``(n_bags, n_classes)`` logits ``s`` and ``u`` of models that did not see the bag.
    labels, weights
        ``(n_bags,)`` classes, and how much each bag counts.
    """
    rows = np.arange(len(labels))

    def loss(logs: Floats) -> float:
        a, b = np.exp(logs)
        return -float(weights @ log_softmax(a * network + b * profile, axis=1)[rows, labels])

    most = float(np.log(_MOST_TIMES))
    found = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-most, most)] * 2)
    a, b = np.exp(found.x)
    return float(b / (a + b))


def best_threshold(ill: NDArray[np.bool_], probability: Floats) -> float:
    """Return the threshold with the best balanced accuracy, between two neighbouring probabilities.

    Of several the one nearest to one half. NaN unless there are ill and healthy bags.
    """
    if ill.all() or not ill.any():
        return math.nan
    steps = np.unique(probability)
    between = np.concatenate([[0.0], (steps[1:] + steps[:-1]) / 2, [1.0]])
    called = probability[None, :] >= between[:, None]
    accuracy = (called[:, ill].mean(axis=1) + (~called[:, ~ill]).mean(axis=1)) / 2
    best = between[accuracy > accuracy.max() - 1e-9]
    return float(best[np.argmin(np.abs(best - 0.5))])


def _minimise(fusion: ClinicalFusion, logits: Tensor, values: Tensor, labels: Tensor) -> float:
    """Fit a fusion in place, and return the factor on the image logits."""
    root = torch.ones((), dtype=torch.float64, requires_grad=True)
    weights = [root, *fusion.parameters()]
    optimiser = torch.optim.LBFGS(weights, max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> float:
        optimiser.zero_grad()
        loss = _loss(fusion, root**2 * logits, values, labels) + 0.0 * root
        loss.backward()
        return float(loss.detach())

    optimiser.step(closure)
    return float(root.detach()) ** 2


def _fused(fusion: ClinicalFusion, logits: Tensor, values: Tensor) -> Tensor:
    found: Tensor = fusion(logits, logits[None], values).logits
    return found


def _loss(fusion: ClinicalFusion, logits: Tensor, values: Tensor, labels: Tensor) -> Tensor:
    """Return the sum of the losses of the bags, and the ridge."""
    loss = F.cross_entropy(_fused(fusion, logits, values), labels, reduction="sum")
    if fusion.kind == "moe":
        clinical = fusion.contributions(values)[1]
        loss = loss + F.cross_entropy(clinical, labels, reduction="sum")
        loss = loss + F.cross_entropy(logits, labels, reduction="sum")
    weights = [p for name, p in fusion.named_parameters() if name.endswith("weight")]
    return loss + RIDGE * torch.stack([weight.square().sum() for weight in weights]).sum()

"""The training of the detector: first annotations, then optimiser steps that can stop and resume."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from scipy import ndimage
from skimage.transform import rescale
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN

from napari_amil.core.detection.augment import AnnotatedField, training_crop
from napari_amil.core.detection.bootstrap import annotate
from napari_amil.core.detection.network import build_detector, detection_losses
from napari_amil.core.device import seed_everything
from napari_amil.core.errors import BundleError, CohortError
from napari_amil.core.events import EpochReport, Event, Warned
from napari_amil.core.images.foreground import REFERENCE_DIAMETER_PX, network_scale, typical_diameter
from napari_amil.core.settings import DetectorTrainingSettings
from napari_amil.core.tensorfile import write_tensors

_WARMUP_STEPS = 200
_GRADIENT_NORM = 5.0


def first_annotation(normalised: NDArray[np.float32]) -> AnnotatedField | None:
    """Return a normalised field at the network's scale with its first annotation, None without cells.

    Clumps that classical segmentation cannot split with confidence are painted over with background.
    """
    diameter = typical_diameter(normalised)
    if not math.isfinite(diameter):
        return None
    scale = network_scale(diameter)
    if scale != 1.0:
        normalised = rescale(normalised, scale, channel_axis=2, anti_aliasing=scale < 1).astype(np.float32)
        diameter = REFERENCE_DIAMETER_PX
    annotation = annotate(normalised, diameter)
    hidden = ndimage.binary_dilation(annotation.doubtful, iterations=2) & (annotation.labels == 0)
    pixels = np.where(hidden[..., None], 1.0, normalised)
    return AnnotatedField((pixels * 255).round().astype(np.uint8), annotation.labels, annotation.isolated)


@dataclass
class _State:
    """Everything that a resumed training needs."""

    model: MaskRCNN
    optimiser: torch.optim.Optimizer
    settings: DetectorTrainingSettings
    step: int = 0


def train_detector(
    fields: Sequence[AnnotatedField],
    settings: DetectorTrainingSettings,
    device: torch.device,
    checkpoint: Path | None = None,
    model: MaskRCNN | None = None,
) -> Generator[Event, None, MaskRCNN]:
    """Train a Mask R-CNN on annotated fields; yield an `EpochReport` at every checkpoint.

    Step ``i`` draws its crops from a generator seeded with ``(seed, i)``, so a training resumed
    from ``checkpoint`` sees what the uninterrupted one would have seen.

    Parameters
    ----------
    fields
        Annotated fields (`first_annotation`).
    settings
        Steps, learning rate, augmentation, seed.
    device
        Where to train.
    checkpoint
        Safetensors file written every ``checkpoint_every`` steps and resumed from if it exists.
    model
        Start from this network instead of a fresh one.

    Raises
    ------
    CohortError
        If no field has a cell.
    BundleError
        If ``checkpoint`` is damaged or belongs to another network.
    """
    if not sum(int(field.labels.max(initial=0)) for field in fields):
        raise CohortError("No cell was found in the training images; check that they are smears.")
    seed_everything(settings.seed)
    state = _start(model or build_detector(settings.backbone), settings, device)
    if checkpoint is not None and checkpoint.exists():
        _load(state, checkpoint)
        yield Warned(f"Resumed from '{checkpoint.name}' at step {state.step}.")
    state.model.train()
    losses: list[float] = []
    while state.step < settings.steps:
        losses.append(_optimise(state, fields, settings, device))
        state.step += 1
        if state.step % settings.checkpoint_every == 0 or state.step == settings.steps:
            if checkpoint is not None:
                _save(state, checkpoint)
            yield EpochReport(state.step, settings.steps, float(np.mean(losses)))
            losses.clear()
    return state.model.eval()


def _start(model: MaskRCNN, settings: DetectorTrainingSettings, device: torch.device) -> _State:
    model = model.to(device=device, memory_format=torch.channels_last)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 1e-2}, {"params": plain, "weight_decay": 0.0}]
    return _State(model, torch.optim.AdamW(groups, lr=settings.learning_rate), settings)


def learning_rate(step: int, settings: DetectorTrainingSettings) -> float:
    """Return the step size: a linear warm-up, then a half cosine down to a hundredth of the peak."""
    warmup = min(_WARMUP_STEPS, settings.steps // 10 + 1)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(settings.steps - warmup, 1)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def _optimise(
    state: _State, fields: Sequence[AnnotatedField], settings: DetectorTrainingSettings, device: torch.device
) -> float:
    """Take one optimiser step and return its loss."""
    rng = np.random.default_rng((settings.seed, state.step))
    torch.manual_seed(int(rng.integers(2**31)))  # the network samples anchors and proposals
    crops = [training_crop(fields, settings, rng) for _ in range(settings.batch_size)]
    images = torch.stack([image for image, _ in crops]).to(device, memory_format=torch.channels_last)
    targets: list[dict[str, Tensor]] = [{k: v.to(device) for k, v in target.items()} for _, target in crops]
    loss = torch.stack(list(detection_losses(state.model, images, targets).values())).sum()
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(state.step, settings)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(state.model.parameters(), _GRADIENT_NORM)
    state.optimiser.step()
    return float(loss.detach())


def _save(state: _State, path: Path) -> None:
    """Write weights, optimiser and step into one file, atomically."""
    tensors = {f"model.{name}": value for name, value in state.model.state_dict().items()}
    for index, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
    record = {"step": state.step, "settings": state.settings.model_dump(mode="json")}
    write_tensors(tensors, {"training": json.dumps(record)}, path)


def _load(state: _State, path: Path) -> None:
    """Take weights, optimiser and step from a file of `_save`; refuse a file that does not fit."""
    try:
        with safe_open(path, framework="pt") as stored:
            record = json.loads((stored.metadata() or {})["training"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        state.model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
        optimiser = state.optimiser.state_dict()
        optimiser["state"] = {}
        for name, value in tensors.items():
            if name.startswith("optimiser."):
                _, index, moment = name.split(".")
                optimiser["state"].setdefault(int(index), {})[moment] = value
        state.optimiser.load_state_dict(optimiser)
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise BundleError(
            f"The checkpoint '{path}' is damaged or belongs to another network; "
            "delete it to start anew, or choose another folder."
        ) from error
    if record.get("settings") != state.settings.model_dump(mode="json"):
        raise BundleError(
            f"The checkpoint '{path}' was written with other settings; use those or start a new run."
        )
    state.step = int(record["step"])

"""Training loop of the detector: stop, resume, and keep the best weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import rescale
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.device import seed_everything
from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import EpochReport, Event, Step, Warned
from napari_amil.core.base.settings import DetectorTrainingSettings
from napari_amil.core.detection.augment import AnnotatedField, training_crop
from napari_amil.core.detection.classical import annotate, nucleated
from napari_amil.core.detection.detector_state import DetectorState, fingerprint
from napari_amil.core.detection.network import (
    box_and_mask_losses,
    build_detector,
    detection_losses,
    with_white_cells,
)
from napari_amil.core.images.foreground import REFERENCE_DIAMETER_PX, network_scale, typical_diameter

_WARMUP_STEPS = 200
_GRADIENT_NORM = 5.0


def first_annotation(normalised: NDArray[np.float32], *, hide_white: bool = False) -> AnnotatedField | None:
    """Return a normalised field at the network's scale with its first annotation, None without cells.

    Clumps that classical segmentation cannot split with confidence are painted over with background, and
    with ``hide_white`` so are white cells, for a detector that learns these elsewhere.
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
    if hide_white:
        hidden |= nucleated(normalised, diameter) & (annotation.labels == 0)
    pixels = np.where(hidden[..., None], 1.0, normalised)
    return AnnotatedField((pixels * 255).round().astype(np.uint8), annotation.labels, annotation.isolated)


Judge = Callable[[MaskRCNN], dict[str, float]]
"""Measures a network on validation images (`napari_amil.core.detection.validation`)."""


@dataclass(frozen=True)
class Watch:
    """Validation and stop file of a detector training.

    Parameters
    ----------
    judge
        Measures the network before the first step and at every checkpoint; the best weights are kept.
    stop
        File whose appearance ends the training after the step that runs.
    """

    judge: Judge | None = None
    stop: Path | None = None


@dataclass(frozen=True, eq=False)
class TrainedDetector:
    """Result of a detector training.

    Parameters
    ----------
    model
        The network with the weights that are kept.
    steps, best_step
        Steps taken; after which of them these weights were reached. 0 = they are those of the start.
    figures
        Figures of ``judge``, by step; empty without one.
    stopped
        Whether it was asked to end early.
    """

    model: MaskRCNN
    steps: int
    best_step: int
    figures: dict[int, dict[str, float]] = field(default_factory=dict)
    stopped: bool = False


def train_detector(
    fields: Sequence[AnnotatedField],
    settings: DetectorTrainingSettings,
    device: torch.device,
    checkpoint: Path | None = None,
    model: MaskRCNN | None = None,
    watch: Watch | None = None,
) -> Generator[Event, None, TrainedDetector]:
    """Train a Mask R-CNN on annotated fields; yield an `EpochReport` at every checkpoint.

    Step ``i`` draws its crops from a generator seeded with ``(seed, i)``, so a training resumed
    from ``checkpoint`` sees what the uninterrupted one would have seen.

    Parameters
    ----------
    fields
        Annotated fields (`first_annotation`, `napari_amil.core.detection.annotated_field`).
    settings
        Steps, learning rate, augmentation, seed.
    device
        Device of the training.
    checkpoint
        Safetensors file written every ``checkpoint_every`` steps and resumed from if it exists.
    model
        Start from this network instead of a fresh one.
    watch
        Validation and stop file; without validation the last weights are kept.

    Raises
    ------
    CohortError
        If no field has a cell.
    BundleError
        If ``checkpoint`` is damaged or belongs to another network.
    """
    if not sum(int(field.planes.max(initial=0)) for field in fields):
        raise CohortError("No cell was found in the training images; check that they are smears.")
    watch = watch or Watch()
    seed_everything(settings.seed)
    model = model or build_detector(settings.backbone)
    if any(field.white for field in fields):
        model = with_white_cells(model, settings.backbone)
    state = _start(model, settings, device)
    state.data = fingerprint(fields)
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint)
        yield Warned(f"Resumed from '{checkpoint.name}' at step {state.step}.")
    elif watch.judge is not None:
        state.remember(watch.judge(state.model.eval()))
        yield EpochReport(0, settings.steps, math.nan, metrics=state.figures[0])
    stopped = yield from _descend(state, fields, device, checkpoint, watch)
    if state.best:
        state.model.load_state_dict(state.best)
    kept = state.best_step if state.best else state.step
    return TrainedDetector(state.model.eval(), state.step, kept, state.figures, stopped)


def _descend(
    state: DetectorState,
    fields: Sequence[AnnotatedField],
    device: torch.device,
    checkpoint: Path | None,
    watch: Watch,
) -> Generator[Event, None, bool]:
    """Take the steps that are left; return whether they were cut short."""
    settings, stopped = state.settings, False
    losses: list[float] = []
    while state.step < settings.steps and not stopped:
        losses.append(_optimise(state, fields, settings, device))
        state.step += 1
        planned = state.step % settings.checkpoint_every == 0 or state.step == settings.steps
        stopped = watch.stop is not None and watch.stop.exists()
        if not (planned or stopped):
            yield Step("train-detector", state.step, settings.steps, f"loss {losses[-1]:.3f}")
            continue
        if checkpoint is not None and not planned:
            state.save(checkpoint)  # before the judgement, which the uninterrupted training would not make
        if watch.judge is not None:
            state.remember(watch.judge(state.model.eval()))
        if checkpoint is not None and planned:
            state.save(checkpoint)
        figures = state.figures.get(state.step, {})
        yield EpochReport(state.step, settings.steps, float(np.mean(losses)), metrics=figures)
        losses.clear()
    return stopped and state.step < settings.steps


def _start(model: MaskRCNN, settings: DetectorTrainingSettings, device: torch.device) -> DetectorState:
    model = model.to(device=device, memory_format=torch.channels_last)
    if settings.freeze == "backbone":
        for name, parameter in model.backbone.named_parameters():
            parameter.requires_grad_(name.startswith("fpn."))
    learning = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": 1e-2},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return DetectorState(model, torch.optim.AdamW(groups, lr=settings.learning_rate), settings)


def _set_training(model: MaskRCNN) -> None:
    """Let a network learn; batch normalisation keeps its statistics, since those of a few crops are worse."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def learning_rate(step: int, settings: DetectorTrainingSettings) -> float:
    """Return the step size: a linear warm-up, then a half cosine down to a hundredth of the peak."""
    warmup = min(_WARMUP_STEPS, settings.steps // 10 + 1)
    if step < warmup:
        return settings.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(settings.steps - warmup, 1)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


def _optimise(
    state: DetectorState,
    fields: Sequence[AnnotatedField],
    settings: DetectorTrainingSettings,
    device: torch.device,
) -> float:
    """Take one optimiser step and return its loss."""
    _set_training(state.model)
    rng = np.random.default_rng((settings.seed, state.step))
    torch.manual_seed(int(rng.integers(2**31)))  # the network samples anchors and proposals
    crops = [training_crop(fields, settings, rng) for _ in range(settings.batch_size)]
    images = torch.stack([image for image, _ in crops]).to(device, memory_format=torch.channels_last)
    targets: list[dict[str, Tensor]] = [{k: v.to(device) for k, v in target.items()} for _, target in crops]
    all_drawn = all(bool(target["drawn"].all()) for target in targets)
    losses = (detection_losses if all_drawn else box_and_mask_losses)(state.model, images, targets)
    loss = torch.stack(list(losses.values())).sum()
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(state.step, settings)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(state.model.parameters(), _GRADIENT_NORM)
    state.optimiser.step()
    return float(loss.detach())

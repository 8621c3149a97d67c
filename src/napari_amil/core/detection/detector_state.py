"""Training state of the detector, saved without pickle: weights, optimiser, best weights."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.files import regular_file
from napari_amil.core.base.settings import DetectorTrainingSettings
from napari_amil.core.base.tensorfile import write_tensors
from napari_amil.core.detection.augment import AnnotatedField


@dataclass
class DetectorState:
    """The network, its optimiser, and which weights were the best so far.

    Every step draws from a generator seeded with the seed and its own number, so that the step stands
    for all random state.

    Parameters
    ----------
    model, optimiser, settings
        The network, its optimiser and the settings of its training.
    data
        Fingerprint of the annotated fields.
    step, best_step
        Steps taken; after which the best weights were reached.
    figures
        Figures of the judge, by step.
    best
        The best weights; empty where nobody judges.
    """

    model: MaskRCNN
    optimiser: torch.optim.Optimizer
    settings: DetectorTrainingSettings
    data: str = ""
    step: int = 0
    best_step: int = 0
    figures: dict[int, dict[str, float]] = field(default_factory=dict)
    best: dict[str, Tensor] = field(default_factory=dict)

    def remember(self, figures: dict[str, float]) -> None:
        """Note the figures of the present weights, and keep these if they are the best."""
        self.figures[self.step] = figures
        if not self.best or merit(figures) > merit(self.figures[self.best_step]):
            self.best_step = self.step
            self.best = {
                name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()
            }

    def save(self, path: Path) -> None:
        """Write everything into one file, atomically."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": value for name, value in moments.items()}
        record = {name: getattr(self, name) for name in ("data", "step", "best_step", "figures")}
        record["settings"] = self.settings.model_dump(mode="json")
        write_tensors(tensors, {"training": json.dumps(record)}, path)

    def load(self, path: Path) -> None:
        """Go on from a file of `save`.

        Raises
        ------
        BundleError
            If the file is damaged, or was written by another network, with other settings or images.
        """
        try:
            with safe_open(regular_file(path, BundleError), framework="pt") as stored:
                record = json.loads((stored.metadata() or {})["training"])
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            self._take(tensors)
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise BundleError(
                f"The checkpoint '{path}' is damaged or belongs to another network; "
                "delete it to start anew, or choose another folder."
            ) from error
        known = {"settings": self.settings.model_dump(mode="json"), "data": self.data}
        for what, name in (("settings", "settings"), ("data", "images or annotations")):
            if record.get(what, "") != known[what]:
                raise BundleError(
                    f"The checkpoint '{path}' was written with other {name}; use those or start a new run."
                )
        self.step, self.best_step = int(record["step"]), int(record["best_step"])
        self.figures = {int(step): _with_nan(figures) for step, figures in record["figures"].items()}

    def _take(self, tensors: dict[str, Tensor]) -> None:
        """Take weights and moments."""
        self.model.load_state_dict(_under("model.", tensors))
        self.best = _under("best.", tensors)
        stored = self.optimiser.state_dict()
        stored["state"] = {}
        for name, value in _under("optimiser.", tensors).items():
            index, moment = name.split(".")
            stored["state"].setdefault(int(index), {})[moment] = value
        self.optimiser.load_state_dict(stored)


def merit(figures: dict[str, float]) -> float:
    """Return the figure by which the best weights are chosen: average precision, or recall without it."""
    for name in ("ap50_95", "average_recall"):
        if math.isfinite(figures.get(name, math.nan)):
            return figures[name]
    return -math.inf


def fingerprint(fields: Sequence[AnnotatedField]) -> str:
    """Return a short hash of the pixels and cells of annotated fields."""
    digest = hashlib.sha256()
    for annotated in fields:
        digest.update(annotated.pixels.tobytes() + annotated.planes.tobytes())
    return digest.hexdigest()[:16]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _with_nan(figures: dict[str, Any]) -> dict[str, float]:
    return {name: math.nan if value is None else float(value) for name, value in figures.items()}

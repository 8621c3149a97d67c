"""State of the training of a scorer: weights, control Gaussian, random state and best epoch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian, cross_fit
from napari_amil.core.anomaly.patients import parts_of_patients
from napari_amil.core.anomaly.pooled import PooledDistance, Scores
from napari_amil.core.base.checkpoint import (
    flatten_optimiser,
    read_checkpoint,
    restore_optimiser,
    under_prefix,
    with_prefix,
    write_checkpoint,
)
from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.events import ControlDistances, EpochReport
from napari_amil.core.base.settings import ModelSettings, RunSettings, TrainingSettings
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.clinical import ClinicalCodes
from napari_amil.core.mil.instances import Instances, sizes_of
from napari_amil.core.mil.model import AmilModel, EmbeddingMemo, embed_all
from napari_amil.core.training.augment import augment
from napari_amil.core.training.engine import Engine, FabricEngine, Losses, start_fabric
from napari_amil.core.training.units import weighed_controls

_N_BINS = 30
LEARNING_RATE_STEPS = (0.12, 0.24, 0.48, 0.72)
"""Shares of a training at which ``schedule: steps`` divides the step size by ten (Sahasrabudhe et al.)."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedEncoder:
    """Encoder and single-instance classifier as the epochs over single cells left them.

    Parameters
    ----------
    weights
        `ScorerTraining.encoder_weights`.
    memo
        Cache of its embeddings; several trainings may share it.
    """

    weights: Mapping[str, Tensor]
    memo: EmbeddingMemo = dataclasses.field(default_factory=EmbeddingMemo)


def new_model(bags: BagArrays, settings: ModelSettings) -> AmilModel:
    """Return a model with new weights for such bags, whose clinical values give means and spreads."""
    codes = ClinicalCodes.fit(bags.covariates)
    return AmilModel(settings, len(bags.classes), *sizes_of(bags.instances), codes)


class ScorerTraining:
    """Weights, moments, control Gaussian, random state, and the best epoch so far.

    Parameters
    ----------
    bags
        The training part; its instances decide the number of input channels.
    settings
        The whole run; a checkpoint of other settings is refused.
    device
        Device of the network; of several, the one of this process is taken. The Gaussian stays on the
        CPU in float64.
    """

    def __init__(self, bags: BagArrays, settings: RunSettings, device: torch.device) -> None:
        training = settings.training
        torch.manual_seed(training.seed)
        self.settings = settings
        fabric = start_fabric(training, device)
        self.device = device if fabric is None else fabric.device
        self.fingerprint = bags.fingerprint()
        self.model = new_model(bags, settings.model).to(self.device)
        for encoder in self.model.measurement_encoders:
            controls = bags.cells(bags.control_cells(teaching=True)[0]).measurements
            encoder.fit(cast(Tensor, controls).to(self.device))
        self.gaussian = LatentGaussian(self.model.embedding_dim)
        self.pooled = PooledDistance.wanted(settings.model)
        self.control_distances = torch.zeros(0)
        kind = torch.optim.AdamW if training.optimiser == "adamw" else torch.optim.Adam
        self.optimiser = kind(
            self.model.parameters(),
            training.learning_rate,
            weight_decay=training.weight_decay,
            amsgrad=training.amsgrad,
            fused=self.device.type == "cpu",  # there one pass over the weights in place of many
        )
        parts = self.model, self.optimiser, training.max_gradient
        self.engine = Engine(*parts) if fabric is None else FabricEngine(*parts, fabric)
        self.generator = torch.Generator().manual_seed(training.seed)
        self.epoch = 0
        self.stopped = False
        self.history: list[EpochReport] = []
        self.best_epoch = -1
        self.best_loss = math.inf
        self.best_weights: dict[str, Tensor] = {}

    @property
    def n_cell_epochs(self) -> int:
        """Epochs over single cells; none where no loss of single cells is left."""
        encoders = self.model.encoder, self.model.measurement_encoder
        learns = any(p.requires_grad for e in encoders if e is not None for p in e.parameters())
        wanted = self.settings.model.sic or (learns and self.settings.training.hypersphere_weight > 0)
        return self.settings.training.cell_epochs if wanted else 0

    @property
    def n_epochs(self) -> int:
        """Epochs over single cells and over bags."""
        return self.n_cell_epochs + self.settings.training.max_epochs

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done, enough of them had a small loss of bags, or a stop was asked for."""
        losses = [report.metrics["bag_loss"] for report in self.history if "bag_loss" in report.metrics]
        return (
            self.stopped or self.epoch >= self.n_epochs or early_stop_reached(losses, self.settings.training)
        )

    def refit(self, bags: BagArrays) -> str:
        """Fit the control Gaussian to the control cells of ``bags`` and return a note on the fit.

        A pooling that standardises gets mean and deviation of the distances of held-out control
        patients. Fitted on rank 0, broadcast.
        """
        note = self._fit_gaussian(bags) if self.engine.is_first else ""
        self.engine.agree(self.gaussian)
        if self.pooled is not None:
            self.engine.agree(self.pooled)
        self.engine.agree(self.model.heads)
        return note

    def _fit_gaussian(self, bags: BagArrays) -> str:
        model, seed = self.settings.model, self.settings.training.seed
        rows, patients, weights = weighed_controls(bags, alike=model.units_alike)
        latents = embed_all(self.model, bags.cells(rows), self.device)
        note = self.gaussian.fit(latents, model, seed, weights)
        d, own = self.gaussian.distance(latents), slice(None) if weights is None else weights.reference
        self.control_distances = d[own]
        if not self.model.needs_control_distances and self.pooled is None:
            return note
        if len(set(patients)) > 1:
            d = cross_fit(latents, parts_of_patients(patients), model, seed, weights)
        d = d[own]
        if self.pooled is not None:
            scores = bags.scores_at(rows[own])
            self.pooled.fit(d, scores)
            d = self.pooled(d, scores)
        self.model.set_control_distances(float(d.mean()), max(float(d.std(correction=0)), 1e-6))
        return note

    def pooling_distance(self, z: Tensor, scores: Scores) -> Tensor:
        """Return ``d_n (n_cells,)`` of embeddings of cells with such scores, without a gradient."""
        distance = self.gaussian.distance(z)
        return distance if self.pooled is None else self.pooled(distance, scores)

    def control_histogram(self) -> ControlDistances:
        """Return a histogram of the distances of the control cells to the Gaussian that was fitted last."""
        counts, edges = np.histogram(self.control_distances.cpu().double().numpy(), bins=_N_BINS)
        return ControlDistances(self.epoch, edges.round(4).tolist(), counts.tolist())

    def embed(self, instances: Instances) -> Tensor:
        """Return the embeddings ``(n_cells, k)`` from which a step learns."""
        return self.engine.embed(instances)

    def augmented(self, instances: Instances, generator: torch.Generator) -> Instances:
        """Return instances turned, with altered stain, and measured again."""
        encoders = self.model.measurement_encoders
        spread = encoders[0].spread.to(instances.pixels.device) if encoders else None
        return augment(instances, self.settings.model.instance, generator, spread)

    def descend(self, losses: Losses) -> tuple[float, ...]:
        """Take one optimiser step down the gradient of the first of ``losses`` and return all of them."""
        return self.engine.descend(losses)

    def shared_generator(self) -> torch.Generator:
        """Return the generator, in the same state in every process, to draw what all of them do."""
        self.generator.set_state(self.engine.first(self.generator.get_state()))
        return self.generator

    def set_learning_rate(self, peak: float, done: float) -> None:
        """Set the step size when ``done`` (0 to 1) of a phase is over: a short rise, then half a cosine."""
        factor = 1.0
        if self.settings.training.schedule == "steps":
            factor = 0.1 ** sum(done >= step for step in LEARNING_RATE_STEPS)
        if self.settings.training.schedule == "cosine":
            rise = min(1.0, 0.05 + done / 0.1)
            factor = rise * max(0.02, 0.5 * (1 + math.cos(math.pi * done)))
        for group in self.optimiser.param_groups:
            group["lr"] = peak * factor

    def encoder_weights(self) -> dict[str, Tensor]:
        """Return the weights that the epochs over single cells train."""
        trained = ("encoder.", "measurement_encoder.", "sic_head.")
        return {name: v.cpu() for name, v in self.model.state_dict().items() if name.startswith(trained)}

    def take_encoder(self, encoder: TrainedEncoder) -> None:
        """Take the encoder of a training before, and leave its epochs over single cells out."""
        self.model.load_state_dict(self.model.state_dict() | dict(encoder.weights))
        self.model.memo = encoder.memo
        self.epoch = self.n_cell_epochs

    def keep_if_best(self, loss: float) -> None:
        """Remember the weights if no epoch before had a lower validation loss."""
        if loss < self.best_loss or math.isnan(loss):
            self.best_loss, self.best_epoch = loss, self.epoch
            self.best_weights = {name: value.cpu().clone() for name, value in self.model.state_dict().items()}

    def end_epoch(self, checkpoint: Path | None, stop: Path | None) -> None:
        """Write the checkpoint, and go no further if the file ``stop`` exists."""
        if checkpoint is not None and self.engine.is_first:
            self.write(checkpoint)
        self.stopped = self.engine.first(stop is not None and stop.exists())

    def write(self, path: Path) -> None:
        """Write everything to ``path`` in one step."""
        tensors = with_prefix("model", self.model.state_dict()) | with_prefix("best", self.best_weights)
        tensors |= with_prefix("gaussian", self.gaussian.state_dict())
        tensors |= {} if self.pooled is None else with_prefix("pooled", self.pooled.state_dict())
        tensors |= with_prefix("optimiser", flatten_optimiser(self.optimiser))
        tensors["random/generator"] = self.generator.get_state()
        tensors["random/torch"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random/cuda"] = torch.cuda.get_rng_state(self.device)
        record = {
            "settings": self.settings.model_dump(mode="json"),
            "bags": self.fingerprint,
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "history": [dataclasses.asdict(report) for report in self.history],
            "engine": self.engine.state(),
        }
        write_checkpoint(path, tensors, record)

    def read(self, path: Path) -> None:
        """Restore the state that `write` stored.

        Raises
        ------
        BundleError
            If the file is unusable or was written with other settings or bags.
        """
        tensors, record = read_checkpoint(path)
        written = {"settings": RunSettings.parse(record["settings"]), "bags": record["bags"]}
        same = {"settings": self.settings, "bags": self.fingerprint}
        for what, value in same.items():
            if written[what] != value:
                raise BundleError(
                    f"The checkpoint '{path}' was written with other {what}; use those or start a new run."
                )
        self.model.load_state_dict(self.model.state_dict() | under_prefix("model", tensors))
        self.gaussian.load_state_dict(under_prefix("gaussian", tensors))
        if self.pooled is not None:
            self.pooled.load_state_dict(under_prefix("pooled", tensors))
        restore_optimiser(self.optimiser, under_prefix("optimiser", tensors))
        self.generator.set_state(tensors["random/generator"])
        torch.set_rng_state(tensors["random/torch"])
        if self.device.type == "cuda" and "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"], self.device)
        self.epoch, self.best_epoch = record["epoch"], record["best_epoch"]
        self.best_loss, self.best_weights = record["best_loss"], under_prefix("best", tensors)
        self.history = [EpochReport(**report) for report in record["history"]]
        self.engine.restore(record["engine"])


def early_stop_reached(bag_losses: Sequence[float], settings: TrainingSettings) -> bool:
    """Return whether enough epochs had a mean training loss of bags below ``stop_loss``.

    ``cumulative`` counts all such epochs and never starts again (the code of Kazeminia et al. 2022);
    ``consecutive`` counts only the last ones in a row.

    Parameters
    ----------
    bag_losses
        Mean loss of bags of every epoch so far.
    """
    small = [loss < settings.stop_loss for loss in bag_losses]
    if settings.early_stop == "cumulative":
        return sum(small) >= settings.stop_count
    return settings.early_stop == "consecutive" and sum(small[-settings.stop_count :]) == settings.stop_count

"""The multiple-instance model: cells to embeddings, embeddings to the class of the bag."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.encoders.base import Encoder
from napari_amil.core.encoders.measurements import MeasurementEncoder
from napari_amil.core.encoders.registry import build_encoder
from napari_amil.core.mil.batch import RaggedBatch, check_lengths
from napari_amil.core.mil.clinical import ClinicalCodes
from napari_amil.core.mil.covariates import Covariates
from napari_amil.core.mil.fusion import ClinicalFusion, FusionOutput
from napari_amil.core.mil.heads import BagHead, HeadOutput, SicHead
from napari_amil.core.mil.instances import Instances
from napari_amil.core.mil.profile import BagProfile


class EmbeddingMemo:
    """Remembers embeddings by the weights of the encoder, the number of views and the instances.

    For models that share an encoder which rests: equal cells are embedded once.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Tensor] = {}

    def recall(self, made_from: Sequence[Tensor], n_views: int, make: Callable[[], Tensor]) -> Tensor:
        """Return the cached result of ``make`` for equal weights, instances and views, or its result now."""
        digest = hashlib.sha256(f"{n_views}".encode())
        for tensor in made_from:
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        key = digest.digest()
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]


_IN_CACHE, _ON_DEVICE = 32, 256  # cells embedded at once; on a processor their feature maps fit its cache


@dataclass(frozen=True, eq=False)
class AmilOutput:
    """Output of the model for a batch; cells are in the row order of the batch.

    ``image_logits[b] = bias + sum of contribution[n] over the cells n of bag b``, exactly.
    """

    latent: Tensor
    """``z_n (n_cells, k)``"""
    logits: Tensor
    """``(n_bags, n_classes)``"""
    head_logits: Tensor
    """``(n_heads, n_bags, n_classes)``, of which ``logits`` is the mean."""
    sic_logits: Tensor | None
    """``(n_cells, n_columns, n_classes)`` of the single-instance classifier of each part of ``z_n``."""
    attention: Tensor
    """``a_n (n_cells,)``, sums to 1 in every bag; the mean over the heads, like all that follows."""
    pool_weight: Tensor
    """``p_n (n_cells,)``"""
    contribution: Tensor
    """``p_n W z_n (n_cells, n_classes)``"""
    bias: Tensor
    """``(n_classes,)``"""
    image_logits: Tensor
    """``(n_bags, n_classes)`` of the images alone; ``logits`` where no clinical values join them."""
    fusion: FusionOutput | None = None
    """Fusion with the clinical values; None without them."""


class AmilModel(nn.Module):
    """Anomaly-aware multiple-instance learning (Kazeminia et al. 2022).

    ``z_B = sum_n p_n z_n`` with ``p_n`` from attention and distance to the control Gaussian, and
    ``logits = W z_B + b``. The distances come in as a tensor: who computes them is not known here.

    Several heads give the mean of what each gives, contributions included, so these still add up.

    Parameters
    ----------
    settings
        Encoder, attention and pooling.
    n_classes
        Number of classes.
    in_channels
        Channels of an instance: 3 for crops, those of the detector for feature maps.
    n_measurements
        Measurements of a cell; not needed where the settings use none.
    clinical
        Columns of the clinical values; not needed where the settings use none.
    """

    reference_factor: Tensor
    reference_shift: Tensor

    def __init__(
        self,
        settings: ModelSettings,
        n_classes: int,
        in_channels: int = 3,
        n_measurements: int = 0,
        clinical: ClinicalCodes | None = None,
    ) -> None:
        super().__init__()
        self.memo: EmbeddingMemo | None = None
        self.orientations = settings.orientations
        self.columns = settings.columns
        named = settings.measurements_in_gaussian
        if settings.measured and not n_measurements:
            raise AmilError("The model embeds measurements, but none were given; measure the cells first.")
        self.encoder = build_encoder(settings, in_channels, n_measurements)
        self.measurement_encoder = (
            MeasurementEncoder(n_measurements, self.columns[1:], named=named)
            if named or settings.measurement_columns
            else None
        )
        self.embedding_dim = settings.embedding_dim + named * n_measurements
        self.register_buffer("reference_factor", torch.ones(sum(self.columns)))
        self.register_buffer("reference_shift", torch.zeros(sum(self.columns)))
        self.heads = nn.ModuleList(BagHead(settings, n_classes) for _ in range(settings.bag_heads))
        self.sic_head = SicHead(self.columns, settings.sic_head, n_classes) if settings.sic else None
        has_profile = settings.bag_profile and settings.measured
        self.profile = BagProfile(n_classes, n_measurements) if has_profile else None
        self.fusion = _fusion(settings, clinical, n_classes)

    def learned(self, z: Tensor) -> Tensor:
        """Return the part of embeddings ``(n, k)`` that is learned: all but the measurements themselves.

        Attention, classifiers and losses see it, on the scale of the control cells of the training
        (`refer_to`); the control Gaussian sees the whole, as it is.
        """
        part = z[:, : sum(self.columns)]
        return part * self.reference_factor.to(z.device) + self.reference_shift.to(z.device)

    def refer_to(self, here: Tensor, known: Tensor) -> None:
        """Fit a shift and scale of the classifiers' input that gives cells ``here`` the moments of ``known``.

        Each dimension is shifted and scaled: ``z' = m_known + (z - m_here) s_known / s_here``.

        Parameters
        ----------
        here
            ``(n, k)`` embeddings of control cells of another microscope.
        known
            ``(m, n_columns)`` `learned` part of the control cells that the classifiers know.
        """
        part = here[:, : known.shape[1]]
        factor = known.std(dim=0, correction=0) / part.std(dim=0, correction=0).clamp_min(1e-6)
        self.reference_factor.copy_(factor)
        self.reference_shift.copy_(known.mean(dim=0) - part.mean(dim=0) * factor)

    @property
    def needs_control_distances(self) -> bool:
        """Whether a head wants `set_control_distances`."""
        return any(cast(BagHead, head).pooling.needs_control_distances for head in self.heads)

    def set_control_distances(self, center: float, scale: float) -> None:
        """Store mean and standard deviation of the distances of held-out control cells."""
        for head in self.heads:
            cast(BagHead, head).pooling.set_control_distances(center, scale)

    @torch.no_grad()
    def scale_logits(self, factor: float) -> None:
        """Multiply the logits of the images, and with them all contributions, by a factor."""
        for head in self.heads:
            last = cast(nn.Linear, cast(BagHead, head).classifier.layers[-1])
            last.weight.mul_(factor)
            last.bias.mul_(factor)
        if self.profile is not None:
            self.profile.scale(factor)

    def forward(self, batch: RaggedBatch, distances: Tensor | None = None) -> AmilOutput:
        """Return the output for a batch of instances; ``distances (n_cells,)`` enter the pooling."""
        return self.aggregate(self.embed(batch.instances), batch.lengths, distances, batch.covariates)

    @property
    def measurement_encoders(self) -> list[MeasurementEncoder]:
        """Encoders whose scale of measurements comes from control cells."""
        encoders = self.encoder, self.measurement_encoder
        return [encoder for encoder in encoders if isinstance(encoder, MeasurementEncoder)]

    def embed(self, instances: Instances | Tensor) -> Tensor:
        """Return the embeddings ``z (n_cells, k)``; of each cell alone in evaluation."""
        cells = Instances.from_values(instances)
        parts = [_embedded(encoder, cells) for encoder in self._encoders()]
        return torch.cat([part.to(parts[0]) for part in parts], dim=1)

    def embed_views(self, parts: Iterable[Instances]) -> Iterator[Tensor]:
        """Yield the embeddings ``(n_cells, n_views, k)`` of turned cells; measurements know no up."""
        n_views, encoders = self.orientations, [encoder.folded() for encoder in self._encoders()]
        for cells in parts:
            seen = []
            for encoder in encoders:
                if encoder.spec.input == "measurements":
                    seen.append(_embedded(encoder, cells)[:, None].expand(-1, n_views, -1))
                else:
                    pixels = encoder.pixelwise(cells.pixels)
                    views = _turned(pixels) if n_views > 1 else [pixels]
                    seen.append(torch.stack([encoder.embed(view) for view in views], dim=1))
            yield torch.cat([part.to(seen[0]) for part in seen], dim=2)

    def _encoders(self) -> list[Encoder]:
        """Return the encoders whose embeddings together are ``z_n``, in that order."""
        return [self.encoder, *([] if self.measurement_encoder is None else [self.measurement_encoder])]

    def aggregate(
        self,
        z: Tensor,
        lengths: Tensor,
        distances: Tensor | None = None,
        covariates: Covariates | None = None,
        measurements: Tensor | None = None,
    ) -> AmilOutput:
        """Return the output for embeddings ``z (n_cells, k)`` of bags of ``lengths (n_bags,)`` cells.

        Without ``covariates`` every clinical value counts as unknown; without the ``measurements``
        ``(n_cells, m)`` the network speaks alone, as it does while it learns.

        Raises
        ------
        AmilError
            If a bag is empty, or distances are needed and missing.
        """
        check_lengths(lengths, len(z))
        learned = self.learned(z)
        heads: list[HeadOutput] = [head(learned, lengths, distances) for head in self.heads]

        def mean(name: str) -> Tensor:
            return torch.stack([getattr(head, name) for head in heads]).mean(dim=0)

        image_logits, head_logits = mean("logits"), torch.stack([head.logits for head in heads])
        contribution, bias = mean("contribution"), mean("bias")
        if self.profile is not None and measurements is not None:
            added, profile_logits = self.profile(measurements.to(z.device), lengths)
            w = self.profile.share
            image_logits = image_logits.lerp(profile_logits, w)
            head_logits = head_logits.lerp(profile_logits, w)
            contribution, bias = contribution.lerp(added, w), bias.lerp(self.profile.bias, w)
        fused: FusionOutput | None = None
        if self.fusion is not None:
            values = self.fusion.codes.encode(covariates, len(lengths)).to(z)
            fused = self.fusion(image_logits, head_logits, values)
        return AmilOutput(
            z,
            image_logits if fused is None else fused.logits,
            head_logits if fused is None else fused.head_logits,
            None if self.sic_head is None else self.sic_head(learned),
            mean("attention"),
            mean("pool_weight"),
            contribution,
            bias,
            image_logits,
            fused,
        )


def _fusion(settings: ModelSettings, codes: ClinicalCodes | None, n_classes: int) -> ClinicalFusion | None:
    """Return the fusion with clinical values that the settings want, None where they want none.

    Raises
    ------
    AmilError
        If the settings want clinical values and there are none.
    """
    if settings.clinical == "none":
        return None
    if codes is None or not codes.width:
        raise AmilError(
            f"The setting model.clinical is '{settings.clinical}', but the bags have no clinical values that "
            "differ; add a table with them, or choose 'none'."
        )
    return ClinicalFusion(settings, codes, n_classes)


@torch.no_grad()
def embed_all(
    model: AmilModel,
    instances: Instances | Tensor | NDArray[Any],
    device: torch.device,
    batch_size: int | None = None,
) -> Tensor:
    """Return the embeddings ``(n_cells, n_views, k)`` on the CPU of any number of instances, in evaluation.

    The views are the orientations of the model: the cell as it is, or turned by quarters and mirrored
    as well. Their mean is ``z_n``; the mean of their distances is ``d_n``. The model is left in the
    mode in which it was found. A model with a memo embeds equal instances once.
    """
    cells = Instances.from_values(instances)
    if model.memo is None:
        return _embed_batches(model, cells, device, batch_size)
    weights = [*model.encoder.state_dict().values()]
    if model.measurement_encoder is not None:
        weights += model.measurement_encoder.state_dict().values()
    return model.memo.recall(
        (*weights, *cells.tensors()),
        model.orientations,
        lambda: _embed_batches(model, cells, device, batch_size),
    )


def _embed_batches(
    model: AmilModel, cells: Instances, device: torch.device, batch_size: int | None
) -> Tensor:
    """Return the embeddings ``(n_cells, n_views, k)``, some instances after the other."""
    batch_size = batch_size or (_IN_CACHE if device.type == "cpu" else _ON_DEVICE)
    training = model.training
    model.eval()
    given = (part.to(device) for part in cells.split(batch_size))
    parts = [part.cpu() for part in model.embed_views(given)]
    model.train(training)
    return torch.cat(parts) if parts else torch.empty(0, model.orientations, model.embedding_dim)


def _turned(pixels: Tensor) -> list[Tensor]:
    """Return the 8 orientations of pixels ``(n, c, h, w)``: quarter turns, and these mirrored."""
    turned = [torch.rot90(pixels, quarter, (2, 3)) for quarter in range(4)]
    return turned + [view.flip(3) for view in turned]


def _embedded(encoder: Encoder, cells: Instances) -> Tensor:
    """Return the embeddings ``(n, k)`` of the inputs of the encoder.

    Raises
    ------
    AmilError
        If the encoder needs measurements and the cells have none.
    """
    if encoder.spec.input != "measurements":
        z: Tensor = encoder(cells.pixels)
        return z
    if cells.measurements is None:
        raise AmilError("This model needs the measurements of every cell, but none were given.")
    part: Tensor = encoder(cells.measurements)
    return part

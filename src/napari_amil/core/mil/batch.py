"""Ragged batches: the instances of several bags end to end, and the number of each bag."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Floats
from napari_amil.core.mil.covariates import Covariates
from napari_amil.core.mil.instances import Instances


@dataclass(frozen=True, eq=False)
class RaggedBatch:
    """The instances of several bags, one bag after the other.

    Parameters
    ----------
    instances
        ``n_cells`` crops or feature maps, and their measurements.
    lengths
        ``(n_bags,)`` int64 number of cells of each bag; they add up to ``n_cells``.
    labels
        ``(n_bags,)`` int64 class of each bag, or None.
    covariates
        Clinical values and acquisition columns of each bag, raw.

    Raises
    ------
    AmilError
        If a bag is empty or the lengths do not add up.
    """

    instances: Instances
    lengths: Tensor
    labels: Tensor | None = None
    covariates: Covariates = field(default_factory=Covariates)

    def __post_init__(self) -> None:
        check_lengths(self.lengths, len(self.instances))

    @property
    def n_bags(self) -> int:
        """Number of bags."""
        return len(self.lengths)

    @cached_property
    def segment(self) -> Tensor:
        """Bag of each cell, ``(n_cells,)`` int64."""
        return segment_of(self.lengths)


def check_lengths(lengths: Tensor, n_cells: int) -> None:
    """Refuse empty bags and lengths that do not add up to ``n_cells``."""
    if not len(lengths) or int(lengths.min()) < 1:
        empty = (lengths < 1).nonzero().flatten().tolist()
        raise AmilError(f"A bag without cells cannot be scored (bags number {empty}); leave it out.")
    if int(lengths.sum()) != n_cells:
        raise AmilError(f"The bags hold {int(lengths.sum())} cells, but {n_cells} instances were given.")


def segment_of(lengths: Tensor) -> Tensor:
    """Return the bag of each cell, ``(n_cells,)``, from the sizes of the bags ``(n_bags,)``."""
    return torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)


def segment_sum(values: Tensor, segment: Tensor, n_bags: int) -> Tensor:
    """Return the sum over each bag, ``(n_bags, ...)``, of ``values (n_cells, ...)``."""
    return values.new_zeros((n_bags, *values.shape[1:])).index_add(0, segment, values)


def segment_extreme(values: Tensor, segment: Tensor, n_bags: int, which: str) -> Tensor:
    """Return the largest (``amax``) or smallest (``amin``) value ``(n_bags,)`` of each bag."""
    return values.new_zeros(n_bags).scatter_reduce(0, segment, values, which, include_self=False)


def segment_softmax(logits: Tensor, segment: Tensor, n_bags: int) -> Tensor:
    """Return the softmax within each bag of ``logits (n_cells,)``; it sums to 1 in every bag."""
    peak = segment_extreme(logits.detach(), segment, n_bags, "amax")
    exponential = (logits - peak[segment]).exp()  # (n_cells,)
    return exponential / segment_sum(exponential, segment, n_bags)[segment]


@dataclass(frozen=True, eq=False)
class BagArrays:
    """A cohort in memory: every cell stored once, and the rows of each bag.

    Parameters
    ----------
    instances
        ``(n_cells, 3, size, size)`` uint8 crops, or ``(n_cells, channels, h, w)`` float16 feature maps;
        with measurements what `napari_amil.core.mil.instances.with_measurements` returns.
    rows
        For each bag the rows of ``instances`` that it holds; a cell may be in several bags.
    labels
        ``(n_bags,)`` int64 class of each bag; -1 where it is unknown.
    patients
        Patient of each bag.
    classes
        Names of the classes, in the order of the labels.
    control
        Name of the control class.
    covariates
        Clinical values and acquisition columns of each bag, raw.
    reference
        ``(n_bags,)`` False for a control bag that is no reference of the anomaly but teaches the classes, and
        how unusual cells of other slides are; None if there is none such.
    scores
        ``name -> (n_instances,)`` anomaly scores of the stored cells that the pooling reads, of a control
        cell by what was fitted without its patient; NaN is unknown.
    units
        ``(n_instances,)`` independent unit of each stored cell: its patient, slide or image; None where
        patients are.
    """

    instances: NDArray[Any]
    rows: tuple[NDArray[np.int64], ...]
    labels: NDArray[np.int64]
    patients: tuple[str, ...]
    classes: tuple[str, ...]
    control: str
    covariates: Covariates = field(default_factory=Covariates)
    reference: NDArray[np.bool_] | None = None
    scores: Mapping[str, Floats] = field(default_factory=dict)
    units: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        if not len(self.rows) == len(self.labels) == len(self.patients):
            raise ValueError(
                f"There are {len(self.rows)} bags, {len(self.labels)} labels, {len(self.patients)} patients."
            )
        if self.covariates.lengths() - {len(self.rows)}:
            raise ValueError(f"There are {len(self.rows)} bags, but the covariates describe another number.")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def control_label(self) -> int:
        """Number of the control class."""
        return self.classes.index(self.control)

    @property
    def roles(self) -> NDArray[np.int64]:
        """``(n_bags,)`` label of each bag, but ``len(classes)`` for a control bag that is no reference."""
        if self.reference is None:
            return self.labels
        is_teaching = (self.labels == self.control_label) & ~self.reference
        return np.where(is_teaching, len(self.classes), self.labels)

    @property
    def lengths(self) -> Tensor:
        """``(n_bags,)`` int64 number of cells of each bag."""
        return torch.tensor([len(rows) for rows in self.rows], dtype=torch.int64)

    def fingerprint(self) -> str:
        """Return a short hash of which cells make up which bags of which patients."""
        digest = hashlib.sha256("\0".join((*self.patients, *self.classes, self.control)).encode())
        digest.update(np.asarray(self.roles).tobytes())
        for rows in self.rows:
            digest.update(np.asarray(rows, dtype=np.int64).tobytes() + b"|")
        return digest.hexdigest()[:16]

    def take(self, bags: Sequence[int] | NDArray[np.int64]) -> BagArrays:
        """Return these bags; the instances are shared, not copied."""
        chosen = np.asarray(bags, dtype=np.int64)
        return BagArrays(
            self.instances,
            tuple(self.rows[bag] for bag in bags),
            np.asarray(self.labels)[chosen],
            tuple(self.patients[bag] for bag in bags),
            self.classes,
            self.control,
            self.covariates.take(bags),
            None if self.reference is None else self.reference[chosen],
            self.scores,
            self.units,
        )

    def used(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows of the instances that some bag holds, and where each instance is in them, or -1."""
        used = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *self.rows]))
        position = np.full(len(self.instances), -1)
        position[used] = np.arange(len(used))
        return used, position

    def batch(self, bags: Sequence[int] | NDArray[np.int64]) -> RaggedBatch:
        """Return these bags as one ragged batch on the CPU, instances as they are stored."""
        part = self.take(bags)
        instances = self.cells(np.concatenate(part.rows))
        return RaggedBatch(instances, part.lengths, torch.from_numpy(part.labels), part.covariates)

    def cells(self, rows: NDArray[np.int64]) -> Instances:
        """Return the cells at ``rows`` of the instances."""
        return Instances.from_values(self.instances[rows])

    def scores_at(self, rows: NDArray[np.int64]) -> dict[str, Floats]:
        """Return ``name -> (n_cells,)`` anomaly scores of the cells at ``rows`` of the instances."""
        return {name: values[rows] for name, values in self.scores.items()}

    def control_cells(self, *, teaching: bool = False) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Return the rows of the cells of control bags, each once, and the patient of each.

        Parameters
        ----------
        teaching
            Count also the bags that are no reference of the anomaly.
        """
        patient_of = {
            int(row): patient
            for rows, label, patient in zip(
                self.rows, self.labels if teaching else self.roles, self.patients, strict=True
            )
            if label == self.control_label
            for row in rows
        }
        return np.array(sorted(patient_of), dtype=np.int64), tuple(
            patient_of[row] for row in sorted(patient_of)
        )

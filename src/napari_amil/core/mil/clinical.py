"""Clinical values as numbers that a model reads: z-scores, one-hot codes and indicators of unknown values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.mil.covariates import Covariates

MOST_LEVELS = 10
"""A column of more different words is no category but a name, and is left out."""


@dataclass(frozen=True)
class NumberCode:
    """A number as its z-score; an unknown one is the mean of the training, with an indicator.

    Parameters
    ----------
    name
        Name of the value.
    mean, deviation
        Of the known values of the training.
    may_lack
        Whether it was unknown for a bag of the training, so that an indicator was learned.
    """

    name: str
    mean: float
    deviation: float
    may_lack: bool

    @property
    def width(self) -> int:
        """Number of columns."""
        return 1 + self.may_lack

    def encoded(self, values: NDArray[Any] | None, n_bags: int) -> NDArray[np.float64]:
        """Return the columns ``(n_bags, width)``."""
        raw = np.full(n_bags, np.nan) if values is None else np.asarray(values, dtype=np.float64)
        z = np.nan_to_num((raw - self.mean) / self.deviation, nan=0.0, posinf=0.0, neginf=0.0)
        columns = [z, ~np.isfinite(raw)] if self.may_lack else [z]
        return np.stack(columns, axis=1).astype(np.float64)


@dataclass(frozen=True)
class CategoryCode:
    """A word as one column per level of the training; an unknown or new one has an indicator, or nothing.

    Parameters
    ----------
    name
        Name of the value.
    levels
        Words of the training, in the order of the alphabet.
    may_lack
        Whether it was unknown for a bag of the training.
    """

    name: str
    levels: tuple[str, ...]
    may_lack: bool

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.levels) + self.may_lack

    def encoded(self, values: NDArray[Any] | None, n_bags: int) -> NDArray[np.float64]:
        """Return the columns ``(n_bags, width)``."""
        words = [None] * n_bags if values is None else [None if v is None else str(v) for v in values]
        columns = [[word == level for word in words] for level in self.levels]
        if self.may_lack:
            columns.append([word not in self.levels for word in words])
        return np.array(columns, dtype=np.float64).T.reshape(n_bags, self.width)


@dataclass(frozen=True)
class ClinicalCodes:
    """Codes that turn the clinical values of a training into columns; other values are not read.

    Parameters
    ----------
    numbers, categories
        In the order of their columns, numbers first.
    """

    numbers: tuple[NumberCode, ...] = ()
    categories: tuple[CategoryCode, ...] = ()

    @classmethod
    def fit(cls, covariates: Covariates) -> ClinicalCodes:
        """Return the codes of the bags of a training; a value that is the same for all is left out."""
        numbers = []
        for name, values in covariates.numbers.items():
            known = values[np.isfinite(values)]
            if len(known) and float(known.std()) > 0:
                moments = float(known.mean()), float(known.std())
                numbers.append(NumberCode(name, *moments, len(known) < len(values)))
        categories = []
        for name, words in covariates.categories.items():
            levels = tuple(sorted({str(word) for word in words if word is not None}))
            if 1 < len(levels) <= MOST_LEVELS:
                categories.append(CategoryCode(name, levels, any(word is None for word in words)))
        return cls(tuple(numbers), tuple(categories))

    @property
    def parts(self) -> tuple[NumberCode | CategoryCode, ...]:
        """The codes in the order of their columns."""
        return (*self.numbers, *self.categories)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the values in the order of their columns."""
        return tuple(part.name for part in self.parts)

    @property
    def width(self) -> int:
        """Number of columns."""
        return sum(part.width for part in self.parts)

    def encode(self, covariates: Covariates | None, n_bags: int) -> Tensor:
        """Return the columns ``(n_bags, width)`` float32; without covariates every value is unknown."""
        known: dict[str, NDArray[Any]] = {}
        if covariates is not None:
            known = {**covariates.numbers, **covariates.categories}
        found = []
        for part in self.parts:
            values = known.get(part.name)
            if isinstance(part, NumberCode) and values is not None and values.dtype == object:
                values = None  # words where the training had numbers
            found.append(part.encoded(values, n_bags))
        columns = np.concatenate(found, axis=1) if found else np.empty((n_bags, 0))
        return torch.from_numpy(columns.astype(np.float32))

    def by_value(self, terms: Tensor) -> Tensor:
        """Return the sums ``(n_bags, n_values, ...)`` over the columns of each value of ``terms``."""
        parts = terms.split([part.width for part in self.parts], dim=1)
        return torch.stack([part.sum(dim=1) for part in parts], dim=1)

    def record(self) -> dict[str, Any]:
        """Return plain values for the header of a bundle; `from_record` is the way back."""
        return {
            "numbers": [asdict(code) for code in self.numbers],
            "categories": [asdict(code) for code in self.categories],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ClinicalCodes:
        """Return the codes from the result of `record`."""
        categories = (code | {"levels": tuple(code["levels"])} for code in record["categories"])
        return cls(
            tuple(NumberCode(**code) for code in record["numbers"]),
            tuple(CategoryCode(**code) for code in categories),
        )

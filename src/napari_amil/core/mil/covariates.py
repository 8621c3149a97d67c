"""Clinical values and acquisition columns of bags, as columns beside their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_amil.core.base.types import Bag


@dataclass(frozen=True, eq=False)
class Covariates:
    """Clinical values and acquisition of each bag; raw values, in the row order of the bags.

    Parameters
    ----------
    numbers
        ``name -> (n_bags,)`` float64 clinical values; NaN where one is unknown.
    categories
        ``name -> (n_bags,)`` clinical values that are words; None where one is unknown.
    acquisition
        ``name -> (n_bags,)`` how the sample was taken (site, stain, scanner ...), None where it is unknown.
        A model must not learn from these: they are known to confound.
    """

    numbers: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    categories: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)
    acquisition: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)

    @classmethod
    def from_bags(cls, bags: Sequence[Bag]) -> Covariates:
        """Return the values that the bags of a cohort carry."""
        return cls.from_records([bag.clinical for bag in bags], [bag.acquisition for bag in bags])

    @classmethod
    def from_records(
        cls, clinical: Sequence[Mapping[str, float | str]], acquisition: Sequence[Mapping[str, str]]
    ) -> Covariates:
        """Return the values of one record per bag; a name that is absent from a record is unknown there."""
        columns = _columns(clinical)
        words = {name for name, values in columns.items() if any(isinstance(v, str) for v in values)}
        numbers = {n: np.array(v, dtype=np.float64) for n, v in columns.items() if n not in words}
        return cls(numbers, {name: columns[name] for name in columns if name in words}, _columns(acquisition))

    def take(self, bags: Sequence[int] | NDArray[np.int64]) -> Covariates:
        """Return the values of these bags."""
        rows = np.asarray(bags, dtype=np.int64)
        return Covariates(
            {name: values[rows] for name, values in self.numbers.items()},
            {name: values[rows] for name, values in self.categories.items()},
            {name: values[rows] for name, values in self.acquisition.items()},
        )

    def lengths(self) -> set[int]:
        """Return the number of bags in the columns: one number, or none without columns."""
        return {len(v) for part in (self.numbers, self.categories, self.acquisition) for v in part.values()}


def _columns(records: Sequence[Mapping[str, float | str]]) -> dict[str, NDArray[np.object_]]:
    """Return ``name -> (n_bags,)`` values of all names in alphabetical order, None where one is absent."""
    names = sorted({name for record in records for name in record})
    return {name: np.array([record.get(name) for record in records], dtype=object) for name in names}

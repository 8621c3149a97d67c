"""Classifier of cell types: fit, predict, abstain, save, load."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.covariance import ledoit_wolf

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import decoding, replacing
from napari_amil.core.base.types import Floats

FORMAT, FORMAT_VERSION = "napari-amil cell types", "1"
FEWEST = 3
"""Named cells that a type needs."""
UNLIKE = 0.99
"""Share of the named cells that lie within the limit beyond which a cell is like no named type."""
MIN_PROBABILITY = 0.5
"""A cell whose most probable type is less probable than this gets no type."""
_ARRAYS = ("center", "scale", "weights", "bias", "means", "precision", "limit")
_EXAMPLES = "examples"


@dataclass(frozen=True, eq=False)
class Examples:
    """Named cells as the classifier sees them, so that more can be added later, of other images.

    Parameters
    ----------
    values
        ``(n_cells, n_features)``, NaN where unknown.
    names, slides
        ``(n_cells,)`` type and slide of each.
    """

    values: Floats
    names: NDArray[np.str_]
    slides: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.names)

    def with_more(self, more: Examples) -> Examples:
        """Return these and more; a cell that is among both has its later name."""
        known = {row.tobytes() for row in more.values.astype(np.float32)}
        kept = np.array([row.tobytes() not in known for row in self.values.astype(np.float32)], dtype=bool)
        return Examples(
            np.concatenate([self.values[kept], more.values]),
            np.concatenate([self.names[kept], more.names]),
            np.concatenate([self.slides[kept], more.slides]),
        )


@dataclass(frozen=True, eq=False)
class TypeClassifier:
    """Linear discriminant analysis of standardised features, with a limit of likeness.

    ``p(type | x) = softmax(W u + b)`` with ``u = (x - center) / scale``, ``W = M S^-1`` and
    ``b = -1/2 diag(M S^-1 M^T)``: ``M`` holds the means of the types, ``S`` the pooled covariance within
    types, shrunk (Ledoit and Wolf 2004); every type is as probable beforehand, however many cells were named.
    A cell whose squared Mahalanobis distance to the nearest mean exceeds ``limit`` is like no named type.

    Parameters
    ----------
    types
        Names of the types in the order of the rows of ``weights``.
    features
        Names of the features.
    center, scale
        ``(n_features,)``; an unknown feature counts as ``center``.
    weights, bias
        ``(n_types, n_features)`` and ``(n_types,)``.
    means, precision
        ``(n_types, n_features)`` and ``(n_features, n_features)`` of standardised features.
    limit
        ``(1,)`` squared distance.
    card
        Model, cells and validation; plain JSON values.
    examples
        The named cells that it was fitted to; None in files of older versions.
    """

    types: tuple[str, ...]
    features: tuple[str, ...]
    center: Floats
    scale: Floats
    weights: Floats
    bias: Floats
    means: Floats
    precision: Floats
    limit: Floats
    card: dict[str, Any] = field(default_factory=dict)
    examples: Examples | None = None

    @classmethod
    def fit(cls, values: Floats, names: NDArray[np.str_], features: tuple[str, ...]) -> TypeClassifier:
        """Fit to named cells.

        Parameters
        ----------
        values
            ``(n_cells, n_features)``, NaN where unknown.
        names
            ``(n_cells,)`` type of each cell.
        features
            Names of the features.

        Raises
        ------
        AmilError
            If there are fewer than two types, or a type has fewer than three cells.
        """
        types, counts = np.unique(names, return_counts=True)
        if len(types) < 2:
            raise AmilError(f"There are cells of {len(types)} type; name cells of two types or more.")
        if counts.min() < FEWEST:
            few = types[counts.argmin()]
            raise AmilError(
                f"The type '{few}' has {counts.min()} named cells; name at least {FEWEST} of each type."
            )
        center = np.nanmedian(values, axis=0)
        center = np.where(np.isfinite(center), center, 0.0)
        filled = np.where(np.isfinite(values), values, center)
        center = filled.mean(axis=0)
        scale = np.maximum(filled.std(axis=0), 1e-9)
        u = (filled - center) / scale
        means = np.stack([u[names == name].mean(axis=0) for name in types])
        own = np.searchsorted(types, names)
        covariance, _ = ledoit_wolf(u - means[own])
        precision = np.linalg.inv(covariance + 1e-6 * np.eye(len(covariance)))
        weights = means @ precision
        bias = -0.5 * (weights * means).sum(axis=1)
        nearest = _nearest(u, means, precision)
        return cls(
            tuple(types.tolist()),
            features,
            center,
            scale,
            weights,
            bias,
            means,
            precision,
            # fitted cells lie closer than others: twice the limit of the cells themselves
            np.array([2.0 * np.quantile(nearest, UNLIKE)]),
        )

    def standardised(self, values: Floats) -> Floats:
        """Return standardised features ``(n_cells, n_features)``; an unknown one is 0."""
        known = (values - self.center) / self.scale
        return np.where(np.isfinite(known), known, 0.0)

    def probability(self, values: Floats) -> Floats:
        """Return the probability of each type ``(n_cells, n_types)``."""
        found: Floats = softmax(self.standardised(values) @ self.weights.T + self.bias, axis=1)
        return found

    def likeness(self, values: Floats) -> Floats:
        """Return the squared distance to the nearest type over the limit; above 1 is like no named type."""
        return _nearest(self.standardised(values), self.means, self.precision) / self.limit[0]

    def predict(self, values: Floats, *, abstain: bool = True) -> NDArray[np.str_]:
        """Return the type of each cell; with ``abstain``, ``""`` where none is probable or alike."""
        probability = self.probability(values)
        names = np.array(self.types)[probability.argmax(axis=1)]
        if abstain:
            doubtful = (probability.max(axis=1) < MIN_PROBABILITY) | (self.likeness(values) > 1)
            names = np.where(doubtful, "", names)
        return names

    def save(self, path: Path) -> None:
        """Write the classifier as one safetensors file, atomically."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        header = {"types": list(self.types), "features": list(self.features), "card": self.card}
        if self.examples is not None:
            arrays[_EXAMPLES] = self.examples.values.astype(np.float32)
            header |= {"names": self.examples.names.tolist(), "slides": self.examples.slides.tolist()}
        metadata = {"format": FORMAT, "format_version": FORMAT_VERSION, "classifier": json.dumps(header)}
        with replacing(path) as partial:
            safetensors.numpy.save_file(arrays, partial, metadata=metadata)

    @classmethod
    def load(cls, path: Path) -> TypeClassifier:
        """Return the classifier in a file.

        Raises
        ------
        AmilError
            If the file is missing, damaged, or no classifier of cell types.
        """
        with (
            decoding(path, "cannot be read as a classifier of cell types", "make it again with 'classify'"),
            safetensors.safe_open(path, framework="numpy") as stored,
        ):
            metadata = stored.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("format_version") != FORMAT_VERSION:
                raise ValueError("it is another kind of file, or of another version")
            header = json.loads(metadata["classifier"])
            arrays = {name: stored.get_tensor(name).astype(np.float64) for name in _ARRAYS}
            types, features = tuple(header["types"]), tuple(header["features"])
            if arrays["weights"].shape != (len(types), len(features)) or not all(
                np.isfinite(array).all() for array in arrays.values()
            ):
                raise ValueError("its arrays do not fit its names")
            return cls(types, features, **arrays, card=header["card"], examples=_examples(stored, header))


def _examples(stored: Any, header: dict[str, Any]) -> Examples | None:  # noqa: ANN401
    """Return the named cells in an open file; None where it has none."""
    if _EXAMPLES not in stored.keys():  # noqa: SIM118 - the file is no mapping
        return None
    values = stored.get_tensor(_EXAMPLES).astype(np.float64)
    names, slides = (np.array(header[name], dtype=np.str_) for name in ("names", "slides"))
    if not len(values) == len(names) == len(slides) or values.shape[1] != len(header["features"]):
        raise ValueError("its named cells do not fit their names")
    return Examples(values, names, slides)


def _nearest(u: Floats, means: Floats, precision: Floats) -> Floats:
    """Return the squared Mahalanobis distance ``(n_cells,)`` to the nearest of the means."""
    factor = np.linalg.cholesky(precision)
    cells, centres = u @ factor, means @ factor
    squared = (cells**2).sum(axis=1)[:, None] - 2 * cells @ centres.T + (centres**2).sum(axis=1)
    nearest: Floats = np.maximum(squared.min(axis=1), 0.0)
    return nearest

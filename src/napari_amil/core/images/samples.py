"""Decoded samples, their black and white levels, and RGB with 8 bits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_amil.core.base.types import Image
from napari_amil.core.images.refusals import UnusableError

FULL_SCALES = (2**8 - 1, 2**10 - 1, 2**12 - 1, 2**14 - 1, 2**16 - 1)
"""Full scales of the cameras that write 16-bit files."""
OFFSET = 2**15
"""Constant that programs add to samples when they turn signed into unsigned numbers."""
_OUTLIERS = 0.005  # share of samples at either end that may be hot or dead pixels
_LARGEST_SHIFT = 8  # bits by which cameras shift their samples to the left
_BRIGHTEST_FRACTION = 2.0  # brighter numbers are no fractions of white
_ROUNDING = 1.01  # interpolated numbers exceed their full scale a little
_FLAT = 0.8  # no smear with cells has its darkest samples above this share of its brightest
_SAMPLES_PER_SIDE = 5  # windows from which light, stain and size of the cells are estimated
_SAMPLE_PX = 512

Alpha = Literal["none", "straight", "premultiplied"]
Window = tuple[slice, slice]


@dataclass(frozen=True)
class Samples:
    """Decoded samples ``(h, w, n)``, grey or RGB, followed by one alpha channel if there is one.

    In ``inverted`` samples 0 is white, as in a TIFF with the photometric interpretation MINISWHITE.
    """

    values: NDArray[Any]
    alpha: Alpha = "none"
    inverted: bool = False

    @property
    def n_colours(self) -> int:
        """Number of channels without alpha."""
        return int(self.values.shape[2]) - (self.alpha != "none")


@dataclass(frozen=True)
class Levels:
    """Sample values that stand for no light, full light and an opaque pixel.

    Parameters
    ----------
    black, white
        Values that become 0 and 255.
    opaque
        Value of the alpha channel of an opaque pixel.
    note
        Peculiarity of the values, as the rest of a sentence; empty without one.
    """

    black: float = 0.0
    white: float = 255.0
    opaque: float = 255.0
    note: str = ""

    @classmethod
    def from_samples(cls, parts: Iterable[Samples]) -> Levels:
        """Return the levels of an image from windows of it; samples with 8 bits keep theirs.

        White is the smallest full scale of 8, 10, 12, 14 or 16 bits that holds all but the brightest
        samples, since cameras leave the upper bits of 16-bit files empty and single pixels may be
        hot. Samples shifted to the left keep their shift. An `OFFSET` is recognised where all but the
        darkest samples lie above it and none needs more than 14 bits beyond it.
        """
        colours, alphas = [], []
        for part in parts:
            if part.values.dtype == np.uint8:
                return cls()
            colours.append(part.values[..., : part.n_colours].ravel())
            alphas.append(part.values[..., part.n_colours :].ravel())
        alpha = np.concatenate(alphas)
        values = np.concatenate(colours)
        fractions = values.dtype.kind == "f"
        opaque = _full_scale(float(alpha.max()), 0, fractions=fractions) if alpha.size else 255.0
        low, high = _robust_range(values)
        if low < 0 or high > FULL_SCALES[-1]:
            raise UnusableError(
                f"has values from {low:g} to {high:g}; save it with 8 or 16 bits without a sign."
            )
        if low >= OFFSET and high < OFFSET + 2**14:
            black = float(OFFSET)
            note = f"its values lie {OFFSET} too high, as in signed numbers; this offset is taken off"
        else:
            black, note = 0.0, ""
            if low > _FLAT * high:
                note = (
                    f"its darkest value, {low:g}, is close to its brightest, {high:g}; "
                    "if the camera adds an offset, subtract it before scoring"
                )
        kept = values[(values >= low) & (values <= high)]
        shift = 0 if fractions else _left_shift(kept, int(black))
        return cls(black, black + _full_scale(high - black, shift, fractions=fractions), opaque, note)

    @classmethod
    def from_image(cls, samples: Samples) -> Levels:
        """Return the levels of a whole image, from windows spread over it."""
        height, width = samples.values.shape[:2]
        return cls.from_samples(
            replace(samples, values=samples.values[w]) for w in sample_windows((height, width))
        )


def to_rgb(samples: Samples, levels: Levels | None = None) -> Image:
    """Return ``(h, w, 3)`` uint8: grey in three equal channels, alpha composited on white.

    A window of an image has the ``levels`` of the whole, and may be wholly transparent.
    """
    values, n_colours = samples.values, samples.n_colours
    if n_colours not in {1, 3}:
        raise UnusableError(f"has {n_colours} colour channels; save it as grey, RGB or RGBA.")
    shape = (*values.shape[:2], 3)
    if values.dtype == np.uint8 and samples.alpha == "none":
        return np.ascontiguousarray(np.broadcast_to(255 - values if samples.inverted else values, shape))
    whole = levels is None
    levels = levels or Levels.from_image(samples)
    values = _finite(values).astype(np.float32)
    colour = (values[..., :n_colours] - np.float32(levels.black)) / np.float32(levels.white - levels.black)
    if samples.inverted:
        colour = 1 - colour
    if samples.alpha != "none":
        opaque = values[..., n_colours:] / np.float32(levels.opaque)
        if whole and not opaque.any():
            raise UnusableError("is wholly transparent; save it without its alpha channel.")
        colour = (colour if samples.alpha == "premultiplied" else colour * opaque) + (1 - opaque)
    scaled = np.rint(np.clip(colour, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(scaled, shape))


def with_alpha(values: NDArray[Any]) -> Samples:
    """Return samples whose second or fourth channel is a straight alpha, as PNG defines it."""
    if values.ndim == 2:
        values = values[..., None]
    return Samples(values, "straight" if values.shape[2] in {2, 4} else "none")


def sample_windows(shape: tuple[int, int]) -> list[Window]:
    """Return windows spread evenly over a field, the whole field where it is small."""
    starts = []
    for length in shape:
        n = min(_SAMPLES_PER_SIDE, -(-length // _SAMPLE_PX))
        starts.append(np.linspace(0, max(length - _SAMPLE_PX, 0), n).astype(int).tolist())
    height, width = shape
    return [
        (slice(y, min(y + _SAMPLE_PX, height)), slice(x, min(x + _SAMPLE_PX, width)))
        for y in starts[0]
        for x in starts[1]
    ]


def check_numbers(dtype: np.dtype[Any]) -> None:
    """Refuse samples that are no plain numbers of at least 8 bits.

    Raises
    ------
    UnusableError
        With the type and the remedy.
    """
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise UnusableError(
            f"holds numbers of the type {dtype.name}; save it with 8 or 16 bits without a sign."
        )


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UnusableError("holds values that are not numbers (NaN or infinite); save it with 8 or 16 bits.")
    return values


def _robust_range(values: NDArray[Any]) -> tuple[float, float]:
    """Return the values between which all but the outliers at either end lie."""
    last = len(values) - 1
    ends = sorted({round(_OUTLIERS * last), round((1 - _OUTLIERS) * last)})
    ordered = np.partition(_finite(values), ends)
    return float(ordered[ends[0]]), float(ordered[ends[-1]])


def _left_shift(values: NDArray[Any], black: int) -> int:
    """Return by how many bits all values above ``black`` are shifted to the left."""
    bits = int(np.bitwise_or.reduce(values.astype(np.int64) - black))
    return min((bits & -bits).bit_length() - 1, _LARGEST_SHIFT) if bits else 0


def _full_scale(brightest: float, shift: int, *, fractions: bool) -> float:
    """Return the value that stands for white in samples of which ``brightest`` is the largest.

    Fractions are up to 1, or a little above where the background was divided by itself.
    """
    if fractions and brightest <= _BRIGHTEST_FRACTION:
        return max(brightest, 1.0)
    tolerance = _ROUNDING if fractions else 1.0
    scales = [scale << shift for scale in FULL_SCALES if scale << shift <= FULL_SCALES[-1]]
    return float(next((scale for scale in scales if brightest <= tolerance * scale), FULL_SCALES[-1]))

"""Pixel size in micrometres, from the numbers and units of metadata."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_PLAUSIBLE_UM = (0.01, 5.0)  # 72, 96 or 300 dots per inch say nothing of a specimen
_UM = {
    "nm": 1e-3, "nanometer": 1e-3, "µm": 1.0, "um": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "\\u00b5m": 1.0, "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4,
    "m": 1e6, "meter": 1e6, "inch": 25_400.0,
}  # fmt: skip

_NO_LENGTH = frozenset({"", "pixel", "pixels", "px", "none", "reference frame"})
"""Units of images without a scale."""


@dataclass(frozen=True)
class PixelSize:
    """Side of a pixel in micrometres, None where it is unknown, and a note on odd metadata.

    The note is the rest of a sentence, empty where nothing is odd.
    """

    um: float | None = None
    note: str = ""


def pixel_size(size: Any, unit: str) -> PixelSize:  # noqa: ANN401
    """Return the pixel size that metadata state; sizes that no light microscope has are unknown.

    A decimal comma is read as a point.
    """
    number = to_number(size)
    if number is None:
        return PixelSize(note=f"its pixel size, '{size}', is no number and is taken as unknown")
    if number <= 0:
        return PixelSize(note=f"its pixel size, '{size}', is not above 0 and is taken as unknown")
    if unit.strip().lower() not in {*_UM, *_NO_LENGTH}:
        return PixelSize(note=f"its pixel size is given in '{unit}' and is taken as unknown")
    size_um = number * _UM.get(unit.strip().lower(), math.nan)
    low, high = _PLAUSIBLE_UM
    comma = isinstance(size, str) and "," in size
    note = f"its pixel size, '{size}', is read as {number:g}" if comma else ""
    return PixelSize(size_um, note) if low <= size_um <= high else PixelSize()


def to_number(value: Any) -> float | None:  # noqa: ANN401
    """Return a finite number, or a text with a decimal point or comma, as a float; else None."""
    text = value.strip() if isinstance(value, str) else value
    if isinstance(text, str) and text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    try:
        number = float(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None

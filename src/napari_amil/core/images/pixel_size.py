"""How many micrometres a pixel is, as a file says it; what no microscope has is not believed."""

from __future__ import annotations

import math
from typing import Any
from xml.etree import ElementTree

import tifffile

_PLAUSIBLE_UM = (0.01, 5.0)  # 72, 96 or 300 dots per inch say nothing of a specimen
_UM = {
    "nm": 1e-3, "nanometer": 1e-3, "µm": 1.0, "um": 1.0, "μm": 1.0, "micron": 1.0, "microns": 1.0,
    "micrometer": 1.0, "\\u00b5m": 1.0, "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4,
    "m": 1e6, "meter": 1e6, "inch": 25_400.0,
}  # fmt: skip


def tiff_pixel_um(tif: tifffile.TiffFile) -> float | None:
    """Return the side of a pixel of a TIFF: from OME-XML, ImageJ's description or the resolution tags."""
    if tif.is_ome and tif.ome_metadata:
        return _from_ome(tif.ome_metadata)
    page = tif.pages.first
    resolution = page.tags.get("XResolution")
    if resolution is None:
        return None
    above, below = resolution.value
    unit = "inch"
    if tif.is_imagej:
        unit = str((tif.imagej_metadata or {}).get("unit", ""))
    elif "ResolutionUnit" in page.tags:
        unit = {2: "inch", 3: "cm"}.get(int(page.tags["ResolutionUnit"].value), "")
    return _plausible(below / above if above else math.nan, unit)


def zarr_pixel_um(multiscale: dict[str, Any]) -> float | None:
    """Return the side of a pixel of the first level of an OME-Zarr image."""
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in multiscale.get("axes", [])]
    across = next((i for i, axis in enumerate(axes) if axis.get("name") == "x"), None)
    changes = multiscale["datasets"][0].get("coordinateTransformations", [])
    scale = next((change["scale"] for change in changes if change.get("type") == "scale"), None)
    if across is None or scale is None:
        return None
    return _plausible(float(scale[across]), str(axes[across].get("unit", "")))


def _from_ome(text: str) -> float | None:
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    pixels = next((e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"), None)
    if pixels is None or "PhysicalSizeX" not in pixels.attrib:
        return None
    return _plausible(float(pixels.attrib["PhysicalSizeX"]), pixels.attrib.get("PhysicalSizeXUnit", "µm"))


def _plausible(size: float, unit: str) -> float | None:
    """Return a size in micrometres if a light microscope could have it."""
    size_um = size * _UM.get(unit.strip().lower(), math.nan)
    low, high = _PLAUSIBLE_UM
    return size_um if low <= size_um <= high else None

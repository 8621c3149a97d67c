"""Words for the measurements of a cell that are unusual."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_amil.core.base.columns import MORPH_Z, column_name

WORDS: dict[str, tuple[str, str]] = {
    "diameter": ("smaller", "larger"),
    "diameter_px": ("smaller", "larger"),
    "aspect_ratio": ("rounder", "longer"),
    "solidity": ("more notched", "fuller in outline"),
    "convexity": ("more ragged", "less ragged"),
    "form_factor": ("less circular", "more circular"),
    "roughness": ("smoother at the edge", "rougher at the edge"),
    "spicules": ("fewer spicules", "more spicules"),
    "angularity": ("less angular", "more angular"),
    "tail": ("less drawn out to one side", "more drawn out to one side"),
    "skew": ("more alike at both ends", "more tapered at one end"),
    "pallor_area": ("smaller central pallor", "larger central pallor"),
    "pallor_depth": ("less pale in the centre", "paler in the centre"),
    "pallor_elongation": ("rounder pallor", "longer pallor"),
    "pallor_sharpness": ("softer pallor", "sharper pallor"),
    "slit": ("less of a slit", "more of a slit"),
    "target": ("less of a target", "more of a target"),
    "density": ("paler", "denser"),
    "density_total": ("less stain in total", "more stain in total"),
    "density_variation": ("more evenly stained", "less evenly stained"),
    "density_shift": ("stain more in the middle", "stain more to one side"),
    "blueness": ("redder", "bluer"),
    "cell_diameter": ("a smaller cell", "a larger cell"),
    "cell_form_factor": ("a less circular cell", "a more circular cell"),
    "nucleus_diameter": ("a smaller nucleus", "a larger nucleus"),
    "nucleus_share": ("more cytoplasm around the nucleus", "less cytoplasm around the nucleus"),
    "nucleus_form_factor": ("a nucleus of more irregular outline", "a nucleus of smoother outline"),
    "nucleus_solidity": ("a more cleft nucleus", "a less cleft nucleus"),
    "nucleus_aspect_ratio": ("a rounder nucleus", "a longer nucleus"),
    "nucleus_lobes": ("a nucleus with fewer lobes", "a nucleus with more lobes"),
    "nucleus_offset": ("a nucleus more in the middle", "a nucleus more to one side"),
    "chromatin_variation": ("more even chromatin", "less even chromatin"),
    "chromatin_contrast": ("finer chromatin", "coarser chromatin"),
    "chromatin_clumps": ("less clumped chromatin", "more clumped chromatin"),
    "cytoplasm_density": ("paler cytoplasm", "darker cytoplasm"),
    "cytoplasm_blueness": ("redder cytoplasm", "bluer cytoplasm"),
    "granularity": ("less granular cytoplasm", "more granular cytoplasm"),
    "vacuoles": ("fewer vacuoles", "more vacuoles"),
}
"""Words for a low and for a high value of each measurement, as in ``longer than ...``."""
DEVIATIONS = {name: column_name(MORPH_Z, name) for name in WORDS}
"""Column of each measurement in control deviations."""


def unusual_measurements(row: Mapping[str, Any], least: float) -> list[tuple[str, float]]:
    """Return names and deviations of measurements ``least`` control deviations off or more, largest first."""
    deviations = {name: float(row.get(column, np.nan)) for name, column in DEVIATIONS.items()}
    unusual = [(name, deviation) for name, deviation in deviations.items() if abs(deviation) >= least]
    return sorted(unusual, key=lambda found: -abs(found[1]))


def deviations_in_words(row: Mapping[str, Any], least: float = 1.96, most: int = 3) -> list[str]:
    """Return the most unusual measurements of a cell: ``longer (+4.1)``, in control deviations.

    Parameters
    ----------
    row
        A row of a table of cells with the columns ``morph_<name>_z``.
    least
        Control deviations from which on a measurement is unusual.
    most
        Longest list.
    """
    words: dict[str, str] = {}
    for name, deviation in unusual_measurements(row, least):
        words.setdefault(WORDS[name][deviation > 0], f"({deviation:+.1f})")
    return [f"{word} {size}" for word, size in words.items()][:most]

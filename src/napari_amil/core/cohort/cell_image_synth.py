"""Write a synthetic cohort of cell images and clinical values of which the carrier of the label is known."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import PIL.Image
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import Events, Step
from napari_amil.core.base.settings import Settings
from napari_amil.core.base.types import Floats, Image

TABLE = "clinical_data.csv"
"""Name of the table that lies beside the folders."""
Carrier = Literal["images", "count", "both", "neither"]
"""Carrier of the difference between malignant and reactive: cells, lymphocyte count, either, or nothing."""

_NUCLEUS = np.array([1.05, 1.45, 0.75])  # optical density in red, green, blue
_CYTOPLASM = np.array([0.34, 0.30, 0.16])
_RED_CELL = np.array([0.16, 0.45, 0.42])
_LIGHT = np.array([228.0, 226.0, 224.0])


class CellImageCohortSettings(Settings):
    """A made-up cohort of white cells, one folder a patient, with age, sex and lymphocyte count."""

    patients: int = Field(24, ge=2, le=5000)
    """Patients, half of them malignant."""
    cells: tuple[int, int] = (12, 30)
    """Fewest and most images of a patient."""
    size_px: int = Field(96, ge=32, le=512)
    """Side of an image in pixels."""
    carrier: Carrier = "both"
    """Carrier of the label: images, count, both (each in half of the malignant patients), or neither."""
    abnormal: float = Field(0.6, ge=0, le=1)
    """Share of the cells of a malignant patient that look malignant, where the images carry the label."""
    missing: float = Field(0.05, ge=0, le=1)
    """Share of the clinical values that are unknown."""
    stain: float = Field(1.0, ge=0.2, le=2.5)
    """Strength of the stain of all images; 1 is usual."""
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factor on the optical density in red, green and blue: another stain."""
    first: int = Field(0, ge=0)
    """Number of the first patient; other numbers are other patients of the same seed."""
    seed: int = Field(0, ge=0)
    """Seed of everything random."""


@dataclass(frozen=True)
class _Patient:
    """One patient to draw."""

    name: str
    malignant: bool
    abnormal_cells: bool
    high_count: bool


def writing_cell_image_cohort(out: Path, settings: CellImageCohortSettings) -> Events:
    """Yield a step per patient, write a cohort of cell images and return the path of its table.

    ``out/<ID>/<cell>.png`` and ``out/clinical_data.csv`` with ``ID, LABEL, GENDER, LYMPH_COUNT, AGE``
    (label 0 reactive, 1 malignant; count in 10^9/L). With the carrier ``both`` each malignant patient has
    either abnormal cells or a high count, so that neither alone can tell all of them. The folder appears
    when all is written.

    Raises
    ------
    CohortError
        If ``out`` exists and is not an empty folder, or cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CohortError(f"'{out}' exists and is not an empty folder; name another one.")
    patients = list(_patients(settings))
    rows = []
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            built = Path(scratch, "cohort")
            for number, patient in enumerate(patients):
                yield Step("synth", number, len(patients), patient.name)
                rng = np.random.default_rng((settings.seed, settings.first + number))
                rows.append(_clinical(patient, settings, rng))
                _write_cells(built / patient.name, patient, settings, rng)
            pd.DataFrame(rows).to_csv(built / TABLE, index=False)
            if out.is_dir():
                out.rmdir()
            built.rename(out)
    except OSError as error:
        raise CohortError(
            f"The cohort '{out}' cannot be written ({error.strerror}); name another folder."
        ) from error
    yield Step("synth", len(patients), len(patients))
    return out / TABLE


def _patients(settings: CellImageCohortSettings) -> Iterator[_Patient]:
    """Yield the patients, reactive and malignant in turn."""
    for number in range(settings.first, settings.first + settings.patients):
        malignant, odd = number % 2 == 1, number % 4 == 1
        images = malignant and (settings.carrier == "images" or (settings.carrier == "both" and odd))
        count = malignant and (settings.carrier == "count" or (settings.carrier == "both" and not odd))
        yield _Patient(f"P{number:04d}", malignant, images, count)


def _clinical(
    patient: _Patient, settings: CellImageCohortSettings, rng: np.random.Generator
) -> dict[str, str | int]:
    """Return a row of the table; age and sex tell nothing."""
    count = rng.lognormal(np.log(30.0 if patient.high_count else 6.0), 0.35)
    values = {
        "GENDER": "F" if rng.random() < 0.5 else "M",
        "LYMPH_COUNT": f"{count:.1f}",
        "AGE": f"{rng.normal(66, 12):.0f}",
    }
    known = {name: "" if rng.random() < settings.missing else value for name, value in values.items()}
    return {"ID": patient.name, "LABEL": int(patient.malignant), **known}


def _write_cells(
    folder: Path, patient: _Patient, settings: CellImageCohortSettings, rng: np.random.Generator
) -> None:
    """Write the images of one patient."""
    folder.mkdir(parents=True)
    least, most = settings.cells
    strength = settings.stain * np.asarray(settings.tint) * np.exp(rng.normal(0, 0.08))
    for number in range(int(rng.integers(least, most + 1))):
        abnormal = patient.abnormal_cells and rng.random() < settings.abnormal
        image = draw_white_cell(rng, settings.size_px, abnormal=bool(abnormal), strength=strength)
        PIL.Image.fromarray(image).save(folder / f"{number:03d}.png")


def draw_white_cell(
    rng: np.random.Generator, size_px: int, *, abnormal: bool, strength: Floats | float = 1.0
) -> Image:
    """Return the image ``(size_px, size_px, 3)`` of a lymphocyte among red cells.

    An abnormal one is larger, its nucleus cleft, its chromatin clumped, and it has little cytoplasm.

    Parameters
    ----------
    strength
        Factor on the optical density, one or ``(3,)`` by channel.
    """
    y, x = (np.mgrid[:size_px, :size_px] + 0.5 - size_px / 2) / (size_px / 2)
    y, x = y + rng.normal(0, 0.03), x + rng.normal(0, 0.03)
    radius = rng.normal(0.47 if abnormal else 0.40, 0.035)
    cleft = rng.uniform(0.22, 0.4) if abnormal else rng.uniform(0.0, 0.07)
    nucleus = _blob(y, x, radius, rng, cleft)
    rim = rng.uniform(1.06, 1.18) if abnormal else rng.uniform(1.2, 1.5)
    cell = _blob(y, x, radius * rim, rng, 0.0)
    grain = ndimage.gaussian_filter(rng.normal(size=(size_px, size_px)), size_px / (28 if abnormal else 60))
    chromatin = 1 + (0.2 if abnormal else 0.07) * grain / max(float(grain.std()), 1e-6)
    density = nucleus[..., None] * chromatin[..., None] * _NUCLEUS
    density += (np.maximum(cell, nucleus) - nucleus)[..., None] * _CYTOPLASM
    density += (_red_cells(y, x, radius * rim, rng) * (1 - cell))[..., None] * _RED_CELL
    light = _LIGHT * np.exp(rng.normal(0, 0.015, 3))
    image = light * np.exp(-density * strength) + rng.normal(0, 2.0, density.shape)
    blurred = ndimage.gaussian_filter(image, (0.6, 0.6, 0))
    return np.clip(np.rint(blurred), 0, 255).astype(np.uint8)


def _blob(
    y: NDArray[np.float64], x: NDArray[np.float64], radius: float, rng: np.random.Generator, cleft: float
) -> NDArray[np.float64]:
    """Return the coverage, 0 to 1, of a round shape with a notch of relative depth ``cleft``."""
    angle, turn = np.arctan2(y, x), rng.uniform(0, 2 * np.pi)
    waves = sum(rng.normal(0, 0.015) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4))
    apart = np.angle(np.exp(1j * (angle - turn)))
    edge = radius * (1 + waves - cleft * np.exp(-((apart / 0.35) ** 2)))
    return np.asarray(np.clip((edge - np.hypot(y, x)) * len(y) / 3 + 0.5, 0, 1))


def _red_cells(
    y: NDArray[np.float64], x: NDArray[np.float64], keep_off: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the thickness of a few red cells around the white one."""
    thickness = np.zeros_like(y)
    for _ in range(int(rng.integers(1, 5))):
        angle, away = rng.uniform(0, 2 * np.pi), keep_off + rng.uniform(0.3, 0.5)
        far = np.hypot(y - away * np.sin(angle), x - away * np.cos(angle)) / 0.3
        pallor = 1 - 0.45 * np.exp(-((far / 0.5) ** 2))
        thickness = np.maximum(thickness, np.clip((1 - far) * len(y) / 8, 0, 1) * pallor)
    return thickness

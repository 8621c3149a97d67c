"""Write a synthetic cohort: a folder of smears (`smear.py`) and a list of their cells."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import PIL.Image
from pydantic import Field

from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import Events, Step, drain
from napari_amil.core.base.settings import Settings
from napari_amil.core.base.types import Cells
from napari_amil.core.cohort.smear import SyntheticSmear, SynthSettings, synthetic_smear

__all__ = [
    "CELL_LIST",
    "SynthCohortSettings",
    "SynthSettings",
    "SyntheticSmear",
    "synthetic_smear",
    "write_synthetic_cohort",
    "writing_synthetic_cohort",
]

CELL_LIST = "bags.csv"
"""Name of the cell list that lies beside the class folders."""


class SynthCohortSettings(Settings):
    """Size of a synthetic cohort, and the abnormal cells of each disease."""

    diseases: dict[str, dict[str, float]] = {  # noqa: RUF012 - pydantic copies defaults
        "elliptocytosis": {"elliptocyte": 0.28, "teardrop": 0.05},
        "spherocytosis": {"spherocyte": 0.28, "microcyte": 0.05},
    }
    """Share of the cells of each abnormal type, for each disease; it varies by half from sample to sample."""
    control: str = "control"
    """Name of the control class; its cells are normal."""
    patients: int = Field(6, ge=1, le=1000)
    """Patients of each class."""
    samples: int = Field(2, ge=1, le=100)
    """Samples of each patient; every sample is one bag."""
    images: int = Field(1, ge=1, le=100)
    """Fields of each sample."""
    folds: int = Field(3, ge=1, le=100)
    """Folds over which the patients of each class are dealt in turn."""
    smear: SynthSettings = SynthSettings(height=240, width=320, n_cells=28, n_platelets=2)
    """The fields; their abnormal cells are replaced by those of the class."""
    seed: int = 0
    """Seed of everything random."""


@dataclass(frozen=True)
class _Field:
    """One image to draw."""

    label: str
    patient: int
    sample: int
    image: int
    seed: tuple[int, int]


def write_synthetic_cohort(out: Path, settings: SynthCohortSettings | None = None) -> Path:
    """Write a made-up cohort into a new folder and return the path of its cell list.

    ``out/<class>/<patient>/<sample>/<image>.png`` is a folder cohort, and ``out/bags.csv`` lists every cell
    of the same bags with ``fold``, ``cell_id`` and ``cell_type``. The folder appears when all is written.

    Raises
    ------
    CohortError
        If ``out`` exists and is not an empty folder, or cannot be written.
    """
    cell_list: Path = drain(writing_synthetic_cohort(out, settings or SynthCohortSettings()))
    return cell_list


def writing_synthetic_cohort(out: Path, settings: SynthCohortSettings) -> Events:
    """Yield a step per image and return the path of the cell list; see `write_synthetic_cohort`."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CohortError(f"'{out}' exists and is not an empty folder; name another one.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
            built = Path(scratch, "cohort")
            built.mkdir()
            fields = list(_fields(settings))
            tables = []
            for done, field in enumerate(fields):
                yield Step("synth", done, len(fields), field.label)
                tables.append(_write_field(built, field, settings))
            pd.concat(tables).to_csv(built / CELL_LIST, index=False)
            if out.is_dir():
                out.rmdir()
            built.rename(out)
    except OSError as error:
        raise CohortError(
            f"The cohort '{out}' cannot be written ({error.strerror}); name another folder."
        ) from error
    yield Step("synth", len(fields), len(fields))
    return out / CELL_LIST


def _fields(settings: SynthCohortSettings) -> Iterator[_Field]:
    """Yield the images in the order of the bags."""
    number = 0
    for label in (settings.control, *settings.diseases):
        for patient in range(settings.patients):
            for sample in range(settings.samples):
                for image in range(settings.images):
                    yield _Field(label, patient, sample, image, (settings.seed, number))
                    number += 1


def _write_field(root: Path, field: _Field, settings: SynthCohortSettings) -> pd.DataFrame:
    """Write one image and return its rows of the cell list."""
    patient = f"{field.label}/p{field.patient:02d}"
    bag = f"{patient}/s{field.sample}"
    name = f"{bag}/{field.image}.png"
    severity = 0.75 + 0.5 * ((field.patient * settings.samples + field.sample) * 0.618 % 1)
    shares = {kind: share * severity for kind, share in settings.diseases.get(field.label, {}).items()}
    smear = synthetic_smear(field.seed, settings.smear.model_copy(update={"abnormal": shares}))
    (root / bag).mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(smear.image).save(root / name)
    table = _rows(smear.cells).assign(cell_type=smear.cell_type)
    heads = {"bag": bag, "patient": patient, "label": field.label, "fold": field.patient % settings.folds}
    for column, value in reversed({**heads, "image": name}.items()):
        table.insert(0, column, value)
    return table


def _rows(cells: Cells) -> pd.DataFrame:
    """Return the boxes and ids of cells."""
    return cells.table()[[*BOX_COLUMNS, "cell_id"]].round(2)

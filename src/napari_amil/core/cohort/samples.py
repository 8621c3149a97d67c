"""Sample fields: a synthetic smear, and a real one of the Chula RBC-12 dataset."""

from __future__ import annotations

import os
from pathlib import Path

import pooch

from napari_amil.core.base.errors import ImageError
from napari_amil.core.base.types import Image
from napari_amil.core.cohort.smear import SyntheticSmear, synthetic_smear
from napari_amil.core.images.read import read_image

DATA_VARIABLE = "NAPARI_AMIL_DATA"
"""Environment variable that names a folder with local copies of public data."""
REAL_FILE = "4.jpg"
"""Burr cells, ovalocytes and microcytes among normal cells, on a slide that the starter model never saw."""
REAL_URL = (
    "https://raw.githubusercontent.com/Chula-PIC-Lab/Chula-RBC-12-Dataset/"
    f"fa130f48135d79bbd69f8e540b533511017d6896/Dataset/{REAL_FILE}"
)
"""Its address at the publishers (Naruenatthanaset et al., arXiv 2012.01321; MIT licence)."""
REAL_SHA256 = "66cbab4bae88f3d8cc01cbd7fcf4a546d57cde16c7f531f1be6e979b57c79748"
"""SHA-256 of the publishers' file."""
_SEED = 0


def synthetic_field() -> SyntheticSmear:
    """Return the built-in made-up smear with overlapping, faint and abnormal cells."""
    return synthetic_smear(_SEED)


def shipped_field() -> Image:
    """Return the real field that comes with the program: `REAL_FILE` of the publishers (MIT licence)."""
    return read_image(Path(__file__).parent / "sample" / f"chula-{REAL_FILE}")


def real_field() -> Image:
    """Return a real field: the local copy if there is one, else the publishers' file.

    A local copy is ``chula_slides/images/4.jpg`` in the folder that the environment variable
    ``NAPARI_AMIL_DATA`` names. A download is checked against its SHA-256 and kept for the next time.

    Raises
    ------
    ImageError
        If the file cannot be downloaded or is not the publishers'.
    """
    folder = os.environ.get(DATA_VARIABLE)
    local = Path(folder, "chula_slides", "images", REAL_FILE) if folder else None
    return read_image(local if local is not None and local.is_file() else _download())


def _download() -> Path:
    """Return the path of the downloaded file."""
    pooch.get_logger().setLevel("WARNING")
    try:
        name = f"chula-{REAL_FILE}"
        cache = pooch.os_cache("napari-amil")
        return Path(pooch.retrieve(REAL_URL, f"sha256:{REAL_SHA256}", fname=name, path=cache))
    except OSError as error:
        raise ImageError(
            "The real sample could not be downloaded from github.com; check the connection, "
            f"or set {DATA_VARIABLE} to a folder that holds chula_slides/images/{REAL_FILE}."
        ) from error
    except ValueError as error:
        raise ImageError(
            "The downloaded sample is not the file that its publishers put there (its checksum differs); "
            "try again later, or use the made-up smear."
        ) from error

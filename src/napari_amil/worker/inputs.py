"""Inputs of the jobs: model and settings, image, arrays."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from napari_amil.core import pipeline
from napari_amil.core.base.events import Event
from napari_amil.core.base.files import regular_file
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Cells, Image
from napari_amil.worker.protocol.messages import Reply

R = TypeVar("R", bound=Reply)
Work = Generator[Event, None, R]
"""A job: it yields events and returns its reply."""


@lru_cache(maxsize=2)
def _bundle(path: Path, _written: float) -> pipeline.Bundle:
    return pipeline.load_bundle(path)


def load_recipe(bundle: str | None, settings: RunSettings | None, device: str) -> pipeline.Recipe:
    """Return model, settings (None for the model's own) and device; an unchanged file is read once."""
    chosen = pipeline.pick_device(device)
    path = bundle_path(bundle)
    written = path.stat().st_mtime if path.exists() else 0.0
    return pipeline.Recipe.from_bundle(_bundle(path, written), settings, chosen)


def bundle_path(bundle: str | None) -> Path:
    """Return the file of a model, the starter's for None."""
    return Path(bundle) if bundle else pipeline.starter_path()


def load_image(path: Path) -> Image:
    """Return an image file, or the array in a .npy file, whole."""
    return (
        np.load(regular_file(path), allow_pickle=False)
        if path.suffix == ".npy"
        else pipeline.read_image(path)
    )


@contextmanager
def open_input(path: Path) -> Iterator[pipeline.Field]:
    """Open an image file, window by window where it is large, or the array in a .npy file."""
    if path.suffix == ".npy":
        yield pipeline.as_field(load_image(path))
    else:
        with pipeline.open_field(path) as field:
            yield field


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a .npz file by name."""
    with np.load(regular_file(path), allow_pickle=False) as stored:
        return dict(stored)


def load_cells(path: Path) -> Cells:
    """Return the cells whose arrays are in a .npz file."""
    return Cells.from_arrays(load_arrays(path))

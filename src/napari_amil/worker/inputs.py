"""Inputs of the jobs: model and settings, image, arrays."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from napari_amil.core import pipeline
from napari_amil.core.base.errors import ImageError
from napari_amil.core.base.events import Event
from napari_amil.core.base.files import regular_file
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Cells, Image
from napari_amil.worker.protocol.messages import Detect, FieldInput, RedrawCells, Reply, Score

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


def load_image(field: FieldInput) -> Image:
    """Return a field whole, ``(h, w, 3)`` uint8."""
    with open_input(field) as opened:
        height, width = opened.shape
        return opened.window(slice(0, height), slice(0, width))


@contextmanager
def open_input(field: FieldInput) -> Iterator[pipeline.Field]:
    """Open a page of an image file, window by window where it is large, or the array in a .npy file.

    Both are judged by the same rules.

    Raises
    ------
    ImageError
        If it cannot be used; the sentence has the name of the field, not of the file that carries it.
    """
    path = field.image
    try:
        if path.suffix == ".npy":
            yield pipeline.as_field(np.load(regular_file(path), allow_pickle=False))
        else:
            with pipeline.open_field(path, field.page) as opened:
                yield opened
    except ImageError as error:
        carrier = "array" if path.suffix == ".npy" else str(path)
        name = f"'{field.name or field.source or path}'"
        raise ImageError(str(error).replace(f"'{carrier}'", name)) from error


def recipe_of(request: Detect | Score | RedrawCells) -> Generator[Event, None, pipeline.Recipe]:
    """Return model, settings and device of a request about one field, with the pixel size of its file."""
    recipe = load_recipe(request.bundle, request.settings, request.device)
    if request.source is not None:
        name = request.name or request.source.name
        recipe = yield from pipeline.recipe_for(recipe, request.source, name, request.page)
    return recipe


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a .npz file by name."""
    with np.load(regular_file(path), allow_pickle=False) as stored:
        return dict(stored)


def load_cells(path: Path) -> Cells:
    """Return the cells whose arrays are in a .npz file."""
    return Cells.from_arrays(load_arrays(path))

"""What a request names: its model, its image, its arrays."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from napari_amil.core import pipeline
from napari_amil.core.base.events import Event
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Image

Request = dict[str, Any]
Answer = Generator[Event, None, dict[str, Any]]
Job = Callable[[Request], Answer]


@lru_cache(maxsize=2)
def _bundle(path: Path, _written: float) -> pipeline.Bundle:
    return pipeline.load_bundle(path)


def recipe_of(request: Request) -> pipeline.Recipe:
    """Return model, settings and device; a model is read once until its file changes."""
    settings = RunSettings.parse(request.get("settings") or {})
    device = pipeline.pick_device(request.get("device", "auto"))
    path = bundle_path(request)
    written = path.stat().st_mtime if path.exists() else 0.0  # a file that is written anew is read anew
    return pipeline.Recipe.from_bundle(_bundle(path, written), settings, device)


def bundle_path(request: Request) -> Path:
    """Return the file of the model, the starter's where none is named."""
    return Path(request["bundle"]) if request.get("bundle") else pipeline.starter_path()


def image_of(request: Request) -> Image:
    """Return ``image`` whole, which may be an array in a file."""
    path = Path(request["image"])
    return np.load(path, allow_pickle=False) if path.suffix == ".npy" else pipeline.read_image(path)


@contextmanager
def field_of(request: Request) -> Iterator[pipeline.Field]:
    """Open ``image``, of which a large one is read window by window."""
    if Path(request["image"]).suffix == ".npy":
        yield pipeline.as_field(image_of(request))
    else:
        with pipeline.open_field(Path(request["image"])) as field:
            yield field


def arrays_of(path: str) -> dict[str, Any]:
    """Return the arrays of a file by name."""
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)

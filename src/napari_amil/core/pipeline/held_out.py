"""Cells that a detector finds in held-out images before and after its training, written for the window."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.events import Event, Step
from napari_amil.core.base.files import write_exact_json
from napari_amil.core.base.types import Cells
from napari_amil.core.detection.predict import find_candidates
from napari_amil.core.detection.validation import ValidationField, matched
from napari_amil.core.exchange.geojson import write_geojson
from napari_amil.core.images.read import ImageSource
from napari_amil.core.instances.extract import Recipe, without_steps

HELD_OUT = "held-out.json"
"""Name of the file in the run folder of a detector that lists its held-out images."""
_FOLDER = "held-out"


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A held-out image: where it is, and its pixels with the cells that are annotated."""

    source: ImageSource
    field: ValidationField


def write_held_out(
    images: Mapping[str, HeldOut], detectors: Mapping[str, MaskRCNN], recipe: Recipe, out: Path
) -> Generator[Event, None, None]:
    """Write the cells that each of ``detectors`` finds in each image as GeoJSON, and list them.

    ``held-out.json`` holds ``images``: of each its ``image``, ``path``, ``page``, ``complete`` and
    ``n_annotated``, the file ``annotated``, and by the name of each detector ``cells`` (a file),
    ``n_found`` and ``n_right``: as many of these have an annotated cell of their own, boxes agreeing
    by an intersection over union of 0.5.
    """
    listed: list[dict[str, Any]] = []
    for number, (name, held) in enumerate(images.items()):
        yield Step("held-out", number, len(images), name)
        entry: dict[str, Any] = {"image": name, "path": str(held.source.path.absolute())}
        entry |= {"page": held.source.page, "complete": held.field.complete}
        entry |= {"n_annotated": len(held.field.cells)}
        entry["annotated"] = _write(held.field.cells, f"{number}-annotated", out)
        for detector, model in detectors.items():
            found = yield from _found(name, model, held.field, recipe)
            right = matched(held.field.cells, found)
            file = _write(found, f"{number}-{detector}", out)
            entry[detector] = {"cells": file, "n_found": len(found), "n_right": right}
        listed.append(entry)
    write_exact_json({"images": listed}, out / HELD_OUT)


def _found(
    name: str, model: MaskRCNN, field: ValidationField, recipe: Recipe
) -> Generator[Event, None, Cells]:
    work = find_candidates(model, field.normalised, recipe.settings.detection, recipe.device)
    candidates = yield from without_steps(work, name)
    return candidates.select(recipe.settings.selection)


def _write(cells: Cells, stem: str, out: Path) -> str:
    """Write cells and return the name of the file in the run folder."""
    name = f"{_FOLDER}/{stem}.geojson"
    write_geojson(cells, None, out / name)
    return name

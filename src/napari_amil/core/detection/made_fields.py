"""Made-up smears to learn from: stains, lenses and fields of view that the real ones lack."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_amil.core.base.events import Event, Step
from napari_amil.core.base.settings import NormalisationSettings
from napari_amil.core.base.types import Cells, Image, polygon_area
from napari_amil.core.cohort.smear import SynthSettings, synthetic_smear
from napari_amil.core.detection.annotated_field import annotated_field
from napari_amil.core.detection.augment import AnnotatedField
from napari_amil.core.images.normalise import normalise

_ROUND, _VIGNETTED = 0.3, 0.3  # share of the fields
_BLACK = 6  # grey level of the surround
_LEAST_SEEN = 0.3  # of a cell's area inside a round field, else it is no target


def made_fields(
    number: int, normalisation: NormalisationSettings, seed: int
) -> Generator[Event, None, list[AnnotatedField]]:
    """Return made-up smears with all their cells, at the network's scale; yield a `Step` for each."""
    fields = []
    for done in range(number):
        yield Step("made", done, number, "Drawing smears")
        image, cells = _made_smear(np.random.default_rng((seed, done)))
        fields.append(annotated_field(normalise(image, normalisation), cells, complete=True))
    return fields


def _made_smear(rng: np.random.Generator) -> tuple[Image, Cells]:
    """Return one smear as an unknown microscope might show it, and its cells."""
    smear = synthetic_smear(
        int(rng.integers(2**31)),
        SynthSettings(
            diameter_px=float(np.exp(rng.uniform(np.log(26), np.log(64)))),
            n_cells=int(rng.integers(30, 130)),
            overlapping=float(rng.uniform(0.05, 0.4)),
            n_platelets=int(rng.integers(0, 20)),
            stain=float(np.exp(rng.uniform(np.log(0.35), np.log(1.8)))),
            stain_variation=0.3,
            blur_px=float(rng.uniform(0.5, 2.0)),
            noise=float(rng.uniform(1, 6)),
        ),
    )
    image, cells = smear.image, smear.cells
    if rng.random() < _VIGNETTED:
        image = _vignetted(image, rng)
    return _round(image, cells, rng) if rng.random() < _ROUND else (image, cells)


def _vignetted(image: Image, rng: np.random.Generator) -> Image:
    """Return an image whose light falls off strongly towards the corners."""
    height, width = image.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - rng.uniform(0.2, 0.6) * (y**2 + x**2) / 2
    return np.asarray((image * light[..., None]).round(), dtype=np.uint8)


def _round(image: Image, cells: Cells, rng: np.random.Generator) -> tuple[Image, Cells]:
    """Return a round field on black, with the cells that it shows, cut at the rim."""
    shape = np.array(image.shape[:2])
    centre, radius = shape / 2 + rng.normal(0, 12, 2), shape.min() * rng.uniform(0.42, 0.58)
    y, x = np.ogrid[: shape[0], : shape[1]]
    light = np.clip((radius - np.hypot(y - centre[0], x - centre[1])) / rng.uniform(1, 5), 0, 1)
    dark = np.maximum(image * light[..., None], _BLACK).round().astype(np.uint8)
    outlines = [_within(outline, centre, radius) for outline in cells.outlines]
    areas = np.array([polygon_area(outline) for outline in outlines], dtype=np.float32)
    boxes = np.array([[*o.min(axis=0), *o.max(axis=0)] for o in outlines], np.float32).reshape(-1, 4)
    seen = (areas >= _LEAST_SEEN * cells.area_px) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    kept, cut = cells.take(seen), areas < cells.area_px - 1
    mine = tuple(outline for outline, row in zip(outlines, seen, strict=True) if row)
    touches = kept.touches_border | cut[seen]
    return dark, replace(kept, boxes=boxes[seen], outlines=mine, area_px=areas[seen], touches_border=touches)


def _within(outline: NDArray[np.float32], centre: NDArray[np.float64], radius: float) -> NDArray[np.float32]:
    """Return an outline whose points outside a disc are moved to its rim."""
    away = outline - centre
    distance = np.linalg.norm(away, axis=1, keepdims=True)
    return np.asarray(centre + away * np.minimum(1.0, radius / np.maximum(distance, 1e-6)), np.float32)

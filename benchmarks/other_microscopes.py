"""Scale, recall and precision on microscopes that the detector never saw, and on made fields.

Usage: python -m benchmarks.other_microscopes DATA [--images 20] [--made 4] [--only SET ...] [--json FILE]

DATA holds ``other_microscopes`` and ``chula_slides``. Images with an odd number are measured; choices were
made on the even ones. "scale" is the share of fields whose diameter lies within x0.75 to 1.33 of the median
annotated box; recall and precision count whole red cells, at an intersection over union of 0.5. "before" is
the diameter of lone round objects alone, "after" the one that the detector agrees with, "folder" the one
after the images beside a field were asked, where it is doubtful or has few whole cells. Made fields, which
lie in no folder, are Chula fields rescaled, and behind a black surround of three sizes; their truth is what
is found in the field as it is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.transform import rescale

from napari_amil.core.base.events import drain
from napari_amil.core.base.types import Image
from napari_amil.core.detection.predict import find_in_input
from napari_amil.core.detection.scale import seen_diameter
from napari_amil.core.detection.select import Candidates
from napari_amil.core.detection.validation import box_iou
from napari_amil.core.images.fields import as_field
from napari_amil.core.instances.extract import prepare
from napari_amil.core.instances.find_cells import detect_prepared
from napari_amil.core.pipeline import Recipe, load_bundle, pick_device, read_image

SETS = ("pbc", "w575", "chula_slides", "rescaled", "disc on black")
DIAMETERS_PX = (12, 20, 60, 110, 180, 250)
DISCS = (1.0, 0.8, 0.6)  # of the shorter side
_CHULA_PX = 38.0  # typical diameter there
_SAME_BOX = 0.5
_RIGHT = (0.75, 1.33)
_CUT_PX = 2.0

Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class Truth:
    """An image with the boxes y0, x0, y1, x1 of its red cells, and which of them are whole."""

    image: Image
    boxes: Boxes
    whole: NDArray[np.bool_]
    path: Path | None = None

    @property
    def diameter_px(self) -> float:
        """Median diameter of the whole cells."""
        judged = self.boxes[self.whole] if self.whole.any() else self.boxes
        return float(np.median(np.sqrt((judged[:, 2:] - judged[:, :2]).prod(axis=1))))


Finder = Callable[[Truth], tuple[float, Candidates]]


@dataclass
class Tally:
    """Counts and times of one method on one set of images."""

    right: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    found: int = 0
    truth: int = 0
    correct: int = 0
    judged: int = 0

    def row(self) -> dict[str, float]:
        """Return the figures."""
        return {
            "scale": float(np.mean(self.right)),
            "recall": self.found / max(self.truth, 1),
            "precision": self.correct / max(self.judged, 1),
            "seconds": float(np.mean(self.seconds)),
            "fields": len(self.right),
            "cells": self.truth,
        }


def without_cut(boxes: Boxes, image: Image) -> Truth:
    """Return boxes, of which those that the border of the image cuts are no whole cells."""
    limits = np.array(image.shape[:2]) - _CUT_PX
    whole = (boxes[:, :2] > _CUT_PX).all(axis=1) & (boxes[:, 2:] < limits).all(axis=1)
    return Truth(image, boxes, whole)


def annotated(data: Path, name: str, n_images: int) -> Iterator[Truth]:
    """Yield images of a set with odd numbers and their annotated red cells."""
    folder, table = data / "other_microscopes", "boxes.csv"
    if name == "chula_slides":
        folder, table = data / name, "cells.csv"
    cells = pd.read_csv(folder / table)
    if name == "chula_slides":
        cells = cells[cells["exhaustive"].astype(bool)]
    else:
        cells = cells[(cells["kind"] == "RBC") & cells["image"].str.startswith(f"{name}/")]
    odd = [i for i in sorted(cells["image"].unique()) if int(Path(i).stem) % 2]
    for image in odd[:: max(len(odd) // n_images, 1)][:n_images]:
        rows = cells[cells["image"] == image]
        boxes = rows[["y0", "x0", "y1", "x1"]].to_numpy(np.float32)
        yield replace(without_cut(boxes, read_image(folder / image)), path=folder / image)


def made(data: Path, name: str, n_images: int, find: Finder) -> Iterator[Truth]:
    """Yield Chula fields, rescaled or behind a black surround, with the cells found in them as they are."""
    for seen in annotated(data, "chula_slides", n_images):
        centre = np.array(seen.image.shape[:2]) / 2
        boxes, cut = _found(find(seen)[1])
        if name == "rescaled":
            for diameter in DIAMETERS_PX:
                yield _rescaled(seen.image, boxes, diameter / _CHULA_PX)
            continue
        for size in DISCS:
            radius = size * centre.min()
            corners = np.stack([boxes[:, [i, j]] for i in (0, 2) for j in (1, 3)])
            inside = (np.hypot(*(corners - centre).transpose(2, 0, 1)) < radius - 6).all(axis=0)
            y, x = np.ogrid[: seen.image.shape[0], : seen.image.shape[1]]
            dark = np.hypot(y - centre[0], x - centre[1]) > radius
            yield Truth(np.where(dark[..., None], 4, seen.image).astype(np.uint8), boxes, inside & ~cut)


def _rescaled(image: Image, boxes: Boxes, factor: float) -> Truth:
    """Return a part of a field that is not larger than 2000 pixels when rescaled."""
    side = int(min(2000 / factor, *image.shape[:2]))
    part = rescale(image[:side, :side], factor, channel_axis=2, anti_aliasing=factor < 1)
    pixels = np.asarray((part * 255).round(), dtype=np.uint8)
    near = (boxes[:, :2] < side - 3).all(axis=1)
    return without_cut(np.minimum(boxes[near], side) * np.float32(factor), pixels)


def finders(recipe: Recipe) -> dict[str, Finder]:
    """Return the ways to detect cells, each with the diameter that it took for typical."""

    def before(truth: Truth) -> tuple[float, Candidates]:
        view = prepare(as_field(truth.image), recipe).view
        work = find_in_input(recipe.bundle.need_detector(), view, recipe.settings.detection, recipe.device)
        return seen_diameter(view), drain(work)

    def after(truth: Truth) -> tuple[float, Candidates]:
        seen, candidates = drain(detect_prepared(prepare(as_field(truth.image), recipe), recipe))
        return seen_diameter(seen.view), candidates

    def folder(truth: Truth) -> tuple[float, Candidates]:
        here = replace(recipe, place=truth.path and (truth.path, 0))
        seen, candidates = drain(detect_prepared(prepare(as_field(truth.image), here), here))
        return seen_diameter(seen.view), candidates

    return {"before": before, "after": after, "folder": folder}


def count(truth: Truth, find: Finder, recipe: Recipe, tally: Tally) -> None:
    """Add the counts and times of one field to ``tally``."""
    started = time.perf_counter()
    diameter, candidates = find(truth)
    tally.seconds.append(time.perf_counter() - started)
    cells = candidates.select(recipe.settings.selection)
    tally.right.append(bool(_RIGHT[0] <= diameter / truth.diameter_px <= _RIGHT[1]))
    same = box_iou(truth.boxes, cells.boxes) >= _SAME_BOX
    judged = ~cells.touches_border
    tally.truth += int(truth.whole.sum())
    tally.found += int(same.any(axis=1)[truth.whole].sum())
    tally.judged += int(judged.sum())
    tally.correct += int(same.any(axis=0)[judged].sum())


def _found(candidates: Candidates) -> tuple[Boxes, NDArray[np.bool_]]:
    """Return boxes with a score of at least 0.5, and which the border cuts."""
    sure = candidates.cells.detection_score >= 0.5
    return candidates.cells.boxes[sure], candidates.cells.touches_border[sure]


def main(arguments: list[str] | None = None) -> None:
    """Print one row per set and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=20, help="images of each set")
    parser.add_argument("--made", type=int, default=4, help="Chula fields from which others are made")
    parser.add_argument("--only", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args(arguments)
    recipe = Recipe.from_bundle(load_bundle(wanted.bundle), None, pick_device("auto"))
    methods = finders(recipe)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name in wanted.only:
        if name in SETS[:3]:
            fields = annotated(wanted.data, name, wanted.images)
        else:
            fields = made(wanted.data, name, wanted.made, methods["before"])
        tallies = {method: Tally() for method in methods}
        for truth in fields:
            for method, find in methods.items():
                count(truth, find, recipe, tallies[method])
        results[name] = {method: tally.row() for method, tally in tallies.items()}
        for method, row in results[name].items():
            print(f"{name:14} {method:7}", *(f"{key} {value:.3g}" for key, value in row.items()), flush=True)
    if wanted.json:
        wanted.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()

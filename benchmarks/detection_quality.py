"""Recall and precision of a detector on the held-out slides of Chula RBC-12, as they are and changed.

Usage: python -m benchmarks.detection_quality CHULA_FOLDER [--bundle FILE] [--fold 2] [--every 1]
       [--images NAME ...] [--only ROW ...] [--json FILE]

A labelled centre counts as found when it lies inside a box matched one to one; precision is judged
only in images that are labelled exhaustively, and half cells at the border are judged only if they
match, since they carry no label. The images are those of the given fold of ``bags.csv``: whole
slides that the starter bundle never saw. Each is measured as it is, by classical segmentation too,
after rescaling, under other exposures and colours (`changed_smears`), and in small tiles. "touching" is
the recall of labelled cells that have another at most 1.1 diameters away; "count" the number of cells over
that in the unchanged images.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree
from skimage.measure import regionprops

from benchmarks.changed_smears import SCALES, Change, colour_changes, rescaled
from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import DetectionSettings
from napari_amil.core.base.types import Cells, Image
from napari_amil.core.detection.classical import segment_classically
from napari_amil.core.detection.validation import DetectionCount, count_centres
from napari_amil.core.images.foreground import typical_diameter
from napari_amil.core.images.normalise import normalise
from napari_amil.core.pipeline import Recipe, RunSettings, detect_field, load_bundle, pick_device, read_image

AS_IS = "as it is"
CLASSICAL = "Otsu and watershed, as it is"
_SMALL_TILE_PX = 256
_TOUCHING = 1.1  # diameters between centres

Finder = Callable[[Image], Cells]


@dataclass
class Tally:
    """Counts of detected and labelled cells under one condition."""

    count: DetectionCount = field(default_factory=DetectionCount)
    n_cells: int = 0
    n_touching: int = 0
    n_touching_found: int = 0
    per_image: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, name: str, cells: Cells, rows: pd.DataFrame, scale: float) -> None:
        """Count one image whose sides are ``scale`` times those of the labelled one."""
        centres = rows[["y", "x"]].to_numpy(np.float64) * scale
        one = count_centres(cells, centres, bool(rows["exhaustive"].all()))
        touching = touching_cells(rows)
        self.count += one
        self.n_cells += len(cells)
        self.n_touching += int(touching.sum())
        self.n_touching_found += int(found_centres(cells, centres)[touching].sum())
        self.per_image[name] = one.n_found, one.n_truth

    def row(self, reference: int) -> dict[str, float]:
        """Return the figures, the number of cells relative to ``reference``."""
        return {
            "recall": self.count.recall,
            "touching": self.n_touching_found / max(self.n_touching, 1),
            "precision": self.count.precision,
            "doubled": self.count.n_doubled / self.count.n_truth,
            "count": self.n_cells / reference,
            "n": self.count.n_truth,
            "judged": self.count.n_judged,
        }


def labelled_images(data: Path, fold: int) -> dict[str, pd.DataFrame]:
    """Return the labelled cells of every image that belongs to a fold."""
    bags = pd.read_csv(data / "bags.csv")
    images = set(bags.loc[bags["fold"] == fold, "image"])
    cells = pd.read_csv(data / "cells.csv")
    return {str(image): rows for image, rows in cells.groupby("image") if image in images}


def touching_cells(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Return a mask of labelled cells with a labelled neighbour closer than 1.1 typical diameters."""
    diameter = float(np.sqrt((rows["y1"] - rows["y0"]) * (rows["x1"] - rows["x0"])).median())
    centres = rows[["y", "x"]].to_numpy(np.float64)
    if len(centres) < 2:
        return np.zeros(len(centres), dtype=bool)
    nearest = KDTree(centres).query(centres, k=2)[0][:, 1]
    return np.asarray(nearest < _TOUCHING * diameter, dtype=bool)


def found_centres(cells: Cells, centres: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a mask of labelled centres inside a box that is matched to them one to one."""
    within = (centres[:, None] >= cells.boxes[None, :, :2]) & (centres[:, None] <= cells.boxes[None, :, 2:])
    inside = within.all(axis=2)
    rows, columns = linear_sum_assignment(~inside)
    found = np.zeros(len(centres), dtype=bool)
    found[rows] = inside[rows, columns]
    return found


def classical(image: Image) -> Cells:
    """Return the cells that Otsu's threshold and a watershed find without a network."""
    normalised = normalise(image)
    labels: NDArray[np.int32] = segment_classically(normalised, typical_diameter(normalised))
    boxes = np.array([region.bbox for region in regionprops(labels)], np.float32).reshape(-1, 4)
    limits = np.array(labels.shape)
    touches = (boxes[:, :2] <= 0).any(axis=1) | (boxes[:, 2:] >= limits).any(axis=1)
    return Cells(boxes, touches_border=touches)


def by_network(recipe: Recipe) -> Finder:
    """Return the detector of a bundle with preparation and selection."""
    return lambda image: drain(detect_field(image, recipe)).select(recipe.settings.selection)


def conditions(bundle: Path | None) -> dict[str, tuple[Finder, Change, float]]:
    """Return finder, change of the image and scale of every row of the table."""
    device, loaded = pick_device("auto"), load_bundle(bundle)
    network = by_network(Recipe.from_bundle(loaded, None, device))
    small = RunSettings(detection=DetectionSettings(tile_px=_SMALL_TILE_PX))
    in_tiles = by_network(Recipe.from_bundle(loaded, small, device))

    def unchanged(image: Image) -> Image:
        return image

    def scaling(factor: float) -> Change:
        return lambda image: rescaled(image, factor)

    table: dict[str, tuple[Finder, Change, float]] = {
        AS_IS: (network, unchanged, 1.0),
        CLASSICAL: (classical, unchanged, 1.0),
        f"in tiles of {_SMALL_TILE_PX} px": (in_tiles, unchanged, 1.0),
    }
    table |= {f"rescaled x {factor}": (network, scaling(factor), factor) for factor in SCALES}
    return table | {name: (network, change, 1.0) for name, change in colour_changes().items()}


def main(arguments: list[str] | None = None) -> None:
    """Print one row per condition."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--fold", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="take only every N-th image")
    parser.add_argument("--images", nargs="*", help="only these images, such as images/1.jpg")
    parser.add_argument("--only", nargs="*", help="names of rows, or beginnings of them")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    table = conditions(chosen.bundle)
    if chosen.only:
        wanted = (AS_IS, *chosen.only)
        table = {name: row for name, row in table.items() if name.startswith(wanted)}
    images = dict(list(labelled_images(chosen.data, chosen.fold).items())[:: chosen.every])
    if chosen.images:
        images = {name: rows for name, rows in images.items() if name in chosen.images}
    tallies = {name: Tally() for name in table}
    for image_name, rows in images.items():
        image = read_image(chosen.data / image_name)
        for name, (find, change, scale) in table.items():
            tallies[name].add(image_name, find(change(image)), rows, scale)
        if chosen.json:  # after every image, since all of them take long
            chosen.json.write_text(json.dumps(as_record(tallies), indent=2), encoding="utf-8")
    show(tallies, chosen.fold)


def as_record(tallies: dict[str, Tally]) -> dict[str, dict[str, object]]:
    """Return the figures, and found and labelled cells of every image."""
    reference = tallies[AS_IS].n_cells
    rows: dict[str, object] = {name: tally.row(reference) for name, tally in tallies.items()}
    return {"rows": rows, "images": {name: tally.per_image for name, tally in tallies.items()}}


def show(tallies: dict[str, Tally], fold: int) -> None:
    """Print one row per condition, and the counts of the fullest image."""
    as_is = tallies[AS_IS]
    n_judged = as_is.count.n_judged
    print(
        f"{len(as_is.per_image)} images, {as_is.count.n_truth} labelled cells, fold {fold}, {n_judged} judged"
    )
    print(f"{'':30} recall  touching  precision  doubled  count")
    for name, tally in tallies.items():
        row = tally.row(as_is.n_cells)
        shares = f"{row['recall']:6.4f}  {row['touching']:8.4f}  {row['precision']:9.4f}"
        print(f"{name:30} {shares}  {row['doubled']:7.4f}  {row['count']:5.3f}")
    fullest = max(as_is.per_image, key=lambda name: as_is.per_image[name][1])
    n_found, n_labelled = as_is.per_image[fullest]
    print(f"{fullest} has the most labelled cells: {n_found} of {n_labelled} found")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()

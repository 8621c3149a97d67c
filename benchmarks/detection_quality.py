"""Recall and precision of a detector on the held-out slides of Chula RBC-12, beside classical segmentation.

Usage: python benchmarks/detection_quality.py CHULA_FOLDER [--bundle FILE] [--fold 2] [--json FILE]

A labelled centre counts as found when it lies inside a box matched one to one; precision is judged
only in images that are labelled exhaustively, and half cells at the border are judged only if they
match, since they carry no label. The images are those of the given fold of ``bags.csv``: whole
slides that the starter bundle never saw.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from skimage.measure import regionprops

from napari_amil.core.detection.bootstrap import segment_classically
from napari_amil.core.detection.metrics import DetectionCount, count_centres
from napari_amil.core.events import drain
from napari_amil.core.images.foreground import typical_diameter
from napari_amil.core.images.normalise import normalise
from napari_amil.core.pipeline import Recipe, detect_field, load_bundle, pick_device, read_image
from napari_amil.core.types import Cells, Image


def labelled_images(data: Path, fold: int) -> dict[str, pd.DataFrame]:
    """Return the labelled cells of every image that belongs to a fold."""
    bags = pd.read_csv(data / "bags.csv")
    images = set(bags.loc[bags["fold"] == fold, "image"])
    cells = pd.read_csv(data / "cells.csv")
    return {str(image): rows for image, rows in cells.groupby("image") if image in images}


def classical(image: Image) -> Cells:
    """Return what Otsu and watershed alone find."""
    normalised = normalise(image)
    labels: NDArray[np.int32] = segment_classically(normalised, typical_diameter(normalised))
    boxes = np.array([region.bbox for region in regionprops(labels)], np.float32).reshape(-1, 4)
    limits = np.array(labels.shape)
    touches = (boxes[:, :2] <= 0).any(axis=1) | (boxes[:, 2:] >= limits).any(axis=1)
    return Cells(boxes, touches_border=touches)


def main() -> None:
    """Print one row per method."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--fold", type=int, default=2)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    recipe = Recipe.of(load_bundle(chosen.bundle), None, pick_device("auto"))
    totals = {"Mask R-CNN": DetectionCount(), "Otsu and watershed": DetectionCount()}
    images = labelled_images(chosen.data, chosen.fold)
    for name, rows in images.items():
        image = read_image(chosen.data / name)
        found = {
            "Mask R-CNN": drain(detect_field(image, recipe)).select(recipe.settings.selection),
            "Otsu and watershed": classical(image),
        }
        centres = rows[["y", "x"]].to_numpy(np.float64)
        for method, cells in found.items():
            totals[method] += count_centres(cells, centres, bool(rows["exhaustive"].all()))
    print(f"{len(images)} images, {totals['Mask R-CNN'].n_truth} labelled cells, fold {chosen.fold}")
    for method, count in totals.items():
        doubled = count.n_doubled / count.n_truth
        line = (
            f"{method:20} recall {count.recall:.4f}  precision {count.precision:.4f}  doubled {doubled:.4f}"
        )
        print(f"{line}  judged {count.n_judged}")
    if chosen.json:
        rows_out = {
            method: {
                "recall": c.recall,
                "precision": c.precision,
                "doubled": c.n_doubled / c.n_truth,
                "n": c.n_truth,
            }
            for method, c in totals.items()
        }
        chosen.json.write_text(json.dumps(rows_out, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()

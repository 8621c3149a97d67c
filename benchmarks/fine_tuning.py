"""Make an annotated set that the starter detector finds hard, to fine-tune it on.

Usage: python -m benchmarks.fine_tuning CHULA_FOLDER OUT [--look hard|unstained]
       napari-amil train-detector OUT --out RUN

Takes the images of Chula RBC-12 in which every whole cell is labelled. The outlines are those that the
starter detector finds around a labelled centre in the original image, and of cut cells at the border.
The images are then changed. ``hard``: reduced to 0.6, out of focus, another stain on a yellow ground, noise.
``unstained``: bright rims, cells within as bright as the ground (`changed_smears.unstained`), noise.
Neighbouring image numbers are one slide, which counts as a patient.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image as PillowImage
from scipy import ndimage
from scipy.optimize import linear_sum_assignment
from skimage.transform import rescale

from benchmarks.changed_smears import unstained
from napari_amil.core.base.events import drain
from napari_amil.core.base.types import Cells, Image
from napari_amil.core.exchange.coco import write_coco
from napari_amil.core.pipeline import Recipe, detect_field, load_bundle, pick_device, read_image

SCALE = 0.6
FOCUS_PX, NOISE = 2.0, 0.03
STAIN, GROUND = (1.4, 0.75, 0.9), (0.92, 0.86, 0.66)


def labelled(cells: Cells, centres: np.ndarray) -> Cells:
    """Return the detections that hold a labelled centre of their own, and those that the border cuts."""
    inside = (
        (centres[:, None] >= cells.boxes[None, :, :2]) & (centres[:, None] <= cells.boxes[None, :, 2:])
    ).all(2)
    middle = (cells.boxes[:, :2] + cells.boxes[:, 2:]) / 2
    far = np.linalg.norm(centres[:, None] - middle[None], axis=2)
    rows, columns = linear_sum_assignment(np.where(inside, far, 1e6))
    kept = cells.touches_border.copy()
    kept[columns[inside[rows, columns]]] = True
    return cells.take(kept)


def scaled(cells: Cells, scale: float) -> Cells:
    """Return cells of the image with ``scale`` times as many pixels per side."""
    outlines = tuple(outline * np.float32(scale) for outline in cells.outlines)
    return Cells(cells.boxes * np.float32(scale), outlines, area_px=cells.area_px * scale**2)


def hardened(image: Image, rng: np.random.Generator) -> Image:
    """Return the image reduced, blurred and in another stain."""
    light = np.clip(ndimage.gaussian_filter(image / 255.0, (FOCUS_PX, FOCUS_PX, 0)), 0.02, 1)
    ground = np.percentile(light, 95, axis=(0, 1))
    stained = np.asarray(GROUND) * (np.minimum(light / ground, 1) ** np.asarray(STAIN))
    small = rescale(stained, SCALE, channel_axis=2, anti_aliasing=True)
    return (np.clip(small + NOISE * rng.standard_normal(small.shape), 0, 1) * 255).round().astype(np.uint8)


def main() -> None:
    """Write images, ``cells.coco.json`` and ``patients.csv``."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--look", choices=("hard", "unstained"), default="hard")
    chosen = parser.parse_args()
    table = pd.read_csv(chosen.data / "cells.csv")
    table = table[table["exhaustive"] == 1]
    numbers = sorted(int(Path(name).stem) for name in table["image"].unique())
    slide = table.drop_duplicates("image").set_index("image")["slide"]
    recipe = Recipe.from_bundle(load_bundle(None), None, pick_device("auto"))
    rng, found, patients = np.random.default_rng(0), {}, []
    (chosen.out / "images").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        image = read_image(chosen.data / "images" / f"{number}.jpg")
        cells = drain(detect_field(image, recipe)).select(recipe.settings.selection)
        centres = table.loc[table["image"] == f"images/{number}.jpg", ["y", "x"]].to_numpy(float)
        changed = unstained(image, NOISE, rng) if chosen.look == "unstained" else hardened(image, rng)
        scale = changed.shape[1] / image.shape[1]
        PillowImage.fromarray(changed).save(chosen.out / "images" / f"{number}.png")
        found[f"images/{number}.png"] = (changed.shape[:2], scaled(labelled(cells, centres), scale))
        patients.append((f"images/{number}.png", f"slide-{slide[f'images/{number}.jpg']}"))
    write_coco(found, chosen.out / "cells.coco.json")
    pd.DataFrame(patients, columns=["image", "patient"]).to_csv(chosen.out / "patients.csv", index=False)
    n_cells = sum(len(cells) for _, cells in found.values())
    print(f"{len(found)} images of {slide.nunique()} slides, {n_cells} cells: {chosen.out}")


if __name__ == "__main__":
    main()

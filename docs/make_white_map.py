"""Lay out real white cells by their embedding: ``python docs/make_white_map.py DATA --bundle FILE``.

DATA holds ``other_microscopes``: white cells of two microscopes, with boxes and without types. Each is cut
out as an analyser would photograph it, a square of 1.6 typical diameters; ten fields count as a patient. A
model of cell images (``--bundle``, of a preset ``lympho-...``) scores them, t-SNE lays them out as the
Embedding map does, and k-means makes six groups of their embeddings. Writes ``docs/images/white-map.jpg`` and
prints the medians of named measurements of each group.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw
from sklearn.cluster import KMeans

from napari_amil import load_results
from napari_amil.core.evaluation.embedding_maps import neighbour_plane

DIAMETERS = 1.6
FIELDS_A_PATIENT = 10
GROUPS = 6
MEASURED = (
    "nucleus_share",
    "nucleus_lobes",
    "nucleus_solidity",
    "chromatin_contrast",
    "granularity",
    "cytoplasm_density",
)
SIZE, TILE = (1280, 900), 44
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
_TARGET = Path(__file__).parent / "images" / "white-map.jpg"


def cut_out(data: Path, out: Path) -> None:
    """Write a cohort of cell images: the white cells that lie wholly inside their fields."""
    boxes = pd.read_csv(data / "other_microscopes" / "boxes.csv")
    boxes = boxes[boxes["kind"] == "WBC"].assign(
        microscope=lambda table: table["image"].str.split("/").str[0]
    )
    ids = []
    for microscope, own in boxes.groupby("microscope"):
        typical = np.sqrt((own["y1"] - own["y0"]) * (own["x1"] - own["x0"])).median()
        half = round(DIAMETERS * typical / 2)
        for number, (image, rows) in enumerate(own.groupby("image")):
            field = PillowImage.open(data / "other_microscopes" / str(image)).convert("RGB")
            patient = f"{microscope}-{number // FIELDS_A_PATIENT:02}"
            for cell, row in enumerate(rows.itertuples()):
                y, x = round((row.y0 + row.y1) / 2), round((row.x0 + row.x1) / 2)
                square = (x - half, y - half, x + half, y + half)
                if min(square) < 0 or square[2] > field.width or square[3] > field.height:
                    continue
                place = out / patient / f"{Path(str(image)).stem}-{cell}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                field.crop(square).save(place)
                ids.append(patient)
    pd.DataFrame({"ID": sorted(set(ids)), "LABEL": ""}).to_csv(out / "clinical_data.csv", index=False)


def drawn(
    pictures: list[PillowImage.Image], places: NDArray[np.float64], groups: NDArray[np.int64]
) -> PillowImage.Image:
    """Return the map: cells in frames of their groups; those that would cover another are left out."""
    canvas = PillowImage.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(canvas)
    low, high = places.min(axis=0), places.max(axis=0)
    at = (places - low) / (high - low) * (np.array(SIZE) - TILE - 8) + 4
    taken: list[NDArray[np.float64]] = []
    for place, picture, group in zip(at, pictures, groups, strict=True):
        if taken and np.abs(np.array(taken) - place).max(axis=1).min() < TILE + 2:
            continue
        taken.append(place)
        x, y = map(round, place)
        canvas.paste(picture.resize((TILE, TILE)), (x, y))
        pen.rectangle((x - 2, y - 2, x + TILE + 1, y + TILE + 1), outline=COLOURS[group], width=3)
    return canvas


def main() -> None:
    """Write the map and print the groups."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", type=Path, required=True)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cohort, scored = Path(folder, "cells"), Path(folder, "scored")
        cut_out(chosen.data, cohort)
        command = ["score", str(cohort), "--bundle", str(chosen.bundle), "--out", str(scored)]
        subprocess.run([sys.executable, "-m", "napari_amil", *command], check=True)
        results = load_results(scored)
        kept = (results.cells["status"] == "scored").to_numpy()
        cells, embeddings = results.cells[kept], results.embeddings[kept]
        standardised = (embeddings - embeddings.mean(axis=0)) / embeddings.std(axis=0)
        groups = KMeans(GROUPS, n_init=10, random_state=0).fit_predict(standardised)
        places = neighbour_plane(embeddings, np.zeros(len(embeddings), bool))
        pictures = [PillowImage.open(cohort / image) for image in cells["image"]]
        drawn(pictures, places, groups).save(_TARGET, quality=80)
    table = cells[[f"morph_{name}" for name in MEASURED]].groupby(groups).median().round(2)
    microscope = pd.crosstab(groups, cells["bag"].str.split("-").str[0].to_numpy())
    colours = pd.Series(dict(enumerate(COLOURS)), name="colour")
    sys.stdout.write(f"{pd.concat([microscope, table, colours], axis=1).to_string()}\n{_TARGET}\n")


if __name__ == "__main__":
    main()

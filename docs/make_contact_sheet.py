"""Score the disease fields of Chula RBC-12 and put the most anomalous cells side by side.

Usage: python docs/make_contact_sheet.py DISEASES [--bundle FILE] [--tables FOLDER]

Writes ``docs/images/diseases.jpg``: per disease the twelve most anomalous whole cells, at most two
of one field, under their distance to the control Gaussian. ``--tables`` takes the folder of an
earlier ``napari-amil score DISEASES --out FOLDER`` instead of scoring again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image as PillowImage

from napari_amil.core.base.events import drain
from napari_amil.core.evaluation.contact_sheet import contact_sheet, cut
from napari_amil.core.pipeline import Recipe, load_bundle, open_source, pick_device, read_image, score_source

_TARGET = Path(__file__).parent / "images" / "diseases.jpg"
_CELLS, _PER_FIELD, _SIDE_PX = 12, 2, 96
_NAMES = {"he": "hereditary elliptocytosis", "hs": "hereditary spherocytosis"}


def scored_cells(data: Path, bundle: Path | None, tables: Path | None) -> pd.DataFrame:
    """Return the scored cells of every disease field; the image column is relative to ``diseases``."""
    if tables:
        return pd.read_csv(tables / "cells.csv")
    recipe = Recipe.from_bundle(load_bundle(bundle), None, pick_device("auto"))
    return drain(score_source(open_source([data], "control"), recipe)).cells


def most_anomalous(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the most anomalous whole cells, few of each field."""
    ranked = cells[cells["status"] == "scored"].sort_values("anomaly", ascending=False)
    return ranked.groupby("image").head(_PER_FIELD).head(_CELLS)


def crop(data: Path, row: pd.Series) -> np.ndarray:
    """Return the cell on a square three cells of its field wide, at one size for all magnifications."""
    image = read_image(data / row["image"])
    side_px = 160 if max(image.shape[:2]) > 1000 else 80
    square = cut(image, row[["y0", "x0", "y1", "x1"]].to_numpy(float), side_px)
    return np.asarray(PillowImage.fromarray(square).resize((_SIDE_PX, _SIDE_PX)))


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--tables", type=Path)
    chosen = parser.parse_args()
    cells = scored_cells(chosen.data, chosen.bundle, chosen.tables)
    sheets = []
    for disease, rows in cells.groupby(cells["image"].str.split("/").str[0]):
        best = most_anomalous(rows)
        crops = [crop(chosen.data, row) for _, row in best.iterrows()]
        captions = [f"d = {value:.1f}" for value in best["anomaly"]]
        title = f"{_NAMES.get(disease, disease.replace('_', ' '))}: {rows['image'].nunique()} fields"
        sheets.append(contact_sheet(crops, captions, _CELLS, title))
    width = max(sheet.shape[1] for sheet in sheets)
    padded = [np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in sheets]
    PillowImage.fromarray(np.concatenate(padded)).save(_TARGET, quality=88)
    sys.stdout.write(f"{len(cells)} cells; the sheet is {_TARGET}\n")


if __name__ == "__main__":
    main()

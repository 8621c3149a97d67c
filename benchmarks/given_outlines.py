"""Scores of cells that were exported as outlines and are given back, unchanged and moved a little.

Usage: python -m benchmarks.given_outlines DATA [--images 3]

DATA holds ``chula_slides``. The cells found in fields of fold 2 are written as GeoJSON without what only this
program needs, as QuPath writes them, and scored again: as they are, moved by half a pixel down and to the
right, each by up to half a pixel at random, and with corners rounded to whole pixels.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.events import drain
from napari_amil.core.base.types import Cells
from napari_amil.core.exchange.geojson import write_geojson
from napari_amil.core.instances.given_cells import give_cells
from napari_amil.core.instances.sources import Source, open_source
from napari_amil.core.pipeline import Recipe, load_bundle, pick_device
from napari_amil.core.scoring.score import Scored, score_source

Outline = NDArray[np.float32]
Change = Callable[[Outline], Outline]
RANDOM = np.random.default_rng(0)
CHANGES: dict[str, Change] = {
    "unchanged": lambda outline: outline,
    "half a pixel": lambda outline: outline + np.float32(0.5),
    "at random": lambda outline: outline + RANDOM.uniform(-0.5, 0.5, 2).astype(np.float32),
    "whole pixels": np.round,
}


def given_back(
    scored: Scored, source: Source, recipe: Recipe, change: Callable[[Outline], Outline]
) -> Scored:
    """Return the scores of the outlines after they went through files of another program."""
    with tempfile.TemporaryDirectory() as folder:
        for image, rows in scored.cells.groupby("image", sort=False).indices.items():
            outlines = tuple(change(scored.outlines[row]) for row in rows)
            boxes = np.array([[*line.min(axis=0), *line.max(axis=0)] for line in outlines], np.float32)
            file = Path(folder, Path(str(image)).stem + ".geojson")
            write_geojson(Cells(boxes, outlines), None, file)
            known = json.loads(file.read_text())
            known.pop("napari_amil", None)
            file.write_text(json.dumps(known))
        return drain(score_source(drain(give_cells(source, Path(folder), recipe)), recipe))


def differences(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of cells before and after, joined by image and the nearest centre."""
    parts = []
    for image, own in before.groupby("image", sort=False):
        others = after[after["image"] == image]
        first, last = (
            table[["y0", "x0"]].to_numpy() + table[["y1", "x1"]].to_numpy() for table in (own, others)
        )
        distance = np.abs(first[:, None] - last[None]).max(axis=2) / 2
        near, best = distance.min(axis=1) < 3, distance.argmin(axis=1)
        columns = ["anomaly", "anomaly_percentile", "anomaly_se"]
        joined = own[near][columns].reset_index(drop=True)
        parts.append(joined.join(others.iloc[best[near]][columns].reset_index(drop=True), rsuffix="_after"))
    return pd.concat(parts).dropna()


def _centres(cells: pd.DataFrame) -> NDArray[np.float64]:
    return (cells[["y0", "x0"]].to_numpy() + cells[["y1", "x1"]].to_numpy()) / 2


def main() -> None:
    """Print one row for each change of the outlines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=3)
    wanted = parser.parse_args()
    folder = wanted.data / "chula_slides"
    fields = pd.read_csv(folder / "fields.csv")
    images = fields.loc[fields["fold"] == 2, "image"].unique()[::7][: wanted.images]
    recipe = Recipe.from_bundle(load_bundle(None), None, pick_device("auto"))
    source = open_source([folder / image for image in images], "control")
    scored = drain(score_source(source, recipe))
    for name, change in CHANGES.items():
        both = differences(scored.cells, given_back(scored, source, recipe, change).cells)
        moved = (both["anomaly_after"] / both["anomaly"] - 1).abs()
        points = (both["anomaly_percentile_after"] - both["anomaly_percentile"]).abs()
        within = ((both["anomaly_after"] - both["anomaly"]).abs() <= both["anomaly_se"]).mean()
        parts = (
            f"{len(both)} cells",
            f"anomaly median {moved.median():.3f} p95 {moved.quantile(0.95):.3f} max {moved.max():.3f}",
            f"percentile median {points.median():.1f} p95 {points.quantile(0.95):.1f} max {points.max():.1f}",
            f"within anomaly_se {within:.3f}",
        )
        print(f"{name:12}", "; ".join(parts), flush=True)


if __name__ == "__main__":
    main()

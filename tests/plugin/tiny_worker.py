"""A real child process that speaks the worker's protocol with arithmetic in place of networks."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import find_contours

from napari_amil.core.types import Cells

CLASSES = ("control", "thalassemia", "sickle cell")


def say(record: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def read(path: str) -> np.ndarray:
    pixels = np.load(path) if path.endswith(".npy") else tifffile.imread(path)
    return pixels[..., 1] if pixels.ndim == 3 else pixels


def detect(request: dict[str, Any]) -> dict[str, Any]:
    dark = read(request["image"])
    dark = dark <= threshold_otsu(dark)
    labels, n_found = ndimage.label(ndimage.binary_fill_holes(ndimage.binary_opening(dark, iterations=2)))
    boxes, outlines = [], []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        if number % 20 == 0:
            say(
                {
                    "id": request["id"],
                    "event": "Step",
                    "stage": "detect",
                    "done": number,
                    "total": n_found,
                    "message": "Finding cells",
                }
            )
        part = np.pad(labels[rows, columns] == number, 1)
        contour = max(find_contours(part.astype(float), 0.5), key=len)[:-1]
        outline = contour + np.array([rows.start - 0.5, columns.start - 0.5])
        outlines.append(outline[:: max(len(outline) // 40, 1)])
        boxes.append([rows.start, columns.start, rows.stop, columns.stop])
    cells = Cells(
        np.array(boxes, np.float32),
        tuple(outlines),
        detection_score=np.linspace(1.0, 0.1, len(boxes)),
        area_px=np.bincount(labels.ravel())[1:],
    )
    path = Path(request["out"], "candidates.npz")
    np.savez(path, **cells.arrays())
    diameter = float(np.median(2 * np.sqrt(cells.area_px / np.pi)))
    return {"candidates": str(path), "diameter_px": diameter}


def score(request: dict[str, Any]) -> dict[str, Any]:
    with np.load(request["cells"]) as arrays:
        cells = Cells.from_arrays(dict(arrays))
    typical = np.median(cells.area_px)
    anomaly = 1 + 10 * np.abs(np.log(cells.area_px / typical))
    order = anomaly.argsort().argsort()
    table = pd.DataFrame({"cell_id": cells.cell_id, "anomaly": anomaly})
    table["anomaly_percentile"] = 100 * (order + 0.5) / len(cells)
    table["anomaly_p"] = 1 - table["anomaly_percentile"] / 100
    table["anomaly_q"] = np.minimum(table["anomaly_p"] * 2, 1)
    table["attention"] = anomaly / anomaly.sum()
    table["attention_x_n"] = table["attention"] * len(cells)
    for number, name in enumerate(CLASSES):
        table[f"contribution_{name}"] = (anomaly - anomaly.mean()) * (number - 1) / 100
    path = Path(request["out"], "scores.csv")
    table.sample(frac=1, random_state=0).to_csv(path, index=False)
    probability = dict(zip(CLASSES, (0.21, 0.72, 0.07), strict=True))
    bag = {"predicted": "thalassemia", "probability": probability, "n_cells": len(cells)}
    bag |= {"anomaly_p95": float(np.percentile(anomaly, 95)), "anomalous_fraction": 0.12}
    return {"scores": str(path), "bag": bag, "classes": list(CLASSES)}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    job = request["job"]
    if job == "detect":
        return detect(request)
    if job == "score":
        return score(request)
    if job == "score_cohort":
        say({"id": request["id"], "event": "Step", "stage": "images", "done": 1, "total": 2, "message": "a"})
        return {"folder": request["out"], "n_bags": 3, "n_cells": 15}
    if job == "map":
        path = Path(request["folder"], "map-tsne.npy")
        np.save(path, np.stack([np.arange(15.0), 100 - np.arange(15.0)], axis=1))
        return {"map": str(path)}
    if job == "info":
        return {
            "card": {"name": "tiny", "classes": list(CLASSES), "training": {"epochs": 3, "loss": 0.123456}}
        }
    raise ValueError(f"There is no job called {job}.")


def main() -> None:
    say({"event": "Ready"})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            say({"id": request["id"], "event": "Result", **answer(request)})
        except ValueError as error:
            say({"id": request["id"], "event": "Error", "message": str(error)})


if __name__ == "__main__":
    main()

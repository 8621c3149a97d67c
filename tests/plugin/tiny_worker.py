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

from napari_amil.core.base.types import Cells

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
    path = Path(request["out"], f"scores-{request['id']}.csv")
    table.sample(frac=1, random_state=0).to_csv(path, index=False)
    evidence = Path(request["out"], f"evidence-{request['id']}.npz")
    np.savez(evidence, **evidence_of(table))
    probability = dict(zip(CLASSES, (0.21, 0.72, 0.07), strict=True))
    bag = {"predicted": "thalassemia", "probability": probability, "n_cells": len(cells)}
    bag |= {"anomaly_p95": float(np.percentile(anomaly, 95)), "anomalous_fraction": 0.12}
    bag["bias"] = dict(zip(CLASSES, (0.1, -0.2, 0.3), strict=True))
    sums = {name: float(table[f"contribution_{name}"].sum()) for name in CLASSES}
    bag["logit"] = {name: sums[name] + bag["bias"][name] for name in CLASSES}
    bag |= {"verdict": "thalassemia", "novelty_p": 0.4}
    return {"scores": str(path), "evidence": str(evidence), "bag": bag, "classes": list(CLASSES)}


def evidence_of(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Cells are embedded by their distance alone; the control cells are four grey squares."""
    n, z = len(table), table["anomaly"].to_numpy()[:, None]
    control = np.tile(np.arange(4), (n, 1))
    return {
        "cell_id": table["cell_id"].to_numpy(),
        "z": z,
        "words": np.array([["longer than 99 % of control cells", f"cell {i}"] for i in table["cell_id"]]),
        "anomaly": z[:, 0],
        "control": control,
        "control_distance": control + 0.5,
        "control_picture": np.full((4, 8, 8, 3), 200, np.uint8),
        "control_image": np.array(["a.png", "a.png", "b.png", "b.png"]),
        "control_level": np.array([[50.0, 1.0], [95.0, 3.0], [99.0, 5.0]]),
        "model": np.array("tiny"),
    }


def neighbours(request: dict[str, Any]) -> dict[str, Any]:
    image, cell_id = request["cell"]
    found = {}
    for group, members in request["groups"].items():
        known = {name: dict(np.load(path)) for name, path in members.items()}
        rows = [(name, int(i), 0.25) for name, stored in known.items() for i in stored["cell_id"]]
        found[group] = [row for row in rows if row[:2] != (image, cell_id)][:5]
    return {"cell": [image, cell_id], "groups": found}


def deletion(request: dict[str, Any]) -> dict[str, Any]:
    shares = [0.0, 0.5, 0.9]
    curves = {"contribution": [0.7, 0.2, 0.1], "anomaly": [0.7, 0.4, 0.2], "random": [0.7, 0.6, 0.5]}
    areas = {"probability_area_contribution": 0.3, "probability_area_anomaly": 0.15}
    fields = {"predicted": "thalassemia", "shares": shares, "probability": curves, "areas": areas}
    return {**fields, "logit": curves}


def explore(request: dict[str, Any]) -> dict[str, Any]:
    """The most unusual cell of each bag is the first cluster, the second cell of each the other."""
    folder = Path(request["folder"], "exploration")
    folder.mkdir(exist_ok=True)
    cells = pd.read_csv(folder.parent / "cells.csv")[["bag", "image", "cell_id"]]
    cells["cluster"] = cells["cell_id"].map({3: 1, 2: 2}).fillna(-1).astype(int)
    cells["centre_distance"] = np.where(cells["cluster"] > 0, 15 - np.arange(15.0), np.nan)
    cells.to_csv(folder / "cells.csv", index=False)
    table = pd.DataFrame({"cluster": [1, 2], "n_cells": [3, 3], "n_patients": [2, 2], "anomaly": [13.0, 2.0]})
    table = table.assign(nearest_class="ill", nearest_distance=[2.5, 0.5], in_unseen_bags=1 / 3)
    table.to_csv(folder / "clusters.csv", index=False)
    shares = {"patient": ["p", "q"], "n_cells": [5, 10], "cluster_1": [0.2, 0.2], "cluster_2": [0.2, 0.2]}
    pd.DataFrame(shares).to_csv(folder / "patients.csv", index=False)
    return {"folder": request["folder"], "n_clusters": 2}


def compare(request: dict[str, Any]) -> dict[str, Any]:
    groups = pd.read_csv(request["groups"])
    first, second = sorted(groups["group"].unique())
    line = {"statistic": "anomaly", "first": first, "second": second, "n_first": 1, "n_second": len(groups)}
    path = Path(request["out"], "groups.csv")
    line |= {"mean_first": 1.0, "mean_second": 3.0, "cliffs_delta": 1.0, "p": 0.1, "paired": False}
    pd.DataFrame([line]).to_csv(path, index=False)
    return {"table": str(path)}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    job = request["job"]
    if job == "detect":
        return detect(request)
    if job == "score":
        return score(request)
    if job == "neighbours":
        return neighbours(request)
    if job == "deletion":
        return deletion(request)
    if job == "score_cohort":
        say({"id": request["id"], "event": "Step", "stage": "images", "done": 1, "total": 2, "message": "a"})
        return {"folder": request["out"], "n_bags": 3, "n_cells": 15}
    if job == "map":
        path = Path(request["folder"], f"map-{request['layout']}.npy")
        np.save(path, np.stack([np.arange(15.0), 100 - np.arange(15.0)], axis=1))
        return {"map": str(path)}
    if job == "explore":
        return explore(request)
    if job == "name_cluster":
        return {
            "name": request["name"],
            "n_cells": 3,
            "n_bags": 1,
            "path": "c.csv",
            "folder": request["folder"],
        }
    if job == "compare":
        return compare(request)
    if job == "report":
        page = Path(request["folder"], "report", "cohort.html")
        page.parent.mkdir()
        page.write_text("<html></html>")
        return {"page": str(page), "n_samples": 3}
    if job == "info":
        return {
            "card": {"name": "tiny", "classes": list(CLASSES), "training": {"epochs": 3, "loss": 0.123456}}
        }
    if job == "calibrate":
        sentences = ["Stain: 1.40 times.", "They differ clearly."]
        return {"bundle": request["target"], "sentences": sentences, "differs": True}
    if job == "arrange":
        Path(request["target"] + ".json").write_text(json.dumps(request["images"]))
        return {"cohort": request["target"]}
    if job == "choices":
        return {"presets": {"recommended": {}}, "devices": {"cpu": "Processor (1 threads)"}}
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

"""A real child process that speaks the worker's protocol with arithmetic in place of networks."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import find_contours

from napari_amil.core.base.events import Event, Step
from napari_amil.core.base.settings import RunSettings, VerdictSettings
from napari_amil.core.base.types import BagScore, Cells
from napari_amil.core.images.field_of_view import field_of_view
from napari_amil.core.images.fields import ArrayField
from napari_amil.core.images.read import read_image
from napari_amil.worker.protocol.messages import (
    Arrange,
    Arranged,
    Calibrate,
    Calibrated,
    CellsTyped,
    ClusterNamed,
    CohortScored,
    Compare,
    Compared,
    DeleteCells,
    DeletionCurves,
    Detect,
    Detected,
    Explore,
    Explored,
    FieldOfViewFound,
    FindFieldOfView,
    FindNearest,
    Info,
    LayOutMap,
    ListChoices,
    MapWritten,
    ModelCard,
    NameCluster,
    NearestCells,
    RedrawCells,
    RedrawnCells,
    Reply,
    Report,
    Reported,
    Score,
    ScoreCohort,
    Scored,
    TrainingChoices,
    TypeCells,
)
from napari_amil.worker.serving import Jobs, serve

CLASSES = ("control", "thalassemia", "sickle cell")


def read(path: Path) -> np.ndarray:
    pixels = np.load(path) if path.suffix == ".npy" else read_image(path)
    return pixels[..., 1] if pixels.ndim == 3 else pixels


Job = Generator[Event, None, Reply]


def find_field_of_view(request: FindFieldOfView) -> Job:
    yield from ()
    pixels = np.load(request.image) if request.image.suffix == ".npy" else read_image(request.image)
    seen = field_of_view(ArrayField(pixels))
    if seen is None:
        return FieldOfViewFound(mask=None, step=1)
    np.save(request.out / "mask.npy", seen.mask)
    return FieldOfViewFound(mask=request.out / "mask.npy", step=seen.step)


def detect(request: Detect) -> Job:
    dark = read(request.image)
    dark = dark <= threshold_otsu(dark)
    labels, n_found = ndimage.label(ndimage.binary_fill_holes(ndimage.binary_opening(dark, iterations=2)))
    boxes, outlines = [], []
    for number, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
        if number % 20 == 0:
            yield Step("detect", number, n_found, "Finding cells")
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
    path = request.out / "candidates.npz"
    np.savez(path, **cells.arrays())
    diameter = float(np.median(2 * np.sqrt(cells.area_px / np.pi)))
    return Detected(candidates=path, diameter_px=diameter)


def score(request: Score) -> Job:
    yield from ()
    with np.load(request.cells) as arrays:
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
    table.sample(frac=1, random_state=0).to_csv(request.out / "scores.csv", index=False)
    np.savez(request.out / "evidence.npz", **evidence_of(table))
    bias = dict(zip(CLASSES, (0.1, -0.2, 0.3), strict=True))
    bag = BagScore(
        bag="image",
        predicted="thalassemia",
        probability=dict(zip(CLASSES, (0.21, 0.72, 0.07), strict=True)),
        n_cells=len(cells),
        anomaly_p95=float(np.percentile(anomaly, 95)),
        share_q05=0.12,
        logit={name: float(table[f"contribution_{name}"].sum()) + bias[name] for name in CLASSES},
        bias=bias,
        novelty_p=0.4,
        verdict="thalassemia",
        abnormal_share=0.3,
        abnormal_share_low=0.1,
        abnormal_share_high=0.5,
        sample_p=0.02,
        class_set=("thalassemia",),
        diameter_px=41.0,
        diameter_confidence=0.95,
    )
    return Scored(
        scores=request.out / "scores.csv",
        evidence=request.out / "evidence.npz",
        bag=bag,
        control="control",
        verdict_settings=VerdictSettings(),
        looks_alike=True,
    )


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
        "model_sha256": np.array("tiny"),
    }


def find_nearest(request: FindNearest) -> Job:
    yield from ()
    found = {}
    for group, members in request.groups.items():
        known = {name: dict(np.load(path)) for name, path in members.items()}
        rows = [(name, int(i), 0.25) for name, stored in known.items() for i in stored["cell_id"]]
        found[group] = [row for row in rows if row[:2] != request.cell][:5]
    return NearestCells(cell=request.cell, groups=found)


def delete_cells(_: DeleteCells) -> Job:
    yield from ()
    curves = {"contribution": [0.7, 0.2, 0.1], "anomaly": [0.7, 0.4, 0.2], "random": [0.7, 0.6, 0.5]}
    areas = {"probability_area_contribution": 0.3, "probability_area_anomaly": 0.15}
    return DeletionCurves(
        predicted="thalassemia", shares=[0.0, 0.5, 0.9], probability=curves, logit=curves, areas=areas
    )


def redraw(request: RedrawCells) -> Job:
    """The twin of every cell is grey; its upper half differs by its number in hundredths."""
    yield from ()
    with np.load(request.cells) as arrays:
        cells = Cells.from_arrays(dict(arrays))
    heat = np.zeros((len(cells), 8, 8), np.float32)
    heat[:, :4] = cells.cell_id[:, None, None] / 100
    pictures = np.full((len(cells), 8, 8, 3), 120, np.uint8)
    field = np.zeros(read(request.image).shape, np.float32)
    for number, (y0, x0, y1, x1) in zip(cells.cell_id, cells.boxes.astype(int), strict=True):
        field[y0:y1, x0:x1] = number / 100
    path = request.out / "redrawn.npz"
    np.savez(path, cell_id=cells.cell_id, cell=pictures, twin=pictures + 20, heat=heat, field=field)
    return RedrawnCells(pictures=path, network="ra", networks=("ra",))


def explore(request: Explore) -> Job:
    """The most unusual cell of each bag is the first cluster, the second cell of each the other."""
    yield from ()
    folder = request.folder / "exploration"
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
    return Explored(folder=request.folder, n_clusters=2)


def compare(request: Compare) -> Job:
    yield from ()
    groups = pd.read_csv(request.groups)
    first, second = sorted(groups["group"].unique())
    line = {"statistic": "anomaly", "first": first, "second": second, "n_first": 1, "n_second": len(groups)}
    path = request.out / "groups.csv"
    line |= {"mean_first": 1.0, "mean_second": 3.0, "cliffs_delta": 1.0, "p": 0.1, "paired": False}
    pd.DataFrame([line]).to_csv(path, index=False)
    return Compared(table=path)


def score_cohort(request: ScoreCohort) -> Job:
    yield Step("images", 1, 2, "a")
    return CohortScored(folder=request.out, n_bags=3, n_cells=15)


def lay_out(request: LayOutMap) -> Job:
    yield from ()
    path = request.folder / f"map-{request.layout}.npy"
    np.save(path, np.stack([np.arange(15.0), 100 - np.arange(15.0)], axis=1))
    return MapWritten(map=path)


def name_cluster(request: NameCluster) -> Job:
    yield from ()
    return ClusterNamed(folder=request.folder, path=Path("c.csv"), name=request.name, n_cells=3, n_bags=1)


def report(request: Report) -> Job:
    yield from ()
    page = request.folder / "report" / "cohort.html"
    page.parent.mkdir()
    page.write_text("<html></html>")
    return Reported(page=page, n_samples=3)


def type_cells(request: TypeCells) -> Job:
    """Cells below the median anomaly are small, the others large; the last cell has no type."""
    yield from ()
    request.out.mkdir(parents=True, exist_ok=True)
    cells = pd.read_csv(request.folder / "cells.csv")
    types = np.where(cells["anomaly"] < cells["anomaly"].median(), "small", "large")
    types[-1] = ""
    table = cells[["bag", "image", "cell_id"]].assign(type=types, type_probability=0.75)
    table.to_csv(request.out / "types.csv", index=False)
    counts = {"bag": ["a"], "cell_type": ["small"], "n_cells": [2], "low": [0.1], "high": [0.7]}
    pd.DataFrame(counts).to_csv(request.out / "type_counts.csv", index=False)
    (request.out / "types.safetensors").write_text(f"{request.names} {request.classifier}")
    return CellsTyped(
        types=request.out / "types.csv",
        counts=request.out / "type_counts.csv",
        classifier=request.out / "types.safetensors",
        worth_naming=(1, 0),
        sentences=("small: smaller than the other named cells",),
        validation=(("large", 3, 1.0, 0.75), ("small", 3, 2 / 3, float("nan"))),
        macro_f1=0.83,
        left_out="slide",
    )


def info(_: Info) -> Job:
    yield from ()
    card = {"name": "tiny", "classes": list(CLASSES), "training": {"epochs": 3, "loss": 0.123456}}
    return ModelCard(card=card, settings={}, classes=CLASSES)


def calibrate(request: Calibrate) -> Job:
    yield from ()
    sentences = ("Stain: 1.40 times.", "They differ clearly.")
    return Calibrated(bundle=str(request.target), sentences=sentences, differs=True)


def arrange(request: Arrange) -> Job:
    yield from ()
    images = [[str(each.path), each.label, each.patient, each.sample] for each in request.images]
    Path(f"{request.target}.json").write_text(json.dumps(images))
    return Arranged(cohort=request.target)


def choices(_: ListChoices) -> Job:
    yield from ()
    return TrainingChoices(presets={"recommended": RunSettings()}, devices={"cpu": "Processor (1 threads)"})


JOBS: Jobs = {
    Detect: detect,
    FindFieldOfView: find_field_of_view,
    Score: score,
    FindNearest: find_nearest,
    DeleteCells: delete_cells,
    RedrawCells: redraw,
    Info: info,
    ScoreCohort: score_cohort,
    LayOutMap: lay_out,
    Explore: explore,
    NameCluster: name_cluster,
    Compare: compare,
    Report: report,
    ListChoices: choices,
    Calibrate: calibrate,
    TypeCells: type_cells,
    Arrange: arrange,
}

if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer, JOBS)

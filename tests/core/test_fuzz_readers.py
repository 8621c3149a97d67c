"""Mutated tables, annotations, settings, bundles and scored folders are read or refused in a sentence."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import tifffile
import torch
from fuzzing import fuzz
from pycocotools.mask import encode

from napari_amil.core.base.checkpoint import read_checkpoint, write_checkpoint
from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.tensorfile import write_tensors
from napari_amil.core.base.types import Bag, Cells, box_outline
from napari_amil.core.cohort.clinical import add_clinical
from napari_amil.core.cohort.layouts.registry import read_cohort
from napari_amil.core.evaluation.ablation import read_rows
from napari_amil.core.evaluation.clusters import ClusterSettings
from napari_amil.core.exchange.box_files import read_boxes, read_shapes, read_voc
from napari_amil.core.exchange.cell_files import read_cells, write_cell_table
from napari_amil.core.exchange.coco import read_coco, write_coco
from napari_amil.core.exchange.field_files import (
    read_labelme,
    read_rois,
    write_labelme,
    write_rois,
)
from napari_amil.core.exchange.geojson import read_geojson, write_geojson
from napari_amil.core.exchange.labels import cells_of_labels, read_label_image
from napari_amil.core.exchange.project import Project, read_project, write_project
from napari_amil.core.exchange.yolo import read_yolo, write_yolo
from napari_amil.core.model.bundle import load_bundle
from napari_amil.core.model.card import read_card
from napari_amil.core.studies.explore import explore_project, read_exploration

CASES = 180
"""Cases of each kind; with the images about 3,000 together."""
BOXES = np.array([[5, 5, 25, 25], [10, 40, 30, 60], [30, 5, 39, 30]], np.float32)
CELLS = Cells(BOXES, tuple(box_outline(box)[:3] for box in BOXES), detection_score=np.array([0.9, 0.5, 0.1]))


def cell_tables(folder: Path) -> None:
    write_cell_table(CELLS, CELLS.table().assign(image="a.png"), folder / "a.csv")
    write_cell_table(CELLS, CELLS.table().assign(image="a.png"), folder / "b.parquet")


def read_table_of_cells(path: Path) -> None:
    read_cells(path)
    read_boxes(path)


def cohorts(folder: Path) -> None:
    header = "bag,patient,label,image,y0,x0,y1,x1,fold,cell_type\n"
    rows = "".join(f"b{i},p{i},{label},a.png,5,5,25,25,{i},x\n" for i, label in enumerate(["control", "ill"]))
    (folder / "cells.csv").write_text(header + rows, encoding="utf-8")
    (folder / "images.csv").write_text(
        "bag;patient;label;image;age\nb1;p1;control;a.png;1,5\nb2;p2;ill;b.png;2,5\n", encoding="utf-16"
    )


def clinical(folder: Path) -> None:
    (folder / "clinical.csv").write_text("sep=;\nbag;patient;age;site\nb1;p1;3,5;x\n# note\nb2;p2;4;y\n")


def read_clinical(path: Path) -> None:
    add_clinical([Bag("b1", "p1", ("a.png",)), Bag("b2", "p2", ("b.png",))], path)


def geojsons(folder: Path) -> None:
    write_geojson(CELLS, None, folder / "a.geojson", own={"version": 1})
    ring = [[0, 0], [60, 0], [60, 60], [0, 60], [0, 0]]
    shape = {"type": "MultiPolygon", "coordinates": [[ring], [ring]]}
    region = {"type": "Feature", "geometry": shape, "properties": {"objectType": "annotation"}}
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}
    (folder / "b.geojson").write_text(json.dumps([region, point, region]))


def read_features(path: Path) -> None:
    read_geojson(path)
    read_cells(path)


def cocos(folder: Path) -> None:
    write_coco({"a.png": ((40, 70), CELLS), "b.png": ((40, 70), CELLS)}, folder / "a.json")
    mask = np.zeros((40, 70), np.uint8, order="F")
    mask[5:25, 10:30] = 1
    packed = {"size": [40, 70], "counts": encode(mask)["counts"].decode()}
    counts = {"size": [40, 70], "counts": [405, *([20, 20] * 19), 20, 1615]}
    objects = [{"id": 1, "image_id": 1, "segmentation": runs} for runs in (packed, counts)]
    images = [{"id": 1, "file_name": r"x\a.png"}]
    (folder / "runs.json").write_text(json.dumps({"images": images, "annotations": objects}))


def read_instances(path: Path) -> None:
    read_coco(path)
    read_cells(path)


def vocs(folder: Path) -> None:
    side = "<xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>30</ymax>"
    one = f"<object><name>RBC</name><bndbox>{side}</bndbox></object>"
    (folder / "a.xml").write_text(f"<annotation>{one * 3}</annotation>")


def shapes(folder: Path) -> None:
    rows = [
        f"{i},{kind},{corner},{y + 5 * i},{x}"
        for i, kind in enumerate(["rectangle", "ellipse", "polygon", "line"])
        for corner, (y, x) in enumerate([(0, 0), (0, 20), (30, 20), (30, 0)])
    ]
    header = "index,shape-type,vertex-index,axis-0,axis-1"
    (folder / "a.csv").write_text("\n".join([header, *rows]))


def label_images(folder: Path) -> None:
    labels = np.zeros((40, 70), np.uint16)
    labels[5:25, 5:25], labels[10:30, 40:60] = 1, 2
    PIL.Image.fromarray(labels).save(folder / "a.png")
    PIL.Image.fromarray(labels.astype(np.uint8)).save(folder / "b.png")
    tifffile.imwrite(folder / "c.tif", labels, compression="zlib")
    tifffile.imwrite(folder / "d.tif", np.stack([labels] * 2).astype(np.int32))


def read_labels(path: Path) -> None:
    cells_of_labels(read_label_image(path))


def settings(folder: Path) -> None:
    (folder / "run.yaml").write_text(RunSettings().to_yaml())
    (folder / "rows.yaml").write_text("mine: {start: reference, model.pooling: both}\nother: {}\n")


def read_yamls(path: Path) -> None:
    if path.stat().st_size % 2:
        RunSettings.from_yaml(path)
    else:
        read_rows(path)


def bundles(folder: Path) -> None:
    header = {"settings": RunSettings().model_dump(mode="json"), "card": {"name": "small"}}
    metadata = {"format": "napari-amil bundle", "format_version": "3", "bundle": json.dumps(header)}
    write_tensors({"a": torch.zeros(3)}, metadata, folder / "a.safetensors")


def read_bundle(path: Path) -> None:
    read_card(path)
    load_bundle(path)


def checkpoints(folder: Path) -> None:
    write_checkpoint(folder / "a.safetensors", {"a": torch.zeros(3)}, {"epoch": 3, "losses": [0.5]})


def project(repeats: int = 1) -> Project:
    table = CELLS.table().assign(bag="b", image="a.png", anomaly=1.0)
    cells = pd.concat([table] * repeats, ignore_index=True)
    cells = cells.assign(cell_id=range(1, len(cells) + 1), y0=cells["y0"] + 0.1 * np.arange(len(cells)))
    bags = pd.DataFrame({"bag": ["b"], "patient": ["p"]})
    card: dict[str, Any] = {
        "control": "control",
        "classes": ["control", "ill"],
        "images": {"a.png": ["x", 0]},
    }
    z = np.random.default_rng(0).normal(size=(len(cells), 2)).astype(np.float32)
    return Project(cells, bags, z, CELLS.outlines * repeats, card)


def projects(folder: Path) -> None:
    write_project(project(), folder / "scored")


def explorations(folder: Path) -> None:
    many = project(10)
    scores = {"anomaly_q": 0.01, "anomaly_percentile": 100.0, "novelty_p": 0.5}
    many = replace(
        many,
        cells=many.cells.assign(**scores),
        bags=many.bags.assign(novelty_p=0.5, label="ill", verdict="ill"),
    )
    write_project(many, folder / "scored")
    settings = ClusterSettings(min_cells=5)
    drain(explore_project(read_project(folder / "scored"), settings, folder / "scored" / "x", pictures=False))


def read_clusters(path: Path) -> None:
    read_exploration(read_project(path), path / "x")


def roi_sets(folder: Path) -> None:
    write_rois(CELLS, None, ("a.png", (40, 70)), folder / "RoiSet.zip")


def labelme_files(folder: Path) -> None:
    write_labelme(CELLS, None, ("a.png", (40, 70)), folder / "a.json")


def yolo_files(folder: Path) -> None:
    write_yolo(CELLS, None, ("a.png", (40, 70)), folder / "a.txt")
    (folder / "b.txt").write_text("0 0.5 0.5 0.25 0.25 0.9\n1 0.2 0.2 0.1 0.1 0.4\n")


def read_yolo_file(path: Path) -> None:
    read_yolo(path, (40, 70))


KINDS: dict[str, tuple[Callable[[Path], object], Callable[[Path], object]]] = {
    "tables of cells": (cell_tables, read_table_of_cells),
    "cohort tables": (cohorts, read_cohort),
    "clinical tables": (clinical, read_clinical),
    "GeoJSON": (geojsons, read_features),
    "COCO": (cocos, read_instances),
    "Pascal VOC": (vocs, read_voc),
    "Shapes layers": (shapes, read_shapes),
    "label images": (label_images, read_labels),
    "YAML": (settings, read_yamls),
    "bundles": (bundles, read_bundle),
    "checkpoints": (checkpoints, read_checkpoint),
    "scored folders": (projects, read_project),
    "explorations": (explorations, read_clusters),
    "ROI sets": (roi_sets, read_rois),
    "LabelMe": (labelme_files, read_labelme),
    "YOLO": (yolo_files, read_yolo_file),
}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    write, read = KINDS[kind]
    (tmp_path / "valid").mkdir()
    write(tmp_path / "valid")
    valid = {path.name: path for path in (tmp_path / "valid").iterdir()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counts = fuzz(read, valid, tmp_path, CASES)
    assert counts["refused"]

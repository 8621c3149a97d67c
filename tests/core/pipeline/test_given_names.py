"""Classes that other programs gave to cells are names, as those of a table are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL.Image
import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import drain
from napari_amil.core.base.types import box_outline
from napari_amil.core.cell_types.named_cells import named_rows
from napari_amil.core.exchange.field_files import write_labelme
from napari_amil.core.exchange.geojson import write_geojson
from napari_amil.core.exchange.project import Project
from napari_amil.core.pipeline.export import export_project
from napari_amil.core.pipeline.given_names import class_of, read_names


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Three cells on each of two images."""
    boxes = np.array([[10, 10, 40, 40], [10, 60, 40, 90], [60, 10, 90, 40]] * 2, np.float32)
    cells = pd.DataFrame(boxes, columns=["y0", "x0", "y1", "x1"]).astype(np.float64)
    cells = cells.assign(
        bag=["a"] * 3 + ["b"] * 3, image=["a.png"] * 3 + ["b.png"] * 3, cell_id=[1, 2, 3] * 2
    )
    bags = pd.DataFrame({"bag": ["a", "b"], "patient": ["a", "b"], "label": ["", ""]})
    images = {name: [str(tmp_path / name), 0] for name in ("a.png", "b.png")}
    outlines = tuple(box_outline(box) for box in boxes)
    return Project(cells, bags, np.zeros((6, 2), np.float32), outlines, {"images": images})


def found(project: Project, place: Path) -> list[str]:
    """Return the name of each cell of the project."""
    return named_rows(project.cells, drain(read_names(project, place)))[0].tolist()


def test_classes_of_qupath_and_labels_of_labelme_are_names(project: Project, tmp_path: Path) -> None:
    cells, _ = project.image_cells("a.png")
    write_geojson(cells, pd.DataFrame({"cell_type": ["burr", "", "target"]}), tmp_path / "q" / "a.geojson")
    others, _ = project.image_cells("b.png")
    write_labelme(
        others, pd.DataFrame({"cell_type": ["", "burr", ""]}), ("b.png", (99, 99)), tmp_path / "q" / "b.json"
    )
    assert found(project, tmp_path / "q") == ["burr", "", "target", "", "burr", ""]
    assert found(project, tmp_path / "q" / "a.geojson") == ["burr", "", "target", "", "", ""]


def test_classes_of_yolo_are_names_and_are_exported_as_they_were(project: Project, tmp_path: Path) -> None:
    for image in ("a.png", "b.png"):
        PIL.Image.new("RGB", (99, 99)).save(tmp_path / image)
    types = ["burr", "", "target", "", "schistocyte", ""]
    named = replace(project, cells=project.cells.assign(cell_type=types))
    drain(export_project(named, "yolo", tmp_path / "out"))
    folder = tmp_path / "out" / "yolo"
    assert (folder / "classes.txt").read_text().split() == ["cell", "burr", "schistocyte", "target"]
    assert found(project, folder) == types


def test_regions_around_cells_and_the_classes_of_our_own_scores_are_no_names(
    project: Project, tmp_path: Path
) -> None:
    cells, _ = project.image_cells("a.png")
    path = tmp_path / "a.geojson"
    write_geojson(cells, pd.DataFrame({"anomaly_q": [0.01, 0.9, 0.9]}), path)
    with pytest.raises(
        AmilError, match=r"No cell in '.*a\.geojson' has a class; give cells classes in QuPath"
    ):
        found(project, path)
    content = json.loads(path.read_text())
    content["features"][1]["properties"]["classification"] = {"names": ["Red cell", "burr"]}
    square = [[0, 0], [99, 0], [99, 99], [0, 99], [0, 0]]
    region: dict[str, Any] = {"objectType": "annotation", "classification": {"name": "Ignore*"}}
    geometry = {"type": "Polygon", "coordinates": [square]}
    content["features"].append({"type": "Feature", "geometry": geometry, "properties": region})
    path.write_text(json.dumps(content))
    assert found(project, path) == ["", "Red cell: burr", "", "", "", ""]


def test_a_table_of_names_is_read_as_it_is(project: Project, tmp_path: Path) -> None:
    project.cells[["image", "cell_id"]].assign(cell_type="burr").to_csv(tmp_path / "n.csv", index=False)
    assert found(project, tmp_path / "n.csv") == ["burr"] * 6


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"cell_type": "burr"}, "burr"),
        ({"classification": {"name": " target ", "color": [1, 2, 3]}}, "target"),
        ({"classification": "target"}, "target"),
        ({"classification": {"names": ["a", "b"]}}, "a: b"),
        ({"classification": None}, ""),
        ({"classification": {"name": "Anomalous cell"}}, ""),
        ({}, ""),
    ],
)
def test_the_class_of_a_record(record: dict[str, Any], name: str) -> None:
    assert class_of(record) == name

"""QuPath can read what is written, and what comes back is what went out."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Cells
from napari_amil.core.exchange.annotation import REGION, Annotation
from napari_amil.core.exchange.geojson import read_geojson, write_geojson

SQUARE = [[10, 20], [50, 20], [50, 60], [10, 60], [10, 20]]


def written(cells: Cells, scores: pd.DataFrame | None, path: Path) -> list[dict[str, Any]]:
    write_geojson(cells, scores, path)
    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert content["type"] == "FeatureCollection"
    return content["features"]


def feature(**changes: Any) -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": [SQUARE]}
    return {"type": "Feature", "geometry": geometry, "properties": {}, **changes}


def read(content: Any, folder: Path) -> Cells:
    path = folder / "foreign.geojson"
    path.write_text(json.dumps(content), encoding="utf-8")
    return read_geojson(path).cells


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_cells_come_back_as_they_went(
    data: st.DataObject, cells_strategy: Callable, assert_same: Callable, folder: Path
) -> None:
    cells = data.draw(cells_strategy())
    write_geojson(cells, None, folder / "cells.geojson")
    assert_same(read_geojson(folder / "cells.geojson").cells, cells)


def test_a_feature_is_a_detection_with_a_closed_ring_in_x_and_y(three: Cells, tmp_path: Path) -> None:
    first, second, _ = written(three, None, tmp_path / "field 1.geojson")
    assert first["geometry"] == {
        "type": "Polygon",
        "coordinates": [[[2.0, 1.5], [52.0, 1.5], [52.0, 41.5], [2.0, 1.5]]],
    }
    assert first["properties"]["objectType"] == "detection"
    assert first["properties"]["classification"]["name"] == "Cell"
    assert first["properties"]["measurements"] == pytest.approx(
        {
            **{"cell_id": 7, "y0": 1.5, "x0": 2, "y1": 41.5, "x1": 52},
            **{"detection_score": 0.9, "area_px": 1000, "touches_border": 0, "overlaps": 0},
        }
    )
    assert "detection_score" not in second["properties"]["measurements"]
    assert uuid.UUID(first["id"]) != uuid.UUID(second["id"])
    assert written(three, None, tmp_path / "field 1.geojson")[0]["id"] == first["id"]


def test_scores_are_measurements_and_texts_metadata(three: Cells, tmp_path: Path) -> None:
    scores = pd.DataFrame(
        {
            "cell_id": three.cell_id,
            "anomaly": [1.25, 7.5, np.nan],
            "anomaly_q": [0.4, 0.01, np.nan],
            "status": ["scored", "scored", "unscored"],
        },
        index=[5, 6, 7],
    )
    features = written(three, scores, tmp_path / "cells.geojson")
    properties = [f["properties"] for f in features]
    assert [p["measurements"].get("anomaly") for p in properties] == [1.25, 7.5, None]
    assert [p["metadata"]["status"] for p in properties] == ["scored", "scored", "unscored"]
    assert [p["classification"]["name"] for p in properties] == ["Cell", "Anomalous cell", "Cell"]
    typed = written(three, scores.assign(cell_type=["target", "", "burr"]), tmp_path / "cells.geojson")
    names = [f["properties"]["classification"]["name"] for f in typed]
    assert names == ["target", "Anomalous cell", "burr"]


def test_scores_of_other_cells_are_refused(three: Cells, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 rows of scores for 3 cells"):
        write_geojson(three, pd.DataFrame({"anomaly": [1.0, 2.0]}), tmp_path / "cells.geojson")
    assert list(tmp_path.iterdir()) == []


def test_a_bare_polygon_gets_box_area_and_id(tmp_path: Path) -> None:
    cells = read({"type": "FeatureCollection", "features": [feature(), feature(properties=None)]}, tmp_path)
    assert cells.boxes.tolist() == [[20, 10, 60, 50]] * 2
    assert cells.area_px.tolist() == [1600, 1600]
    assert cells.cell_id.tolist() == [1, 2]
    assert np.isnan(cells.detection_score).all()
    assert cells.outlines[0].tolist() == [[20, 10], [20, 50], [60, 50], [60, 10]]


def test_older_files_hold_measurements_as_a_list_and_no_collection(tmp_path: Path) -> None:
    stored = [{"name": "cell_id", "value": 4}, {"name": "detection_score", "value": 0.5}]
    cells = read([feature(properties={"measurements": stored})], tmp_path)
    assert cells.cell_id.tolist() == [4]
    assert cells.detection_score.tolist() == [0.5]
    assert len(read(feature(), tmp_path)) == 1


def test_a_cell_that_was_redrawn_gets_the_box_of_its_outline(three: Cells, tmp_path: Path) -> None:
    features = written(three, None, tmp_path / "cells.geojson")
    features[0]["geometry"]["coordinates"] = [[[x + 30, y] for x, y in SQUARE]]
    cells = read(features, tmp_path)
    assert cells.boxes[0].tolist() == [20, 40, 60, 80]
    assert cells.area_px[0] == 1600
    np.testing.assert_array_equal(cells.boxes[1:], three.boxes[1:])
    assert cells.cell_id.tolist() == three.cell_id.tolist()


def test_a_copied_cell_gets_an_id_of_its_own(three: Cells, tmp_path: Path) -> None:
    features = written(three, None, tmp_path / "cells.geojson")
    cells = read([*features, features[1], feature()], tmp_path)
    assert cells.cell_id.tolist() == [7, 3, 12, 13, 14]


def test_of_several_parts_the_largest_counts(tmp_path: Path) -> None:
    small = [[x / 10, y / 10] for x, y in SQUARE]
    geometry = {"type": "MultiPolygon", "coordinates": [[small], [SQUARE, small]]}
    assert read([feature(geometry=geometry)], tmp_path).boxes.tolist() == [[20, 10, 60, 50]]


@pytest.mark.parametrize(
    "content",
    [
        {
            "type": "FeatureCollection",
            "features": [feature(geometry={"type": "Point", "coordinates": [1, 2]})],
        },
        [feature(geometry={"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]})],
        [feature(geometry={"type": "Polygon", "coordinates": [[[0, 0], [5, 0], [9, 0], [0, 0]]]})],
        [feature(properties={"measurements": [1]})],
        ["no feature"],
        7,
    ],
)
def test_other_json_is_refused_in_a_sentence(content: Any, tmp_path: Path) -> None:
    with pytest.raises(AmilError, match=r"foreign\.geojson.*export it again"):
        read(content, tmp_path)


def test_no_json_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "cells.geojson"
    path.write_bytes(b"\xff\xfe nothing")
    with pytest.raises(AmilError, match=r"cells\.geojson' cannot be read as JSON"):
        read_geojson(path)
    with pytest.raises(AmilError, match=r"missing\.geojson' cannot be read as JSON"):
        read_geojson(tmp_path / "missing.geojson")


def square(x: float, y: float, side: float, kind: str = "", **measured: float) -> dict[str, Any]:
    ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
    properties = {"objectType": kind, "measurements": measured} if kind else {"measurements": measured}
    return feature(geometry={"type": "Polygon", "coordinates": [ring]}, properties=properties)


def annotation_of(features: Any, folder: Path) -> Annotation:
    (folder / "x.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return read_geojson(folder / "x.geojson")


@pytest.mark.parametrize("kind", ["detection", "cell"])
def test_a_region_around_detections_is_no_cell_and_a_drawn_cell_is(kind: str, tmp_path: Path) -> None:
    cells = [square(10 + 40 * i, 10, 30, kind) for i in range(3)]
    around, drawn = square(0, 0, 45, "annotation"), square(300, 10, 32, "annotation")
    empty = square(300, 300, 200, "annotation")
    found = annotation_of([around, *cells, drawn, empty], tmp_path)
    assert found.cells.boxes[:, 1].tolist() == [10, 50, 90, 300]
    assert found.left_out == {REGION: 2}
    assert len(annotation_of([square(0, 0, 30, "annotation"), drawn], tmp_path).cells) == 2


ROUND = [[50 + 40 * np.cos(angle), 50 + 40 * np.sin(angle)] for angle in np.linspace(0, 2 * np.pi, 30)]


@pytest.mark.parametrize(
    ("shape", "side", "is_region"),
    [
        (square(0, 0, 400, "annotation"), 400, True),
        (square(50, 50, 130, "annotation"), 400, True),
        (square(50, 50, 120, "annotation"), 400, False),
        (square(50, 50, 640, "annotation"), 4000, True),
        (square(50, 50, 620, "annotation"), 4000, False),
        (square(0, 0, 400, "detection"), 400, False),
        (feature(geometry={"type": "Polygon", "coordinates": [ROUND]}, id="PathAnnotationObject"), 99, True),
        (
            feature(geometry={"type": "Polygon", "coordinates": [ROUND]}, id="PathAnnotationObject"),
            110,
            False,
        ),
        (feature(geometry={"type": "Polygon", "coordinates": [ROUND]}), 99, False),
    ],
)
def test_a_region_alone_in_an_image_is_no_cell(
    shape: dict[str, Any], side: int, is_region: bool, tmp_path: Path
) -> None:
    found = annotation_of([shape], tmp_path).within("a.png", (side, side))
    assert (len(found.cells), found.left_out) == ((0, {REGION: 1}) if is_region else (1, {}))
    assert len(found.records) == len(found.marked_region) == len(found.cells)


def test_a_frame_around_the_image_is_no_cell_beside_another(tmp_path: Path) -> None:
    frame = square(0, 0, 390)
    found = annotation_of([frame, square(50, 50, 30)], tmp_path).within("a.png", (400, 400))
    assert (found.cells.boxes.tolist(), found.left_out) == ([[50, 50, 80, 80]], {REGION: 1})
    assert len(annotation_of([frame], tmp_path).within("a.png", (400, 400)).cells) == 1
    assert (
        len(annotation_of([square(0, 0, 370), square(50, 50, 30)], tmp_path).within("a", (400, 400)).cells)
        == 2
    )


def test_an_outline_around_others_is_no_cell_unless_it_was_detected(tmp_path: Path) -> None:
    cells = [square(10 + 40 * i, 10, 30) for i in range(3)]
    found = annotation_of([square(0, 0, 200), *cells], tmp_path)
    assert found.cells.boxes[:, 1].tolist() == [10, 50, 90]
    assert found.left_out == {REGION: 1}
    assert len(annotation_of([square(0, 0, 200, detection_score=0.5), *cells], tmp_path).cells) == 4
    parasites = [square(12, 12, 4), square(30, 30, 4)]
    assert len(annotation_of([*cells, *parasites], tmp_path).cells) == 5


def test_lines_points_and_broken_objects_cost_only_themselves(tmp_path: Path) -> None:
    broken = [
        feature(geometry={"type": "Point", "coordinates": [1, 2]}),
        feature(geometry={"type": "LineString", "coordinates": [[1, 2], [3, 4]]}),
        feature(geometry={"type": "Polygon", "coordinates": [[[0, 0], [5, 5], [9, 9], [0, 0]]]}),
        feature(geometry={"type": "Polygon", "coordinates": [[[0, 0], [None, 5], [9, 9], [0, 0]]]}),
        feature(geometry={"type": "Polygon", "coordinates": [[[0, 0], [1e300, 5], [9, 9], [0, 0]]]}),
        feature(geometry={"type": "Blob"}),
        square(500, 500, 1),
        7,
    ]
    found = annotation_of([*broken, feature(), square(9, 9, 40, cell_id=float("inf"))], tmp_path)
    assert found.cells.cell_id.tolist() == [1, 2]
    assert found.left_out == {
        "a line or point": 2,
        "without an area": 1,
        "damaged": 4,
        "too small to be a cell": 1,
    }


def test_nesting_without_end_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "deep.geojson").write_text("[" * 100_000)
    with pytest.raises(AmilError, match=r"deep\.geojson' cannot be read as JSON \(.*\); export it again\.$"):
        read_geojson(tmp_path / "deep.geojson")

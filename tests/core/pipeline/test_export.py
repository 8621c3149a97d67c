"""Exports as other programs read them: strict validators, the right numbers, and nothing lost."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import shapely
from faster_coco_eval import COCO

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Failed, Warned, drain
from napari_amil.core.base.types import Cells
from napari_amil.core.cohort.synth import synthetic_smear
from napari_amil.core.exchange.cell_files import read_cells
from napari_amil.core.exchange.project import Project, read_project, write_project
from napari_amil.core.exchange.tables import load_table
from napari_amil.core.pipeline import export
from napari_amil.core.pipeline.export import FORMATS, choose_bags, export_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Two smears, each a bag, one in a folder below; cells that the border cuts have no score."""
    files: dict[str, tuple[str, int]] = {}
    tables, outlines = [], []
    for number, name in enumerate(("one.png", "sub/two.png")):
        smear = synthetic_smear(number)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        PIL.Image.fromarray(smear.image).save(path)
        files[name] = str(path), 0
        tables.append(smear.cells.table().assign(bag=name, image=name, cell_type="normal"))
        outlines += list(smear.cells.outlines)
    cells = pd.concat(tables, ignore_index=True)
    distance = np.random.default_rng(0).gamma(4.0, size=len(cells))
    cells["anomaly"] = np.where(cells["touches_border"], np.nan, distance)
    cells["anomaly_q"] = np.where(cells["anomaly"] > 6, 0.01, 0.5)
    bags = pd.DataFrame({"bag": list(files), "patient": ["p0", "p1"], "label": "control"})
    embeddings = np.zeros((len(cells), 2), np.float32)
    return Project(cells, bags, embeddings, tuple(outlines), {"images": files})


def assert_same(project: Project, image: str, cells: Cells, table: pd.DataFrame) -> None:
    """Assert that cells that were read back are those of an image of the project, with every score."""
    rows = project.cells[project.cells["image"] == image]
    np.testing.assert_allclose(cells.boxes, rows[["y0", "x0", "y1", "x1"]], rtol=1e-6)
    for row, outline in zip(rows.index, cells.outlines, strict=True):
        drawn = project.outlines[row]
        np.testing.assert_allclose(outline, drawn[: len(outline)])
        assert (drawn[len(outline) :] == drawn[0]).all()  # COCO does not repeat the first point at the end
    for name in ("cell_id", "anomaly", "anomaly_q", "area_px", "touches_border"):
        np.testing.assert_allclose(table[name].astype(float), rows[name].astype(float))
    assert table["bag"].tolist() == rows["bag"].tolist()


def test_geojson_is_valid_and_has_the_outlines_and_scores(project: Project, tmp_path: Path) -> None:
    drain(export_project(project, "geojson", tmp_path / "out"))
    for image, rows in project.cells.groupby("image"):
        path = tmp_path / "out" / "geojson" / f"{image}.geojson"
        text = path.read_text(encoding="utf-8")
        found = shapely.get_parts(shapely.from_geojson(text, on_invalid="raise"))
        assert len(found) == len(rows)
        whole = ~rows["touches_border"].to_numpy()  # clipped to the image an outline may touch itself
        assert shapely.is_valid(found)[whole].all()
        np.testing.assert_allclose(shapely.area(found)[whole], rows["area_px"][whole], rtol=0.1)
        features = json.loads(text)["features"]
        for feature, (_, row) in zip(features, rows.iterrows(), strict=True):
            assert feature["type"] == "Feature"
            ring = feature["geometry"]["coordinates"][0]
            assert ring[0] == ring[-1]
            measured = feature["properties"]["measurements"]
            assert measured["cell_id"] == row["cell_id"]
            assert ("anomaly" in measured) == np.isfinite(row["anomaly"])
            if "anomaly" in measured:
                assert measured["anomaly"] == pytest.approx(row["anomaly"])
        ((cells, table),) = read_cells(path).values()
        assert_same(project, str(image), cells, table)


@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind != "spatialdata"])
def test_an_export_onto_a_full_disk_is_one_sentence_and_leaves_nothing(
    project: Project, kind: str, tmp_path: Path, small_files: Callable[[int], AbstractContextManager[None]]
) -> None:
    work = export_project(project, kind, tmp_path / "out")
    named = re.escape(f"{tmp_path}/out/")
    with (
        small_files(300),
        pytest.raises(AmilError, match=rf"^Cannot write '{named}[^.].*; check the folder and"),
    ):
        drain(work)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("kind", ["geojson", "labels", "coco"])
def test_an_export_replaces_nothing_that_was_drawn_or_corrected(
    project: Project, kind: str, tmp_path: Path
) -> None:
    (written,) = drain(export_project(project, kind, tmp_path))
    drain(export_project(project, kind, tmp_path))
    corrected = next(path for path in (written, *sorted(written.rglob("*"))) if path.is_file())
    corrected.write_text("by hand")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(AmilError, match=re.escape(f"'{corrected}' was not written by this program, or was")):
        drain(export_project(project, kind, tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_coco_tools_read_it(project: Project, tmp_path: Path) -> None:
    (path,) = drain(export_project(project, "coco", tmp_path / "out"))
    coco = COCO(str(path))
    assert len(coco.getAnnIds()) == len(project.cells)
    sizes = {
        image["file_name"]: (image["height"], image["width"]) for image in coco.loadImgs(coco.getImgIds())
    }
    assert sizes["one.png"] == synthetic_smear(0).image.shape[:2]
    annotations = coco.loadAnns(coco.getAnnIds())
    for annotation, (_, row) in zip(annotations, project.cells.iterrows(), strict=True):
        x, y, width, height = annotation["bbox"]
        assert (y, x, y + height, x + width) == pytest.approx(tuple(row[["y0", "x0", "y1", "x1"]]))
        assert annotation["attributes"].get("anomaly", np.nan) == pytest.approx(row["anomaly"], nan_ok=True)
        assert annotation["attributes"]["bag"] == row["bag"]
    mask = coco.annToMask(annotations[0])
    assert mask.sum() == pytest.approx(annotations[0]["area"], rel=0.1)
    back = read_cells(path)
    assert set(back) == set(project.cells["image"])
    for image, (cells, table) in back.items():
        assert_same(project, image, cells, table)


def test_spatialdata_has_the_images_that_can_be_read(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("spatialdata")
    project.image_file("one.png")[0].unlink()
    events: list[object] = []
    (path,) = drain(export_project(project, "spatialdata", tmp_path / "out"), events.append)
    assert [event.source for event in events if isinstance(event, Failed)] == ["one.png"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = library.read_zarr(path)
    assert sorted(data.shapes) == ["one.png_cells", "sub_two.png_cells"]
    np.testing.assert_array_equal(
        data.images["sub_two.png"].transpose("y", "x", "c").to_numpy(), synthetic_smear(1).image
    )
    monkeypatch.setattr(export, "is_large", lambda shape: True)
    drain(export_project(project, "spatialdata", tmp_path / "large"), events.append)
    assert [event.message for event in events if isinstance(event, Warned)] == [
        "'sub/two.png' is too large to be copied; only its cells are written."
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_come_back(project: Project, tmp_path: Path, kind: str) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    cells, bags = (load_table(path) for path in drain(export_project(project, kind, tmp_path / "out")))
    pd.testing.assert_frame_equal(cells, project.cells, check_dtype=False)
    pd.testing.assert_frame_equal(bags, project.bags)


def test_what_cannot_be_written_is_said(project: Project, tmp_path: Path) -> None:
    with pytest.raises(AmilError, match="no format 'xlsx'; choose one of csv"):
        drain(export_project(project, "xlsx", tmp_path))
    with pytest.raises(AmilError, match=r"no bag 'three'.*one\.png"):
        choose_bags(project, ["three"])
    only = choose_bags(project, ["sub/two.png"])
    project.image_file("one.png")[0].unlink()
    events: list[object] = []
    drain(export_project(project, "coco", tmp_path / "out"), events.append)
    assert [event.source for event in events if isinstance(event, Failed)] == ["one.png"]
    lost = replace(only, card={**only.card, "images": {}})
    with pytest.raises(AmilError, match="none of them could be read"):
        drain(export_project(lost, "coco", tmp_path / "out"))


@pytest.mark.parametrize("name", ["/abs/x.png", "../../x.png", "n" * 250 + ".png"])
def test_no_name_of_an_image_leads_out_of_the_folder(project: Project, tmp_path: Path, name: str) -> None:
    beside = tmp_path / "x.png.geojson"
    beside.write_text("mine")
    cells = project.cells.assign(image=project.cells["image"].replace("one.png", name))
    drain(export_project(replace(project, cells=cells), "geojson", tmp_path / "a" / "b" / "out"))
    assert beside.read_text() == "mine"
    written = set(tmp_path.rglob("*.geojson")) - {beside}
    assert len(written) == 2
    assert all(path.is_relative_to(tmp_path / "a" / "b" / "out" / "geojson") for path in written)
    assert not Path("/abs").exists()


def test_tables_never_replace_those_of_a_scored_folder(project: Project, tmp_path: Path) -> None:
    write_project(project, tmp_path / "scored")
    with pytest.raises(AmilError, match=r"is a scored folder, whose cells\.csv and bags\.csv would be lost"):
        drain(export_project(choose_bags(project, ["one.png"]), "csv", tmp_path / "scored"))
    assert len(read_project(tmp_path / "scored").bags) == 2

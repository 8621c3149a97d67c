"""Cells that went out in any format and came back have the scores of the cells that were found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import tifffile
from napari.layers import Labels, Shapes
from napari_builtins.io import napari_write_labels, napari_write_shapes
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from skimage.draw import polygon

from napari_amil.core.base.device import pick_device
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Warned, drain
from napari_amil.core.cohort.synth import SynthSettings, synthetic_smear
from napari_amil.core.exchange.annotation import _BORDER_PX
from napari_amil.core.images.read import find_images
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.given_cells import give_cells
from napari_amil.core.instances.sources import open_source
from napari_amil.core.model.bundle import load_bundle
from napari_amil.core.scoring.detect import Found, detect_images, write_detections
from napari_amil.core.scoring.score import Scored, score_source

SHAPE = 256, 320
SCORES = ["anomaly", "attention", "pool_weight", "contribution_control", "morph_distance"]


@pytest.fixture(scope="module")
def starter() -> Recipe:
    return Recipe.from_bundle(load_bundle(None), None, pick_device("cpu"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smears")
    for seed in (3, 4):
        smear = synthetic_smear(seed, SynthSettings(height=SHAPE[0], width=SHAPE[1], n_cells=24))
        PIL.Image.fromarray(smear.image).save(folder / f"field-{seed}.png")
    return folder


@pytest.fixture(scope="module")
def found(images: Path, starter: Recipe) -> Found:
    return drain(detect_images(find_images([images]), starter))


@pytest.fixture(scope="module")
def own(images: Path, starter: Recipe) -> Scored:
    """The scores of the cells as they were found."""
    return drain(score_source(open_source([images], "control"), starter))


def rescored(images: Path, place: Path, recipe: Recipe) -> Scored:
    source = drain(give_cells(open_source([images], "control"), place, recipe))
    return drain(score_source(source, recipe))


def nearest_first(cells: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Return each cell in the row of the other one of its image that lies nearest, one to one."""
    places = [
        np.stack([(t.y0 + t.y1) / 2, (t.x0 + t.x1) / 2, 1e4 * t.image.factorize(sort=True)[0]], axis=1)
        for t in (others, cells)
    ]
    return cells.iloc[linear_sum_assignment(cdist(*places))[1]].reset_index(drop=True)


@pytest.mark.parametrize("kind", ["csv", "coco", "geojson"])
def test_our_own_exports_come_back_with_the_same_scores(
    images: Path, found: Found, own: Scored, starter: Recipe, tmp_path: Path, kind: str
) -> None:
    again = rescored(images, write_detections(found, tmp_path, kind), starter)
    before, after = own.cells.sort_values(["image", "cell_id"]), again.cells.sort_values(["image", "cell_id"])
    assert len(after) == len(before) > 30
    for name in ("image", "cell_id", "touches_border", "overlaps", "status"):
        assert after[name].tolist() == before[name].tolist(), name
    np.testing.assert_allclose(after[SCORES], before[SCORES], rtol=0.01, atol=1e-3)
    same = np.isclose(after[SCORES], before[SCORES], rtol=1e-3, atol=1e-4) | before[SCORES].isna()
    assert same.to_numpy().mean() > (0.98 if kind == "csv" else 0.999)
    assert again.bags["predicted"].tolist() == own.bags["predicted"].tolist()
    np.testing.assert_allclose(again.bags["anomaly_p95"], own.bags["anomaly_p95"], rtol=2e-3)


def write_shapes(found: Found, folder: Path) -> None:
    for name, (_, cells) in found.items():
        layer = Shapes([outline - 0.5 for outline in cells.outlines], shape_type="polygon")
        data, meta, _ = layer.as_layer_data_tuple()
        assert napari_write_shapes(str(folder / f"{Path(name).stem}.csv"), data, meta)


def write_labels(found: Found, folder: Path) -> None:
    for name, (shape, cells) in found.items():
        labels = np.zeros(shape, np.int32)
        for number, outline in zip(cells.cell_id, cells.outlines, strict=True):
            labels[polygon(outline[:, 0] - 0.5, outline[:, 1] - 0.5, shape)] = number
        data, meta, _ = Labels(labels).as_layer_data_tuple()
        assert napari_write_labels(str(folder / f"{Path(name).stem}_labels.tif"), data, meta)
        assert tifffile.imread(folder / f"{Path(name).stem}_labels.tif").max() == labels.max()


@pytest.mark.parametrize(
    ("write", "tolerance", "holds_overlaps"),
    [(write_shapes, 1e-4, True), (write_labels, 0.01, False)],
    ids=["shapes", "labels"],
)
def test_layers_saved_from_napari_come_back_with_outlines_but_without_the_detectors_boxes(
    images: Path,
    found: Found,
    own: Scored,
    starter: Recipe,
    tmp_path: Path,
    write: Callable[[Found, Path], None],
    tolerance: float,
    holds_overlaps: bool,
) -> None:
    write(found, tmp_path)
    before, after = own.cells.reset_index(drop=True), rescored(images, tmp_path, starter).cells
    assert len(after) == len(before)
    after = nearest_first(after, before)
    moved = before["anomaly"].isna() != after["anomaly"].isna()
    corners = before.loc[moved, ["y0", "x0", "y1", "x1"]].to_numpy()
    room = np.abs(corners - [0, 0, *SHAPE]).min(axis=1)
    assert (np.abs(room - _BORDER_PX) < 1).all()  # only rounding decides that the border cuts these
    both = before["anomaly"].notna() & after["anomaly"].notna()
    assert both.sum() >= before["anomaly"].notna().sum() - 1
    difference = (after["anomaly"] / before["anomaly"] - 1).abs()
    assert difference.median() < tolerance
    alike = both & (holds_overlaps | ~before["overlaps"])  # in a label image one of two lacks what they share
    assert alike.sum() > both.sum() / 2
    assert np.corrcoef(after["anomaly"][alike], before["anomaly"][alike])[0, 1] > (
        0.9 if holds_overlaps else 0.98
    )


def test_images_without_cells_are_left_out_and_a_wrong_file_is_refused(
    images: Path, starter: Recipe, tmp_path: Path
) -> None:
    place = tmp_path / "cells.csv"
    place.write_text("image,y0,x0,y1,x1\nfield-3.png,10,10,50,50\n")
    events: list[Event] = []
    source = drain(give_cells(open_source([images], "control"), place, starter), events.append)
    assert [bag.bag for bag in source.cohort] == ["field-3.png"]
    warned = [event.message for event in events if isinstance(event, Warned)]
    assert warned == ["1 of 2 images got no cell and are left out, 'field-4.png' first."]
    place.write_text("image,y0,x0,y1,x1\nfield-3.png,1000,10,1050,50\n")
    with pytest.raises(AmilError, match="gives no image a cell that can be used; the reasons are listed"):
        drain(give_cells(open_source([images], "control"), place, starter))
    (tmp_path / "empty").mkdir()
    with pytest.raises(AmilError, match=r"empty' has no annotation of 'field-3.png' or another image; give"):
        drain(give_cells(open_source([images], "control"), tmp_path / "empty", starter))

"""A field too large for one piece is scored block by block, with the scores of the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import tifffile
import zarr
from numpy.typing import NDArray

from napari_amil.core.base.events import Event, Step, drain
from napari_amil.core.base.types import Image
from napari_amil.core.cohort.synth import SyntheticSmear, SynthSettings, synthetic_smear
from napari_amil.core.detection.network_input import tiled_input
from napari_amil.core.images import fields, refusals, samples
from napari_amil.core.images.fields import ArrayField
from napari_amil.core.instances import field_blocks
from napari_amil.core.instances.extract import Recipe, in_order, instance_blocks
from napari_amil.core.instances.field_blocks import PreparedField
from napari_amil.core.instances.given_cells import give_cells
from napari_amil.core.instances.sources import open_source
from napari_amil.core.mil.instances import measurements_of, pixels_of
from napari_amil.core.scoring.score import Scored, score_source
from napari_amil.core.scoring.score_folder import project_of
from napari_amil.core.studies.pictures import Fields, cell_sheet, distance_caption, most_unusual

SHAPE = (330, 420)
BOXES = ["y0", "x0", "y1", "x1"]


@pytest.fixture(scope="module")
def smear() -> SyntheticSmear:
    return synthetic_smear(3, SynthSettings(height=SHAPE[0], width=SHAPE[1], n_cells=40))


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is large; files without parts are still read as a whole."""
    monkeypatch.setattr(fields, "WHOLE_PX", 1000)
    monkeypatch.setattr(samples, "_SAMPLE_PX", 150)
    monkeypatch.setattr(field_blocks, "_BLOCK_PX", 128)


def write(kind: str, folder: Path, image: Image) -> Path:
    """Write an image so that parts of it can be read, or as PNG."""
    path = folder / f"field.{kind}"
    if kind == "png":
        PIL.Image.fromarray(image).save(path)
    elif kind == "zarr":
        zarr.create_array(path, data=image, chunks=(64, 64, 3))
    else:
        tifffile.imwrite(path, image, tile=(64, 64), compression="zlib", photometric="rgb")
    return path


def tuned(recipe: Recipe, tile_px: int = 384) -> Recipe:
    wanted = {"cell_diameter_px": 40.0, "tile_px": tile_px, "candidate_score": 0.3}
    detection = recipe.settings.detection.model_copy(update=wanted)
    settings = recipe.settings.model_copy(update={"detection": detection})
    return Recipe(recipe.bundle, settings, recipe.device)


def test_crops_and_measurements_do_not_depend_on_the_blocks(
    recipe: Recipe, smear: SyntheticSmear, small_pieces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    field = ArrayField(smear.image)
    settings = recipe.settings
    seen = PreparedField(field, tiled_input(field, settings.detection, settings.normalisation))
    parts = list(instance_blocks(seen, smear.cells, recipe, measured=True))
    monkeypatch.setattr(fields, "WHOLE_PX", 10**9)
    ((rows, whole),) = instance_blocks(seen, smear.cells, recipe, measured=True)
    assert len(parts) == 11  # of 12 squares one holds no cell
    assert rows.tolist() == list(range(len(smear.cells)))
    assert smear.cells.touches_border.any()
    assert smear.cells.overlaps.any()
    together = in_order(parts)
    apart = np.abs(pixels_of(together).astype(int) - pixels_of(whole))
    assert apart.max() <= 1
    np.testing.assert_allclose(measurements_of(together), measurements_of(whole), rtol=0.02, atol=2e-3)


def test_cells_and_scores_are_those_of_the_same_field_in_one_file(
    recipe: Recipe, smear: SyntheticSmear, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tuned(recipe)
    paths = {kind: write(kind, tmp_path, smear.image) for kind in ("png", "zarr", "tif")}
    whole = scored(paths["png"], recipe, [])
    monkeypatch.setattr(field_blocks, "_BLOCK_PX", 128)
    monkeypatch.setattr(fields, "WHOLE_PX", 1000)
    events: list[Event] = []
    found = {"png": scored(paths["png"], recipe, events)}
    monkeypatch.setattr(refusals, "MAX_PIXELS", 100_000)  # more than a file without parts may have
    found |= {kind: scored(paths[kind], recipe, []) for kind in ("zarr", "tif")}
    assert any(isinstance(event, Step) and event.stage == "embed" for event in events)
    named = found["png"].cells.drop(columns=["bag", "image"])
    for kind in ("zarr", "tif"):
        cells = found[kind].cells
        assert cells["image"].unique().tolist() == [f"field.{kind}"]
        pd.testing.assert_frame_equal(cells[named.columns], named, check_exact=True)
        np.testing.assert_array_equal(found[kind].embeddings, found["png"].embeddings)
    assert len(named) == len(whole.cells) > 10
    np.testing.assert_allclose(named[BOXES], whole.cells[BOXES], atol=0.05)
    np.testing.assert_allclose(named["anomaly"], whole.cells["anomaly"], rtol=0.01)
    project = project_of(found["zarr"], open_source([paths["zarr"]], "control"), recipe, None)
    top = most_unusual(project.cells, 4)
    in_parts = drain(cell_sheet(project, Fields(project), top, "", distance_caption))
    monkeypatch.setattr(fields, "WHOLE_PX", 10**9)
    at_once = drain(cell_sheet(project, Fields(project), top, "", distance_caption))
    np.testing.assert_array_equal(in_parts, at_once)


def scored(path: Path, recipe: Recipe, events: list[Event]) -> Scored:
    return drain(score_source(open_source([path], "control"), recipe), events.append)


def test_no_more_than_a_part_is_read_at_once(
    recipe: Recipe,
    smear: SyntheticSmear,
    small_pieces: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write("zarr", tmp_path, smear.image)
    read: list[int] = []
    as_it_is = fields.StoredField.window

    def noted(field: fields.StoredField, rows: slice, columns: slice) -> Image:
        part: NDArray[np.uint8] = as_it_is(field, rows, columns)
        read.append(part.shape[0] * part.shape[1])
        return part

    monkeypatch.setattr(fields.StoredField, "window", noted)
    smear.cells.table().assign(image="field.zarr").to_csv(tmp_path / "cells.csv", index=False)
    recipe = tuned(recipe, tile_px=160)
    source = drain(give_cells(open_source([path], "control"), tmp_path / "cells.csv", recipe))
    (cells,) = source.cohort.bags[0].cells.values()
    assert len(cells) == len(smear.cells)
    assert sum(len(outline) > 4 for outline in cells.outlines) > len(cells) // 2
    found = drain(score_source(source, recipe))
    assert len(found.cells) == len(cells)
    assert found.cells["anomaly"].notna().sum() == (~cells.touches_border).sum()
    assert max(read) < 0.4 * SHAPE[0] * SHAPE[1]

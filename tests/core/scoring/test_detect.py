"""Images of any size to one table of cells."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from napari_amil.core.base.events import Event, Failed, Step, Warned, drain
from napari_amil.core.base.settings import DetectionSettings
from napari_amil.core.cohort.synth import SyntheticSmear, SynthSettings, synthetic_smear
from napari_amil.core.images import fields
from napari_amil.core.images.read import find_images
from napari_amil.core.instances.extract import Recipe, recipe_for
from napari_amil.core.model.bundle import Bundle
from napari_amil.core.scoring.detect import cell_table, detect_images, write_fields_of_view


@pytest.fixture(scope="module")
def smear() -> SyntheticSmear:
    return synthetic_smear(3, SynthSettings(height=320, width=400, n_cells=30))


@pytest.fixture
def stored(smear: SyntheticSmear, tmp_path: Path) -> Path:
    path = tmp_path / "field.ome.tif"
    metadata = {"axes": "YXS", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    tifffile.imwrite(path, smear.image, tile=(64, 64), photometric="rgb", metadata=metadata)
    return path


def test_the_field_of_view_of_every_image_is_a_mask(smear: SyntheticSmear, tmp_path: Path) -> None:
    y, x = np.ogrid[:320, :400]
    inside = np.hypot(y - 160, x - 200) < 140
    (tmp_path / "p1").mkdir()
    PIL.Image.fromarray(smear.image).save(tmp_path / "p1" / "full.png")
    PIL.Image.fromarray(np.where(inside[..., None], smear.image, 4)).save(tmp_path / "p1" / "round.png")
    (tmp_path / "p1" / "bad.png").write_bytes(b"")
    events: list[Event] = []
    folder = drain(write_fields_of_view(find_images([tmp_path]), tmp_path / "out"), events.append)
    masks = {path.name.split(".")[0]: np.asarray(PIL.Image.open(path)) for path in folder.rglob("*.png")}
    assert set(masks) == {"full", "round"}
    assert (masks["full"] == 255).all()
    assert set(np.unique(masks["round"])) == {0, 255}
    assert not masks["round"][~inside].any()
    assert [event.source for event in events if isinstance(event, Failed)] == ["p1/bad.png"]


def with_detection(recipe: Recipe, **values: object) -> Recipe:
    wanted = recipe.settings.detection.model_copy(update=values)
    settings = recipe.settings.model_copy(update={"detection": wanted})
    return Recipe(recipe.bundle, settings, recipe.device)


def test_a_large_image_gives_the_cells_of_a_small_one_tile_by_tile(
    recipe: Recipe, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = with_detection(recipe, cell_diameter_px=40.0, tile_px=256, candidate_score=0.3)
    whole = cell_table(drain(detect_images(find_images([stored]), recipe)))
    monkeypatch.setattr(fields, "WHOLE_PX", 1000)
    events: list[Event] = []
    found = drain(
        detect_images(find_images([stored]), recipe),
        events.append,
    )
    assert found["field.ome.tif"][0] == (320, 400)
    tiled = cell_table(found)
    assert len(tiled) == len(whole) > 10
    boxes = ["y0", "x0", "y1", "x1"]
    np.testing.assert_allclose(tiled[boxes], whole[boxes], atol=0.05)
    np.testing.assert_array_equal(tiled["touches_border"], whole["touches_border"])
    steps = [
        (event.done, event.total) for event in events if isinstance(event, Step) and event.stage == "detect"
    ]
    assert steps == [(n, 4) for n in range(5)]


def test_damage_in_the_middle_of_a_large_image_is_a_failure_of_that_image(
    recipe: Recipe, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fields, "WHOLE_PX", 1000)
    good = stored.with_name("good.tif")
    good.write_bytes(stored.read_bytes())
    stored.write_bytes(stored.read_bytes()[:100_000])
    events: list[Event] = []
    found = drain(
        detect_images(find_images([stored, good]), with_detection(recipe, tile_px=256)), events.append
    )
    assert list(found) == ["good.tif"]
    assert [event.source for event in events if isinstance(event, Failed)] == ["field.ome.tif"]


def test_a_diameter_in_micrometres_becomes_pixels(small_bundle: Bundle, recipe: Recipe, stored: Path) -> None:
    in_um = with_detection(recipe, cell_diameter_um=7.5)
    assert drain(recipe_for(in_um, stored, "field")).settings.detection.cell_diameter_px == 30
    in_px = with_detection(in_um, cell_diameter_px=50.0)
    assert drain(recipe_for(in_px, stored, "field")).settings == in_px.settings
    assert in_um.at_pixel_size(None) is in_um
    plain = stored.with_name("plain.tif")
    tifffile.imwrite(plain, np.zeros((40, 40, 3), np.uint8), photometric="rgb")
    events: list[Event] = []
    assert drain(recipe_for(in_um, plain, "plain"), events.append).settings == in_um.settings
    assert [type(event) for event in events] == [Warned]
    assert "how large a pixel is" in str(events[0])
    assert DetectionSettings().cell_diameter_um is None

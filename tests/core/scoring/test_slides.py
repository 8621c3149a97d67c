"""Fields of a slide: copied, scored as one bag, and given back in pixels of the slide."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_amil.core.base.errors import AmilError, SettingsError
from napari_amil.core.base.events import Event, Failed, Warned, drain
from napari_amil.core.base.files import read_json
from napari_amil.core.cohort.slide_synth import SyntheticSlide
from napari_amil.core.exchange.project import Project
from napari_amil.core.images.fields import open_field
from napari_amil.core.scoring.slides import FieldChoice, choose_fields, write_slide_results

REGION = FieldChoice(region=(200, 40, 600, 300))


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide of 900 x 900 pixels whose pixels are 0.19 micrometres wide."""
    path = tmp_path_factory.mktemp("slide") / "a slide.tif"
    image = SyntheticSlide(np.array([[2]], np.uint8), variants=1).block_of(2, 0)[:900, :900]
    per_cm = 1e4 / 0.19
    tifffile.imwrite(
        path,
        image,
        photometric="rgb",
        resolution=(per_cm, per_cm),
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    return path


def test_a_region_is_copied_pixel_by_pixel(slide: Path, tmp_path: Path) -> None:
    chosen = drain(choose_fields([slide], REGION, tmp_path, "control"))
    (bag,) = chosen.source.cohort
    assert (bag.bag, bag.images) == ("a slide.tif", ("a slide.tif/001-x200-y40.tif",))
    with open_field(*chosen.source.files[bag.images[0]]) as field:
        assert field.pixel_um == pytest.approx(0.19, rel=1e-3)
        copied = field.window(slice(0, 300), slice(0, 600))
    np.testing.assert_array_equal(copied, tifffile.imread(slide)[40:340, 200:800])


def test_the_best_square_is_chosen_once(slide: Path, tmp_path: Path) -> None:
    said: list[Event] = []
    choice = FieldChoice(n_fields=2)
    chosen = drain(choose_fields([slide], choice, tmp_path, "control"), said.append)
    assert [field.width for field in chosen.fields["a slide.tif"]] == [789]
    assert any(isinstance(one, Warned) and "only 1 of 1 squares" in one.message for one in said)
    squares = pd.read_csv(tmp_path / "slides" / "a slide.tif" / "squares.csv")
    assert squares["taken"].tolist() == [True]
    assert (tmp_path / "slides" / "a slide.tif" / "overview.png").stat().st_size > 0
    again: list[Event] = []
    assert drain(choose_fields([slide], choice, tmp_path, "control"), again.append).fields == chosen.fields
    assert [one.message for one in again if isinstance(one, Warned)] == [
        "a slide.tif: its 1 fields were chosen before and are taken over."
    ]


def test_results_are_in_pixels_of_the_slide(slide: Path, tmp_path: Path) -> None:
    chosen = drain(choose_fields([slide], REGION, tmp_path, "control"))
    image = chosen.fields["a slide.tif"][0].image
    boxes = {"y0": [10.0, 50.0], "x0": [20.0, 60.0], "y1": [30.0, 90.0], "x1": [40.0, 100.0]}
    cells = pd.DataFrame(
        {"bag": "a slide.tif", "image": image, "cell_id": [1, 2], **boxes, "anomaly_q": [0.01, 0.9]}
    )
    outlines = tuple(
        np.array([[a, b], [a, d], [c, d]], np.float32) for a, b, c, d in zip(*boxes.values(), strict=True)
    )
    project = Project(cells, pd.DataFrame({"bag": ["a slide.tif"]}), np.zeros((2, 1), np.float32), outlines)
    (written,) = write_slide_results(project, chosen, tmp_path)
    features = read_json(written)["features"]
    assert [one["properties"]["classification"]["name"] for one in features] == ["Anomalous cell", "Cell"]
    assert features[0]["geometry"]["coordinates"][0] == [[220, 50], [240, 50], [240, 70], [220, 50]]
    table = pd.read_csv(tmp_path / "slides" / "a slide.tif" / "cells.csv")
    assert table[["y0", "x0", "y1", "x1"]].to_numpy().tolist() == [[50, 220, 70, 240], [90, 260, 130, 300]]


def test_a_slide_that_cannot_be_read_stops_no_other(slide: Path, tmp_path: Path) -> None:
    said: list[Event] = []
    chosen = drain(choose_fields([tmp_path / "b.svs", slide], REGION, tmp_path, "control"), said.append)
    assert list(chosen.fields) == ["a slide.tif"]
    (failed,) = [one for one in said if isinstance(one, Failed)]
    assert "does not exist" in failed.reason
    with pytest.raises(AmilError, match="No slide could be used"):
        drain(choose_fields([tmp_path / "b.svs"], REGION, tmp_path, "control"))


def test_a_region_outside_the_slide_or_of_no_size_is_refused(slide: Path, tmp_path: Path) -> None:
    said: list[Event] = []
    far = replace(REGION, region=(500, 500, 500, 100))
    with pytest.raises(AmilError):
        drain(choose_fields([slide], far, tmp_path, "control"), said.append)
    assert any(isinstance(one, Failed) and "900 x 900" in one.reason for one in said)
    for text in ("1,2,3", "a,b,c,d", "1,2,0,5"):
        with pytest.raises(SettingsError, match="is no region"):
            FieldChoice.parse(1, text, None)
    assert FieldChoice.parse(1, " 3,4,50,60 ", 40.0) == FieldChoice(1, (3, 4, 50, 60), 40.0)

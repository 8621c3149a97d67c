from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image as Picture

from napari_amil.core.base.errors import AmilError
from napari_amil.plugin.cohorts.scored_folder import file_of, find_images_of, read_scored_folder


def test_cells_know_what_is_said_of_their_bag(scored_cohort: Path) -> None:
    scored = read_scored_folder(scored_cohort)
    assert len(scored.cells) == 15
    assert scored.cells["predicted"].tolist() == ["control"] * 5 + ["thal"] * 10
    assert scored.images == scored_cohort.parent / "smears"
    said = scored.verdict_of("p1", "one.png")
    assert said is not None
    assert (said["predicted"], said["probability"]) == ("control", {"control": 0.8, "thal": 0.2})
    assert scored.verdict_of("p2", "sub/two.png") is None  # the bag has cells of another image too


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "There is no"),
        ("a,b\n1,2\n", "lacks image, cell_id"),
        ("image,cell_id,y0,x0,y1,x1\n", "has no row"),
        ('image,cell_id\n"unclosed,1\n', "cannot be read"),
    ],
)
def test_what_is_no_scored_folder_is_told(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "cells.csv").write_text(content)
    with pytest.raises(AmilError, match=said):
        read_scored_folder(tmp_path)


def test_images_are_looked_for_near_the_tables(tmp_path: Path) -> None:
    deep = tmp_path / "results" / "scored"
    deep.mkdir(parents=True)
    assert find_images_of(deep, ["no/where.png"]) is None
    folder = tmp_path / "cohort" / "control"
    folder.mkdir(parents=True)
    Picture.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "x.png")
    assert find_images_of(deep, ["control/x.png"]) == tmp_path / "cohort"
    assert file_of(folder, "stack.tif#3") == (folder / "stack.tif", 2)
    assert file_of(folder, "x.png") == (folder / "x.png", 0)


def test_images_are_found_where_they_were_scored(tmp_path: Path) -> None:
    far, near = tmp_path / "a" / "b" / "c" / "d" / "e" / "far", tmp_path / "scored"
    for folder in (far, near):
        folder.mkdir(parents=True)
    Picture.fromarray(np.zeros((9, 9), np.uint8)).save(far / "x.png")
    (near / "project.json").write_text(json.dumps({"root": str(far)}))
    assert find_images_of(near, ["x.png"]) == far
    (near / "project.json").write_text("no card")
    assert find_images_of(near, ["x.png"]) is None


def test_a_table_without_bags_will_do(tmp_path: Path) -> None:
    table = pd.DataFrame({"image": ["7"], "cell_id": [1], "y0": [0], "x0": [0], "y1": [5], "x1": [5]})
    table.to_csv(tmp_path / "cells.csv", index=False)
    scored = read_scored_folder(tmp_path / "cells.csv")
    assert scored.cells["image"].tolist() == ["7"]
    assert scored.cells["status"].tolist() == ["scored"]
    assert scored.images is None

"""What is said of a detector that was fine-tuned; no network runs here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from PIL import Image as Picture
from pytestqt.qtbot import QtBot

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Cells
from napari_amil.core.exchange.geojson import write_geojson
from napari_amil.plugin.training.detector_results import (
    NEW_COLOUR,
    OLD_COLOUR,
    DetectorResults,
    gain_words,
    image_words,
    show_comparison,
)

FIGURES = {"recall": 0.8, "precision": 0.9, "count_error": 0.2, "ap50": 0.85, "ap50_95": 0.6}


@pytest.fixture
def folder(tmp_path: Path, field: np.ndarray, cells: Cells) -> Path:
    """A run folder with one held-out image, in which the old detector finds three cells and the new five."""
    Picture.fromarray(field).save(tmp_path / "a.png")
    better = FIGURES | {"recall": 1.0, "count_error": 0.1, "ap50": None}
    metrics = {"before": FIGURES, "after": better, "steps": 60, "best_step": 50, "stopped": False}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    for name, found in (("annotated", cells), ("before", cells.take(np.arange(5) < 3)), ("after", cells)):
        write_geojson(found, None, tmp_path / "held-out" / f"0-{name}.geojson")
    entry = {"image": "a.png", "path": str(tmp_path / "a.png"), "page": 0, "complete": True, "n_annotated": 5}
    entry["annotated"] = "held-out/0-annotated.geojson"
    for name, n_found, n_right in (("before", 3, 2), ("after", 5, 5)):
        file = f"held-out/0-{name}.geojson"
        entry[name] = {"cells": file, "n_found": n_found, "n_right": n_right}
    (tmp_path / "held-out.json").write_text(json.dumps({"images": [entry]}))
    return tmp_path


def test_the_better_figure_stands_out_and_an_unknown_one_is_left_out(folder: Path, qtbot: QtBot) -> None:
    results = DetectorResults()
    qtbot.addWidget(results)
    results.show_folder(folder)
    heads = [results.table.verticalHeaderItem(row).text() for row in range(results.table.rowCount())]
    assert heads == ["Cells that are found", "Found that are cells", "Error of the count", "AP 50:95"]
    bold = [[results.table.item(row, c).font().bold() for c in (0, 1)] for row in range(4)]
    assert bold == [[False, True], [False, False], [False, True], [False, False]]
    assert (
        results.verdict.text()
        == "The new detector is that after step 50 of 60, the best on the held-out images."
    )
    assert results.of_image.text() == (
        "Of 5 annotated cells the old detector finds 2 (1 false), the new one finds 5 (0 false)."
    )


def test_old_and_new_lie_on_the_image_in_two_colours(folder: Path, viewer: ViewerModel, qtbot: QtBot) -> None:
    results = DetectorResults()
    qtbot.addWidget(results)
    results.show_folder(folder)
    with qtbot.waitSignal(results.compareWanted) as wanted:
        results.compare.click()
    image, annotated, old, new = show_comparison(viewer, wanted.args[0])
    assert image.data.shape == (160, 200, 3)
    assert [layer.nshapes for layer in (annotated, old, new)] == [5, 3, 5]
    assert [layer.visible for layer in (annotated, old, new)] == [False, True, True]
    assert [str(layer.current_edge_color)[:7] for layer in (old, new)] == [OLD_COLOUR, NEW_COLOUR]
    assert old.edge_width[0] > 2 * new.edge_width[0]
    (folder / "a.png").unlink()
    with pytest.raises(AmilError, match=r"'.*a\.png' cannot be opened .* is it still where it was"):
        show_comparison(viewer, wanted.args[0])
    assert len(viewer.layers) == 4


def test_what_was_not_better_or_not_measured_is_said() -> None:
    same = {"before": FIGURES, "after": FIGURES, "steps": 50, "best_step": 0, "stopped": True}
    assert gain_words(same).startswith(
        "It was ended after 50 steps. No step was better than the old detector"
    )
    assert "nobody can say" in gain_words({"steps": 50, "best_step": 50})
    fresh = {"n_annotated": 4, "complete": False, "after": {"n_found": 9, "n_right": 3}}
    assert image_words(fresh) == "Of 4 annotated cells the new one finds 3."

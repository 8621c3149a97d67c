"""The public interface: what it lists exists, arrays and files agree, and errors are sentences."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import napari_amil as amil
from napari_amil.core.base.events import Event, Step
from napari_amil.core.exchange.labels import cells_of_labels, labels_of_cells

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def field() -> np.ndarray:
    """A part of a made-up smear."""
    return amil.sample_smear(3)[:260, :320]


@pytest.fixture(scope="module")
def scored(field: np.ndarray) -> amil.Results:
    """Its scores."""
    return amil.score(field)


def test_every_listed_name_exists_and_is_documented() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"auto\w+:: napari_amil\.(\w+)", page))
    assert documented == set(amil.__all__) - {"__version__", "AmilError"}
    assert all(getattr(amil, name).__module__.startswith("napari_amil.") for name in documented)


def test_an_array_and_its_file_have_the_same_scores(
    field: np.ndarray, scored: amil.Results, tmp_path: Path
) -> None:
    PIL.Image.fromarray(field).save(tmp_path / "field.png")
    from_file = amil.score(tmp_path / "field.png")
    np.testing.assert_array_equal(from_file.embeddings, scored.embeddings)
    np.testing.assert_array_equal(from_file.cells["anomaly"], scored.cells["anomaly"])
    assert len(scored.outlines) == len(scored.cells) == len(scored) > 10
    assert scored.bags["n_cells"].tolist() == [(scored.cells["status"] == "scored").sum()]


def test_given_labels_are_the_cells_and_stay_them(field: np.ndarray, scored: amil.Results) -> None:
    labels = np.zeros(field.shape[:2], np.int32)
    labels[40:70, 50:80], labels[100:135, 200:230] = 7, 3
    results = amil.score(field, cells=labels)
    assert results.cells["cell_id"].tolist() == [3, 7]
    assert results.cells["y0"].tolist() == [100, 40]
    with pytest.raises(amil.AmilError, match=r"label image of 'image' has shape \(5, 5\)"):
        amil.score(field, cells=np.zeros((5, 5), int))
    with pytest.raises(amil.AmilError, match="holds no cell"):
        amil.score(field, cells=np.zeros(field.shape[:2], int))


def test_a_label_image_of_detected_cells_has_their_ids_and_areas(field: np.ndarray) -> None:
    found = amil.detect(field)
    labels = found.labels()
    assert set(np.unique(labels)) - {0} <= set(found.cells["cell_id"])
    alone = found.cells[~found.cells["overlaps"] & ~found.cells["touches_border"]]
    counted = [(labels == number).sum() for number in alone["cell_id"]]
    np.testing.assert_allclose(counted, alone["area_px"], rtol=0.05)


def test_labels_become_cells_and_labels_again() -> None:
    labels = np.zeros((30, 40), np.uint32)
    labels[2:12, 3:18], labels[12:28, 20:33] = 9, 4
    np.testing.assert_array_equal(labels_of_cells(cells_of_labels(labels), (30, 40)), labels)


def test_results_in_a_folder_hold_the_images_of_arrays(field: np.ndarray, tmp_path: Path) -> None:
    seen: list[Event] = []
    written = amil.score({"Ada": field}, out=tmp_path / "out", progress=seen.append)
    again = amil.load_results(tmp_path / "out")
    assert again.images == ["Ada"]
    assert any(isinstance(event, Step) for event in seen)
    np.testing.assert_array_equal(again.cells["anomaly"], written.cells["anomaly"])
    with pytest.raises(amil.AmilError, match=r"holds the scores of 1 images that are not given now, 'Ada'"):
        amil.score({"Bob": field}, out=tmp_path / "out")
    del written
    colours = again.draw(by="anomaly_percentile").axes[1].get_ylabel()
    assert colours == "Unusualness in %"


def test_temporary_images_go_with_the_results(field: np.ndarray) -> None:
    results = amil.detect(field)
    path = results.files["image"][0]
    assert path.exists()
    del results
    assert not path.parent.exists()


def test_images_that_cannot_be_used_are_listed_and_warned_of(field: np.ndarray, tmp_path: Path) -> None:
    PIL.Image.fromarray(field).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no picture")
    with pytest.warns(amil.AmilWarning, match=r"1 inputs could not be used, 'b.png' first"):
        found = amil.detect(tmp_path)
    assert found.failures["source"].tolist() == ["b.png"]
    assert list(found.shapes.values()) == [(260, 320)]


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        ([], "an empty list"),
        ([np.zeros((9, 9)), "a.png"], "not ndarray"),
        ([3], "not int"),
        ({"a": [1]}, "The sample 'a' holds no arrays"),
        ("nowhere.png", "nowhere.png"),
    ],
)
def test_images_of_no_kind_are_refused_in_a_sentence(images: object, sentence: str) -> None:
    with pytest.raises(amil.AmilError, match=sentence):
        amil.detect(images)  # type: ignore[arg-type]


def test_a_column_that_is_none_is_refused_with_the_known_ones(scored: amil.Results) -> None:
    with pytest.raises(amil.AmilError, match=r"'status' is no column of numbers.*anomaly_percentile"):
        scored.draw(by="status")
    with pytest.raises(amil.AmilError, match=r"no image 'x' here; name one of image"):
        scored.draw("x")


def test_the_package_can_be_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "napari_amil", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == amil.__version__

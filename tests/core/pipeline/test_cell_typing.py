"""A scored folder gets types from a table of names, and another folder from the file of the classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_amil.core.base.columns import MORPH, column_name
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Warned, drain
from napari_amil.core.base.types import box_outline
from napari_amil.core.cell_types.features import MEASURED
from napari_amil.core.exchange.project import Project
from napari_amil.core.pipeline.cell_typing import classify_project, write_typed


@pytest.fixture
def project() -> Project:
    """Two samples of 40 cells; every second cell is long, the last is cut by the border."""
    rng = np.random.default_rng(1)
    n = 80
    long = np.arange(n) % 2 == 0
    columns = {column_name(MORPH, name): rng.normal(size=n) for name in MEASURED}
    for name in ("aspect_ratio", "roughness", "pallor_elongation", "tail"):
        columns[column_name(MORPH, name)] += 7 * long
    y0 = 30.0 * (np.arange(n) % 40)
    boxes = {"y0": y0, "x0": y0 * 0, "y1": y0 + 20, "x1": y0 * 0 + 20}
    bags = np.repeat(["Ada", "Ben"], 40)
    cells = pd.DataFrame({"bag": bags, "image": bags, "cell_id": np.tile(np.arange(1, 41), 2), **boxes})
    cells = cells.assign(status=["scored"] * (n - 1) + ["unscored"], anomaly=1.0, **columns)
    table = pd.DataFrame({"bag": ["Ada", "Ben"], "patient": ["Ada", "Ben"], "label": ["", ""]})
    outlines = tuple(box_outline(box) for box in cells[["y0", "x0", "y1", "x1"]].to_numpy(np.float32))
    embeddings = rng.normal(size=(n, 3)).astype(np.float32)
    return Project(cells, table, embeddings, outlines, {"bundle": {"sha256": "m1"}})


def names_of(project: Project) -> pd.DataFrame:
    """Return names of 12 cells of each sample."""
    own = project.cells[project.cells["cell_id"] <= 12]
    return own[["image", "cell_id"]].assign(cell_type=np.where(own["cell_id"] % 2 == 1, "long", "round"))


def test_names_type_all_cells_and_change_no_score(project: Project, tmp_path: Path) -> None:
    before = project.cells.copy()
    found = drain(classify_project(project, names_of(project)))
    truth = np.where(np.arange(80) % 2 == 0, "long", "round")
    typed = found.cells["type"].to_numpy() != ""
    assert typed[:79].mean() > 0.8
    assert (found.cells["type"].to_numpy() == truth)[typed].mean() > 0.95
    assert found.cells["type"].iloc[79] == ""
    assert np.isnan(found.cells["type_probability"].iloc[79])
    assert (found.validation.by, found.validation.n_cells) == ("slide", 24)
    assert found.classifier.card["n_cells"] == {"long": 12, "round": 12}
    assert found.counts.groupby("bag")["n_cells"].sum().to_dict() == {"Ada": 40, "Ben": 39}
    assert not set(found.worth_naming) & set(np.flatnonzero(project.cells["cell_id"] <= 12))
    pd.testing.assert_frame_equal(project.cells, before)
    written = write_typed(found, tmp_path)
    assert all(path.exists() for path in written)
    again = drain(classify_project(project, classifier=tmp_path / "types.safetensors"))
    assert again.cells["type"].tolist() == found.cells["type"].tolist()


def test_a_classifier_of_another_model_is_refused(project: Project, tmp_path: Path) -> None:
    write_typed(drain(classify_project(project, names_of(project))), tmp_path)
    other = replace(project, card={"bundle": {"sha256": "m2"}})
    with pytest.raises(AmilError, match="scores of another model"):
        drain(classify_project(other, classifier=tmp_path / "types.safetensors"))


def test_names_of_one_slide_are_said_to_tell_of_it_alone(project: Project) -> None:
    own = names_of(project)
    events = []
    drain(classify_project(project, own[own["image"] == "Ada"]), events.append)
    assert any(isinstance(event, Warned) and "of one slide" in event.message for event in events)
    with pytest.raises(AmilError, match="no column 'cell_type'"):
        drain(classify_project(project))


def test_a_saved_classifier_is_improved_by_names_of_other_images(project: Project, tmp_path: Path) -> None:
    names = names_of(project)
    write_typed(drain(classify_project(project, names[names["image"] == "Ada"])), tmp_path)
    better = drain(
        classify_project(project, names[names["image"] == "Ben"], tmp_path / "types.safetensors")
    ).classifier
    at_once = drain(classify_project(project, names)).classifier
    assert better.card["n_cells"] == {"long": 12, "round": 12}
    np.testing.assert_allclose(better.weights, at_once.weights, rtol=1e-4, atol=1e-5)
    renamed = names[names["image"] == "Ada"].assign(cell_type=lambda table: "very " + table["cell_type"])
    corrected = drain(classify_project(project, renamed, tmp_path / "types.safetensors"))
    assert corrected.classifier.card["n_cells"] == {"very long": 6, "very round": 6}


def test_a_classifier_without_its_named_cells_cannot_be_improved(project: Project, tmp_path: Path) -> None:
    found = drain(classify_project(project, names_of(project)))
    replace(found.classifier, examples=None).save(tmp_path / "types.safetensors")
    with pytest.raises(AmilError, match="holds no named cells to add to"):
        drain(classify_project(project, names_of(project), tmp_path / "types.safetensors"))

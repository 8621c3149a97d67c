"""A scored folder comes back row for row, and says in words what is wrong with it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA

from napari_amil.core.base.errors import AmilError
from napari_amil.core.exchange.project import Project, read_project, refuse_foreign_tables, write_project
from napari_amil.core.exchange.tables import load_table


def test_a_project_comes_back_row_for_row(project: Project, tmp_path: Path) -> None:
    write_project(project, tmp_path / "scored")
    back = read_project(tmp_path / "scored")
    pd.testing.assert_frame_equal(back.cells, project.cells, check_dtype=False)
    assert back.bags["patient"].tolist() == ["p1", "007"]
    np.testing.assert_array_equal(back.embeddings, project.embeddings)
    for mine, wanted in zip(back.outlines, project.outlines, strict=True):
        np.testing.assert_array_equal(mine, wanted)
    assert {name: back.card[name] for name in project.card} == project.card
    text = load_table(tmp_path / "scored" / "cells.csv")
    np.testing.assert_array_equal(text["anomaly"], project.cells["anomaly"])


def test_cells_of_an_image_are_there_once_with_ids_of_their_own(project: Project) -> None:
    cells, rows = project.image_cells("x.png")
    assert len(cells) == 2
    assert rows["anomaly"].tolist() == [1.5, 9.25]
    assert cells.cell_id.tolist() == rows["cell_id"].tolist() == [1, 2]
    np.testing.assert_array_equal(cells.outlines[1], project.outlines[1])
    shared = Project(
        project.cells.assign(image="x.png", cell_id=[1, 2, 1, 2]),
        project.bags,
        project.embeddings,
        project.outlines,
    )
    assert shared.image_cells("x.png")[0].cell_id.tolist() == [1, 2, 3, 4]


def test_the_plane_is_that_of_the_principal_components(project: Project) -> None:
    z = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    place = replace(project, embeddings=z).plane()
    wanted = PCA(2).fit_transform(z.astype(np.float64))
    np.testing.assert_allclose(np.abs(place), np.abs(wanted), atol=1e-6)
    flat = replace(project, embeddings=z[:, :1]).plane()
    np.testing.assert_allclose(np.abs(flat[:, 0]), np.abs(z[:, 0] - z[:, 0].mean()), atol=1e-6)
    assert (flat[:, 1] == 0).all()


def test_a_part_keeps_its_rows_together(project: Project) -> None:
    part = project.of_bags(["b"])
    assert part.bags["bag"].tolist() == ["b"]
    np.testing.assert_array_equal(part.embeddings, project.embeddings[2:])
    np.testing.assert_array_equal(part.outlines[0], project.outlines[2])
    with pytest.raises(ValueError, match="4 cells, 3 embeddings"):
        Project(project.cells, project.bags, project.embeddings[:3], project.outlines)


@pytest.mark.parametrize("what", ["nothing", "other version", "other json", "no arrays", "torn arrays"])
def test_what_is_wrong_is_said(project: Project, tmp_path: Path, what: str) -> None:
    write_project(project, tmp_path)
    card = tmp_path / "project.json"
    said = "score the cohort again"
    if what == "nothing":
        card.unlink()
        said = "is no scored folder.*napari-amil score"
    elif what == "other version":
        card.write_text(json.dumps(json.loads(card.read_text()) | {"format_version": 99}))
        said = "format version 99"
    elif what == "other json":
        card.write_text("[]")
    elif what == "no arrays":
        (tmp_path / "cells.npz").unlink()
    else:
        (tmp_path / "cells.npz").write_bytes(b"PK nothing")
    with pytest.raises(AmilError, match=said):
        read_project(tmp_path)


@pytest.mark.parametrize("file", ["cells.npz", "bags.csv"])
def test_a_file_of_other_scores_is_refused(project: Project, tmp_path: Path, file: str) -> None:
    """As after a copy of single files from another scored folder."""
    write_project(project, tmp_path / "a")
    other = replace(project, bags=project.bags.assign(patient="p9"), embeddings=project.embeddings + 1)
    write_project(other, tmp_path / "b")
    (tmp_path / "b" / file).replace(tmp_path / "a" / file)
    with pytest.raises(AmilError, match=rf"{file}' is not the file that was written with project\.json"):
        read_project(tmp_path / "a")


@pytest.mark.parametrize(
    ("entry", "value"), [("images", [1]), ("done", {"x": 3}), ("classes", "ill"), ("parts", None)]
)
def test_a_card_of_other_types_is_refused(
    project: Project, tmp_path: Path, entry: str, value: object
) -> None:
    write_project(project, tmp_path)
    card = json.loads((tmp_path / "project.json").read_text())
    (tmp_path / "project.json").write_text(json.dumps({**card, entry: value}))
    with pytest.raises(AmilError, match=rf"entry '{entry}.*' of '.*project\.json' is damaged"):
        read_project(tmp_path)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("cells.csv", "bag,patient,label,image,y0,x0,y1,x1"),
        ("bags.csv", "bag,patient,label,image"),
        ("cells.csv", ""),
    ],
)
def test_a_table_of_somebody_else_is_not_replaced(
    project: Project, tmp_path: Path, name: str, header: str
) -> None:
    write_project(project, tmp_path / "own")
    refuse_foreign_tables(tmp_path / "own")
    (tmp_path / "cells.csv").write_text("image\n")  # as 'detect' writes where nothing was found
    refuse_foreign_tables(tmp_path)
    (tmp_path / name).write_text(header)
    with pytest.raises(AmilError, match=rf"{name}' was not written by this program and would be lost"):
        refuse_foreign_tables(tmp_path)

"""Types of a scored folder are learned through files, and the reply says how good they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from napari_amil.core.base.columns import MORPH, column_name
from napari_amil.core.base.events import drain
from napari_amil.core.base.types import box_outline
from napari_amil.core.cell_types.features import MEASURED
from napari_amil.core.exchange.project import Project, write_project
from napari_amil.worker.cohorts import type_cells
from napari_amil.worker.protocol.messages import CellsTyped, TypeCells


def test_names_type_the_cells_of_a_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cells = pd.DataFrame({"bag": ["a"] * 20 + ["b"] * 20, "cell_id": [*range(20)] * 2})
    cells["image"] = cells["bag"]
    cells = cells.assign(y0=0.0, x0=30.0 * cells["cell_id"], y1=20.0, x1=30.0 * cells["cell_id"] + 20)
    columns = {column_name(MORPH, name): rng.normal(size=40) for name in MEASURED}
    for name in ("tail", "roughness", "aspect_ratio", "slit"):
        columns[column_name(MORPH, name)] += 9 * (np.arange(40) % 2)
    bags = pd.DataFrame({"bag": ["a", "b"], "patient": ["p", "q"]})
    outlines = tuple(box_outline(box) for box in cells[["y0", "x0", "y1", "x1"]].to_numpy(np.float32))
    project = Project(cells.assign(**columns), bags, rng.normal(size=(40, 2)).astype(np.float32), outlines)
    write_project(project, tmp_path / "scored")
    names = cells[["image", "cell_id"]].assign(cell_type=np.where(np.arange(40) % 2, "tailed", "plain"))
    names.to_csv(tmp_path / "names.csv", index=False)
    asked = TypeCells(folder=tmp_path / "scored", out=tmp_path / "out", names=tmp_path / "names.csv")
    reply = drain(type_cells(asked))
    assert [row[:2] for row in reply.validation] == [("plain", 20), ("tailed", 20)]
    assert reply.macro_f1 == 1.0
    assert reply.left_out == "slide"
    assert pd.read_csv(reply.types)["type"].notna().all()
    assert any(sentence.startswith("tailed: ") for sentence in reply.sentences)
    known = TypeCells(folder=tmp_path / "scored", out=tmp_path / "again", classifier=reply.classifier)
    again = drain(type_cells(known))
    assert (again.validation, again.left_out) == ((), "")
    assert CellsTyped.model_validate_json(again.model_dump_json()).classifier.exists()

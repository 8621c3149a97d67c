"""The open-set study from a cohort to tables and figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import drain
from napari_amil.core.exchange.project import read_project
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source
from napari_amil.core.studies.plan import StudyProtocol
from napari_amil.core.studies.unseen import unseen


def test_a_class_is_left_out_and_looked_for(source: Source, recipe: Recipe, tmp_path: Path) -> None:
    protocol = StudyProtocol(runs=1)
    table = drain(unseen(source, recipe, tmp_path, "spherocytosis", protocol)).set_index("unseen")
    assert list(table.index) == ["spherocytosis"]
    bags = pd.read_csv(tmp_path / "bags-spherocytosis.csv")
    assert len(bags) == 12
    assert "probability_spherocytosis" not in bags
    assert bags["novelty_p"].between(0, 1).all()
    assert not (bags["verdict"] == "spherocytosis").any()
    cells = pd.read_csv(tmp_path / "cells-spherocytosis.csv")
    ill = cells[(cells["label"] == "spherocytosis") & (cells["cell_type"] != "normal")]
    assert table.loc["spherocytosis", "n_cells"] == len(ill)
    assert table.loc["spherocytosis", "cell_auroc_morph_distance"] > 0.8  # drawn spherocytes have no pallor
    assert cells["anomaly_p"].between(0, 1).all()
    assert (cells["anomaly_q"] >= cells["anomaly_p"] - 1e-12).all()
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"scores-spherocytosis.svg", "unseen-spherocytosis.png", "cells-spherocytosis.png"} <= figures
    assert "| spherocytosis |" in (tmp_path / "table.md").read_text(encoding="utf-8")
    folders = sorted(path for path in tmp_path.iterdir() if path.name.startswith("scored-"))
    assert [path.name for path in folders] == [f"scored-spherocytosis-fold-{fold}" for fold in (0, 1)]
    projects = [read_project(folder) for folder in folders]
    assert sum(len(project.bags) for project in projects) == 12
    kept = pd.concat([project.cells for project in projects], ignore_index=True)
    np.testing.assert_allclose(kept["anomaly"], cells["anomaly"])  # in the order of the table of cells
    assert projects[0].classes == ("control", "elliptocytosis")
    assert projects[0].embeddings.std(axis=0).min() > 0
    assert projects[0].image_file(projects[0].cells["image"].iloc[0])[0].is_file()
    same = kept.groupby(["image", "cell_id"])[["y0", "x0"]].nunique()
    assert (same == 1).all(axis=None)  # a cell of several bags has one id
    distance = projects[0].cells.groupby("bag")["anomaly"].quantile(0.95)
    assert projects[0].bags.set_index("bag")["anomaly_p95"].to_dict() == pytest.approx(distance.to_dict())
    assert (tmp_path / "clusters.csv").exists()


def test_what_cannot_be_left_out_is_refused(source: Source, recipe: Recipe, tmp_path: Path) -> None:
    for name in ("control", "absent"):
        with pytest.raises(CohortError, match=f"'{name}' cannot be left out; choose all or one of: ellipto"):
            drain(unseen(source, recipe, tmp_path, name, StudyProtocol()))

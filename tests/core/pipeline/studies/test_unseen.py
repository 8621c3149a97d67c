"""The open-set study from a cohort to tables and figures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from napari_amil.core.errors import CohortError
from napari_amil.core.events import drain
from napari_amil.core.pipeline.cohorts import Source
from napari_amil.core.pipeline.fields import Recipe
from napari_amil.core.pipeline.studies.plan import StudyProtocol
from napari_amil.core.pipeline.studies.unseen import unseen


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
    assert table.loc["spherocytosis", "cell_auroc_morphology"] > 0.8  # drawn spherocytes have no pallor
    assert cells["anomaly_p"].between(0, 1).all()
    assert (cells["anomaly_q"] >= cells["anomaly_p"] - 1e-12).all()
    figures = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"scores-spherocytosis.svg", "unseen-spherocytosis.png", "cells-spherocytosis.png"} <= figures
    assert "| spherocytosis |" in (tmp_path / "table.md").read_text(encoding="utf-8")


def test_what_cannot_be_left_out_is_refused(source: Source, recipe: Recipe, tmp_path: Path) -> None:
    for name in ("control", "absent"):
        with pytest.raises(CohortError, match=f"'{name}' cannot be left out; choose all or one of: ellipto"):
            drain(unseen(source, recipe, tmp_path, name, StudyProtocol()))

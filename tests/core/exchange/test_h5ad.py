"""Annotated data: anndata reads it, and it comes back as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest

from napari_amil.core.base.errors import AmilError
from napari_amil.core.exchange.h5ad import read_h5ad, write_h5ad
from napari_amil.core.exchange.project import Project


def test_anndata_reads_every_number(project: Project, tmp_path: Path) -> None:
    judged = replace(project, bags=project.bags.assign(verdict=["control", "abstain"]))
    write_h5ad(judged, tmp_path / "cells.h5ad")
    data = anndata.read_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(data.X, project.embeddings)
    np.testing.assert_array_equal(data.obs["anomaly"], project.cells["anomaly"])
    assert data.obs["bag"].tolist() == ["a", "a", "b", "b"]
    assert data.obs["cell_type"].tolist() == ["normal", "", "burr", ""]
    np.testing.assert_allclose(data.obsm["spatial"][0], [35, 20])
    assert json.loads(data.uns["napari_amil"])["control"] == "control"
    assert data.uns["bags"]["patient"].tolist() == ["p1", "007"]
    assert data.obs["patient"].tolist() == ["p1", "p1", "007", "007"]
    assert data.obs["label"].tolist() == ["control", "control", "ill", "ill"]
    assert data.obs["verdict"].tolist() == ["control", "control", "abstain", "abstain"]
    assert all(str(data.obs[name].dtype) == "category" for name in ("patient", "label", "verdict"))


def test_a_project_comes_back(project: Project, tmp_path: Path) -> None:
    write_h5ad(project, tmp_path / "cells.h5ad")
    back = read_h5ad(tmp_path / "cells.h5ad")
    wanted = project.cells.assign(cell_type=project.cells["cell_type"].fillna(""))
    pd.testing.assert_frame_equal(back.cells, wanted, check_dtype=False)
    pd.testing.assert_frame_equal(back.bags, project.bags, check_dtype=False)
    np.testing.assert_array_equal(back.embeddings, project.embeddings)
    assert back.card == project.card


def test_other_files_are_refused(tmp_path: Path) -> None:
    anndata.AnnData(np.zeros((2, 2), np.float32)).write_h5ad(tmp_path / "other.h5ad")
    (tmp_path / "text.h5ad").write_text("no annotated data")
    for name in ("other.h5ad", "text.h5ad", "absent.h5ad"):
        with pytest.raises(AmilError, match=r"is no h5ad file of this program.*export it again\."):
            read_h5ad(tmp_path / name)


def test_an_array_that_claims_too_much_is_refused(project: Project, tmp_path: Path) -> None:
    write_h5ad(project, tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as stored:
        del stored["X"]
        stored.create_dataset("X", (4_000_000, 20_000), "f4", chunks=(100, 100))
    with pytest.raises(AmilError, match=r"a\.h5ad' is no h5ad file .*'X' claims more numbers"):
        read_h5ad(tmp_path / "a.h5ad")

"""Annotated data: anndata reads every number."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np

from napari_amil.core.exchange.h5ad import write_h5ad
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

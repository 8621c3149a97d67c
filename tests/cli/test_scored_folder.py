"""From a cohort to a scored folder, and from that to exports, pages and clusters, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import pandas as pd
import pytest
from typer.testing import CliRunner

from napari_amil.cli import app
from napari_amil.core.base.errors import AmilError
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.exchange.project import read_project


def run(*arguments: str | Path) -> list[dict[str, object]]:
    """Run a command and return its results."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--events", "jsonl"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    said = [json.loads(line) for line in done.stdout.splitlines()]
    return [line for line in said if line["event"] == "Result"]


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    cohort = write_synthetic_cohort(folder / "made", SynthCohortSettings(patients=2, samples=1))
    run("score", cohort, "--out", folder / "scored", "--device", "cpu")
    return folder / "scored"


def test_a_scored_folder_says_where_its_scores_come_from(scored: Path) -> None:
    project = read_project(scored)
    assert project.card["bundle"]["file"] == "starter"
    assert len(project.card["bundle"]["sha256"]) == 64
    assert project.card["settings"]["control"] == "control"
    assert len(pd.read_csv(scored / "cells.csv")) == len(project.cells)
    assert sum(map(len, project.card["done"].values())) == len(project.bags)
    assert all(Path(path).is_absolute() for path, _ in project.card["images"].values())


def test_export(scored: Path, tmp_path: Path) -> None:
    project = read_project(scored)
    (said,) = run("export", scored, "--format", "h5ad", "--out", tmp_path)
    assert said["n_cells"] == len(project.cells)
    assert anndata.read_h5ad(tmp_path / "cells.h5ad").shape == project.embeddings.shape
    bag = project.bags["bag"][0]
    (said,) = run("export", scored, "--bag", bag, "--out", tmp_path)
    assert said["n_cells"] == len(pd.read_csv(tmp_path / "cells.csv")) == (project.cells["bag"] == bag).sum()


def test_report(scored: Path, tmp_path: Path) -> None:
    project = read_project(scored)
    (said,) = run("report", scored, "--bag", project.bags["bag"][0], "--out", tmp_path)
    assert len(said["files"]) == 2
    text = (tmp_path / "cohort.html").read_text(encoding="utf-8")
    assert f"{len(project.bags)} samples" in text
    assert len(list((tmp_path / "samples").iterdir())) == 1


def test_explore(scored: Path, tmp_path: Path) -> None:
    options = ("--percentile", "50", "--min-cells", "5", "--truth", "cell_type")
    said = run("explore", scored, *options, "--out", tmp_path)
    clusters = pd.read_csv(tmp_path / "clusters.csv")
    truth = pd.read_csv(tmp_path / "truth.csv")
    assert len(said) == len(clusters) + len(truth)
    assert truth["purity"].between(0, 1).all()
    assert len(pd.read_csv(tmp_path / "cells.csv")) == len(read_project(scored).cells)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AmilError, match="is no scored folder"):
        run("report", tmp_path, "--out", tmp_path / "o")

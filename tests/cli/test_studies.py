"""``ablate`` and ``unseen`` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from napari_amil.cli import app
from napari_amil.core.base.errors import AmilError
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort

TINY = """
model: {latent_dim: 4, attention_dim: 4, width: 4, orientations: 1, measurement_columns: 1, bag_heads: 1}
training: {cell_epochs: 1, max_epochs: 1, views: 0, calibration_folds: 0}
"""


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.yaml").write_text(TINY)
    further = "narrow: {model.latent_dim: 5}\none orientation: {model.latent_dim: 5, model.orientations: 1}\n"
    (folder / "rows.yaml").write_text(further)  # the second has a name that is known
    return write_synthetic_cohort(folder / "made", SynthCohortSettings(patients=4, samples=1, folds=2))


def _run(*arguments: str | Path) -> list[dict[str, object]]:
    done = CliRunner().invoke(app, [*map(str, arguments), "--events", "jsonl"], catch_exceptions=False)
    assert done.exit_code == 0
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_ablate_writes_the_rows_that_were_named(cohort: Path, tmp_path: Path) -> None:
    files = cohort.parents[1]
    chosen = "--rows", "recommended,roundness 0", "--more-rows", files / "rows.yaml"
    protocol = "--runs", "1", "--hold-out-fold", "1", "--settings", files / "tiny.yaml"
    said = _run("ablate", cohort, "--out", tmp_path, *chosen, *protocol)
    table = pd.read_csv(tmp_path / "table.csv")
    assert table["row"].tolist() == ["recommended", "roundness 0", "narrow", "one orientation"]
    results = [line for line in said if line["event"] == "Result"]
    assert results[1]["accuracy"] == pytest.approx(table.loc[1, "accuracy"])
    assert results[-1]["table"] == str(tmp_path / "table.csv")
    assert (tmp_path / "table.md").read_text(encoding="utf-8").count("| narrow |") == 3


def test_unseen_says_an_area_for_every_class(cohort: Path, tmp_path: Path) -> None:
    protocol = "--hold-out-fold", "0", "--settings", cohort.parents[1] / "tiny.yaml"
    said = _run("unseen", cohort, "--out", tmp_path, "--leave-out", "all", *protocol)
    results = {line["unseen"]: line for line in said if line["event"] == "Result" and "unseen" in line}
    assert set(results) == {"elliptocytosis", "spherocytosis", "mean"}
    assert 0 <= float(str(results["mean"]["cell_auroc_anomaly"])) <= 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("ablate", "--rows", "Atr"), "There is no row called 'Atr'"),
        (("ablate", "--inner"), "--inner needs --hold-out-fold"),
        (("unseen", "--leave-out", "flu"), "The class 'flu' cannot be left out"),
    ],
)
def test_what_cannot_be_done_is_said(
    cohort: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    command, *options = arguments
    with pytest.raises(AmilError, match=sentence):
        CliRunner().invoke(
            app, [command, str(cohort), "--out", str(tmp_path), *options], catch_exceptions=False
        )

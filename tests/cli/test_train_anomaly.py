"""``train-anomaly`` adds a network to the starter; ``score`` and ``report`` use it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import pytest

from napari_amil.cli import main
from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, which has loaded PyTorch already."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    command = ["napari-amil", *map(str, arguments)]
    with patch.object(sys, "argv", command), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three control patients."""
    settings = SynthCohortSettings(patients=3, samples=1, diseases={})
    return write_synthetic_cohort(tmp_path_factory.mktemp("cohort"), settings)


def test_a_network_is_trained_scores_and_draws(cohort: Path, tmp_path: Path) -> None:
    options = ("--model", "memae", "--steps", "3", "--device", "cpu", "--events", "jsonl")
    done = run("train-anomaly", cohort, "--out", tmp_path / "run", *options)
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert sum(event["event"] == "TrainingBegan" for event in said) == 4
    bundle = Path(said[-1]["bundle"])
    scored = run("score", cohort, "--bundle", bundle, "--out", tmp_path / "scored", "--device", "cpu")
    assert scored.returncode == 0, scored.stderr
    cells = pd.read_csv(tmp_path / "scored" / "cells.csv").dropna(subset="anomaly")
    assert cells["anomaly_memae"].gt(0).all()
    assert cells["anomaly_memae_p"].between(0, 1).all()
    pages = run("report", tmp_path / "scored", "--bundle", bundle, "--out", tmp_path / "pages")
    assert pages.returncode == 0, pages.stderr
    texts = [page.read_text("utf-8") for page in (tmp_path / "pages" / "samples").glob("*.html")]
    assert len(texts) == 3
    assert all("Redrawn as control cells" in text for text in texts)


def test_what_cannot_be_trained_is_said_in_a_sentence(cohort: Path, tmp_path: Path) -> None:
    for options, reason in (
        (("--model", "vae"), "There is no network 'vae'; choose from ra, dpa, memae, ganomaly, fanogan"),
        (("--model", "ra", "--perceptual", "vgg.pth"), "'vgg.pth' is not a safetensors file"),
        (("--model", "ra", "--domains", "stain"), "does not tell the domain 'stain'"),
    ):
        refused = run("train-anomaly", cohort, "--out", tmp_path / "run", *options)
        assert refused.returncode == 2
        assert reason in " ".join(refused.stderr.split())
        assert "Traceback" not in refused.stderr

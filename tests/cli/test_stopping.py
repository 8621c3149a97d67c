"""Ctrl-C ends a training after its epoch and leaves a model that scores; Ctrl-C twice aborts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from napari_amil.core.cohort.synth import SynthCohortSettings, write_synthetic_cohort
from napari_amil.core.model.bundle import load_bundle

SLOW_EPOCHS = """
model: {measurement_columns: 0, bag_heads: 1, latent_dim: 4, width: 8, orientations: 1}
training: {cell_epochs: 0, train_encoder_on_bags: true, max_epochs: 2000}
"""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process on Windows")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell list, which needs no detector."""
    folder = tmp_path_factory.mktemp("stopping")
    (folder / "slow.yaml").write_text(SLOW_EPOCHS)
    settings = SynthCohortSettings(patients=3, samples=1)
    return write_synthetic_cohort(folder / "cohort", settings)


def start(cohort: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    """Begin a training and return when two of its epochs are over."""
    program = "from napari_amil.cli import main; main()"
    settings = cohort.parents[1] / "slow.yaml"
    options = ("--out", out, "--settings", settings, "--device", "cpu", "--events", "jsonl", *more)
    command = [sys.executable, "-c", program, "train", *map(str, (cohort, *options))]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdout is not None
    for line in process.stdout:
        record = json.loads(line)
        if record["event"] == "EpochReport" and record["epoch"] == 1:
            break
    return process


def test_a_stopped_training_leaves_a_model(cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start(cohort, out, "--hold-out-fold", "0")
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "Ctrl-C again aborts" in errors
    assert "Traceback" not in errors
    events = [json.loads(line) for line in said.splitlines()]
    n_epochs = 2 + sum(event["event"] == "EpochReport" for event in events)
    assert any(f"stopped after {n_epochs} of 2000 epochs" in event.get("message", "") for event in events)
    bundle = load_bundle(out / "bundle.safetensors")
    assert bundle.card["scorer"]["stopped"] == f"after {n_epochs} of 2000 epochs, as was asked"
    assert bundle.card["results"] == json.loads((out / "metrics.json").read_text())
    assert bundle.card["results"]["n_bags"] > 0
    assert bool(bundle.need_scorer().anomaly.gaussian.fitted)
    assert not (out / "stop").exists()


def test_asked_twice_a_training_is_aborted(cohort: Path, tmp_path: Path) -> None:
    """Also where Ctrl-C was ignored when the program began, as in the background of a script."""
    out = tmp_path / "run"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the child takes it over
    try:
        process = start(cohort, out, "--hold-out-fold", "0")
    finally:
        signal.signal(signal.SIGINT, before)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "Ctrl-C again aborts" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode not in {0, 2}, errors
    assert "Traceback" not in errors
    assert not (out / "bundle.safetensors").exists()

"""The child process answers one line for one request, and never dies of a bad one."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_amil import worker
from napari_amil.core.cohort.synth import SynthCohortSettings, synthetic_smear, write_synthetic_cohort
from napari_amil.core.types import Cells


def _ask(*requests: dict[str, Any]) -> list[dict[str, Any]]:
    replies = io.StringIO()
    lines = "".join(json.dumps({"id": number, **request}) + "\n" for number, request in enumerate(requests))
    worker.serve(io.StringIO(lines), replies)
    return [json.loads(line) for line in replies.getvalue().splitlines()]


def test_detect_then_score_through_files(tmp_path: Path) -> None:
    smear = synthetic_smear(0)
    np.save(tmp_path / "image.npy", smear.image)
    job = {"image": str(tmp_path / "image.npy"), "out": str(tmp_path), "bundle": None, "device": "cpu"}
    said = _ask({"job": "detect", **job})
    assert said[0] == {"event": "Ready"}
    assert said[1]["event"] == "Step"
    with np.load(said[-1]["candidates"]) as stored:
        cells = Cells.from_arrays(stored)
    confident = cells.take(cells.detection_score > 0.5)
    assert abs(len(confident) - len(smear.cells)) <= 0.15 * len(smear.cells)
    assert 30 < said[-1]["diameter_px"] < 60
    np.savez(tmp_path / "cells.npz", **confident.arrays())
    result = _ask({"job": "score", "cells": str(tmp_path / "cells.npz"), **job})[-1]
    table = pd.read_csv(result["scores"])
    assert table["cell_id"].tolist() == confident.cell_id.tolist()
    assert sum(result["bag"]["probability"].values()) == pytest.approx(1)
    assert [f"contribution_{name}" in table for name in result["classes"]] == [True] * len(result["classes"])


def test_info_reads_the_card() -> None:
    assert "research" in _ask({"job": "info", "bundle": None})[-1]["card"]["intended_use"]


def test_a_failure_is_one_sentence_and_the_next_job_runs(tmp_path: Path) -> None:
    bad = {"job": "detect", "image": str(tmp_path / "absent.png"), "out": str(tmp_path)}
    said = _ask(bad, {"job": "info", "bundle": "nowhere.safetensors"}, {"job": "info", "bundle": None})
    answers = {line["id"]: line for line in said[1:] if line["event"] in {"Error", "Result"}}
    assert answers[0]["event"] == "Error"
    assert "absent.png" in answers[0]["message"]
    assert "nowhere.safetensors" in answers[1]["message"]
    assert answers[2]["event"] == "Result"


def test_a_cohort_is_scored_into_a_folder_and_laid_out(tmp_path: Path) -> None:
    cohort = write_synthetic_cohort(tmp_path / "made", SynthCohortSettings(patients=1, samples=1))
    request = {"inputs": [str(cohort)], "out": str(tmp_path / "scored"), "bundle": None, "device": "cpu"}
    said = _ask({"job": "score_cohort", **request}, {"job": "map", "folder": str(tmp_path / "scored")})
    results = [line for line in said if line["event"] == "Result"]
    assert results[0]["folder"] == str(tmp_path / "scored")
    assert results[0]["n_bags"] == len(pd.read_csv(tmp_path / "scored" / "bags.csv"))
    place = np.load(results[1]["map"], allow_pickle=False)
    assert place.shape == (results[0]["n_cells"], 2)
    assert np.isfinite(place).all()

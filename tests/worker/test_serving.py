"""The child process answers one line for one request, and never dies of a bad one."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from napari_amil.core.base.types import Cells
from napari_amil.core.cohort.synth import SynthCohortSettings, synthetic_smear, write_synthetic_cohort
from napari_amil.worker.serving import serve


def _ask(*requests: dict[str, Any]) -> list[dict[str, Any]]:
    replies = io.StringIO()
    lines = "".join(json.dumps({"id": number, **request}) + "\n" for number, request in enumerate(requests))
    serve(io.StringIO(lines), replies)
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
    bag = result["bag"]
    for name in result["classes"]:
        total = table[f"contribution_{name}"].sum() + bag["bias"][name]
        assert total == pytest.approx(bag["logit"][name], abs=1e-4)
    assert 0 < bag["novelty_p"] <= 1
    assert bag["verdict"]
    assert (
        table.loc[table["status"] == "scored", ["anomaly_se", "anomaly_percentile_se"]].notna().all(axis=None)
    )
    _explain(result, bag, job)
    assert [f"contribution_{name}" in table for name in result["classes"]] == [True] * len(result["classes"])


def _explain(result: dict[str, Any], bag: dict[str, Any], job: dict[str, Any]) -> None:
    """Ask for what stands behind the scores of a field."""
    with np.load(result["evidence"], allow_pickle=False) as stored:
        cell_id = int(stored["cell_id"][0])
        assert stored["control_picture"].shape[1:] == (64, 64, 3)
    groups = {"ill": {"field": result["evidence"]}}
    said = _ask(
        {"job": "neighbours", "cell": ["field", cell_id], "groups": groups},
        {"job": "deletion", "evidence": result["evidence"], **job},
    )
    near, removed = (line for line in said if line["event"] == "Result")
    assert near["cell"] == ["field", cell_id]
    assert len(near["groups"]["ill"]) == 5
    assert removed["predicted"] == bag["predicted"]
    for curve in removed["probability"].values():
        assert curve[0] == pytest.approx(bag["probability"][bag["predicted"]], abs=1e-4)


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


def test_a_cohort_is_described_before_the_controls_are_known(tmp_path: Path) -> None:
    settings = SynthCohortSettings(control="wt", patients=2, samples=1, diseases={"ill": {"spherocyte": 0.3}})
    listed = write_synthetic_cohort(tmp_path / "cohort", settings)
    job = {"job": "cohort", "cohort": str(listed), "out": str(tmp_path)}
    said = _ask(job, {**job, "control": "wt"}, {"job": "check", "cohort": str(listed), "control": "wt"})
    answers = {line["id"]: line for line in said[1:] if line["event"] == "Result"}
    assert (answers[0]["classes"], answers[0]["control"]) == (["ill", "wt"], None)
    assert (answers[1]["classes"], answers[1]["control"]) == (["wt", "ill"], "wt")
    assert len(pd.read_csv(answers[1]["bags"])) == 4
    kinds = {problem["kind"] for problem in answers[2]["problems"]}
    assert {"few-patients", "few-cells"} <= kinds


def test_presets_and_devices_can_be_chosen_from() -> None:
    found = _ask({"job": "choices"})[-1]
    assert found["presets"]["amil-code"]["model"]["encoder"] == "roi"
    assert "cpu" in found["devices"]


def test_a_cohort_is_scored_into_a_folder_laid_out_and_reported(tmp_path: Path) -> None:
    cohort = write_synthetic_cohort(tmp_path / "made", SynthCohortSettings(patients=1, samples=1))
    request = {"inputs": [str(cohort)], "out": str(tmp_path / "scored"), "bundle": None, "device": "cpu"}
    folder = {"folder": str(tmp_path / "scored")}
    said = _ask({"job": "score_cohort", **request}, {"job": "map", **folder}, {"job": "report", **folder})
    results = [line for line in said if line["event"] == "Result"]
    assert results[0]["folder"] == str(tmp_path / "scored")
    assert results[0]["n_bags"] == len(pd.read_csv(tmp_path / "scored" / "bags.csv"))
    place = np.load(results[1]["map"], allow_pickle=False)
    assert place.shape == (results[0]["n_cells"], 2)
    assert np.isfinite(place).all()
    page = tmp_path / "scored" / "report" / "cohort.html"
    assert results[2] == {"id": 2, "event": "Result", "page": str(page), "n_samples": results[0]["n_bags"]}
    assert len(list((page.parent / "samples").glob("*.html"))) == results[0]["n_bags"]

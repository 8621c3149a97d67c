"""``replay`` repeats what a receipt names, elsewhere, and says whether the results are equal."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import PIL.Image
import pytest

from napari_amil.cli import main
from napari_amil.cli import replay as command
from napari_amil.core.base.files import read_json
from napari_amil.core.cohort.synth import (
    SynthCohortSettings,
    SynthSettings,
    synthetic_smear,
    write_synthetic_cohort,
)


def give(*words: str) -> int:
    """Give a command in this process and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["napari-amil", *words])
        with pytest.raises(SystemExit) as end:
            main()
    return int(end.value.code or 0)


def repeat_here(words: list[str], *, check: bool) -> subprocess.CompletedProcess[Any]:
    """Do in this process what a child would do."""
    assert words[:3] == [sys.executable, "-m", "napari_amil"]
    assert not check
    return subprocess.CompletedProcess(words, give(*words[3:]))


def test_a_copied_detection_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "first"
    (first / "in").mkdir(parents=True)
    smear = synthetic_smear(1, SynthSettings(height=120, width=150, n_cells=6))
    PIL.Image.fromarray(smear.image).save(first / "in" / "a.png")
    places = [str(first / "in"), "--out", str(first / "run")]
    assert give("detect", *places, "--diameter", "40", "--device", "cpu", "--events", "jsonl") == 0
    receipt = read_json(first / "run" / "receipt.json")
    relative = [word if isinstance(word, str) else word["relative"] for word in receipt["command"]]
    assert relative == ["detect", "../in", "--out", ".", "--diameter", "40.0", "--device", "cpu"]
    assert set(receipt["inputs"]) == {"../in/a.png", "starter"}
    assert receipt["seconds"] > 0
    shutil.copytree(first, tmp_path / "second")
    shutil.rmtree(first)
    run = tmp_path / "second" / "run"
    monkeypatch.setattr(command.subprocess, "run", repeat_here)
    capsys.readouterr()
    assert give("replay", str(run)) == 0
    assert "All 1 results are equal" in capsys.readouterr().out
    assert give("replay", str(run)) == 2
    assert "is not empty" in capsys.readouterr().err
    table = pd.read_csv(run / "cells.csv")
    table.assign(y0=table["y0"] + 0.5).to_csv(run / "cells.csv", index=False)
    assert give("replay", str(run), "--out", str(tmp_path / "again")) == 1
    assert "cells.csv: 'y0' differs by up to 0.5" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "results", "n_results"),
    [
        (("train",), {"metrics.json", "cells.csv", "bags.csv"}, 5),
        (("ablate", "--runs", "1", "--rows", "recommended"), {"table.csv"}, 6),
    ],
    ids=["train", "ablate"],
)
def test_a_copied_training_or_study_is_repeated_bit_by_bit(
    words: tuple[str, ...],
    results: set[str],
    n_results: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    made = SynthCohortSettings(patients=4, samples=1, folds=2)
    cohort = write_synthetic_cohort(first / "made", made)
    (first / "run").mkdir()
    settings = first / "run" / "run.yaml"  # in the folder of the run, as the window starts a training
    settings.write_text("training: {cell_epochs: 1, calibration_folds: 2, max_epochs: 1}\nmodel: {width: 4}")
    options = "--hold-out-fold", "0", "--settings", str(settings), "--device", "cpu"
    assert give(*words, str(cohort), *options, "--out", str(first / "run")) == 0
    shutil.copytree(first, second)
    shutil.rmtree(first)
    monkeypatch.setattr(command.subprocess, "run", repeat_here)
    capsys.readouterr()
    assert give("replay", str(second / "run")) == 0
    assert f"All {n_results} results are equal" in capsys.readouterr().out.splitlines()[-1]
    before, after = (
        {file: (second / folder / file).read_bytes() for file in results} for folder in ("run", "run-replay")
    )
    assert before == after
    image = next((second / "made").rglob("*.png"))
    PIL.Image.new("RGB", (50, 50)).save(image)
    assert give("replay", str(second / "run"), "--out", str(tmp_path / "again")) == 2
    assert f"'{image}' has another content" in capsys.readouterr().err


def test_a_copied_exploration_is_repeated_bit_by_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    cohort = write_synthetic_cohort(first / "made", SynthCohortSettings(patients=2, samples=1))
    assert give("score", str(cohort), "--out", str(first / "scored"), "--device", "cpu") == 0
    options = "--percentile", "50", "--min-cells", "5"
    assert give("explore", str(first / "scored"), *options, "--out", str(first / "run")) == 0
    inputs = read_json(first / "run" / "receipt.json")["inputs"]
    assert set(inputs) == {f"../scored/{name}" for name in ("project.json", "cells.npz", "bags.csv")}
    shutil.copytree(first, second)
    shutil.rmtree(first)
    monkeypatch.setattr(command.subprocess, "run", repeat_here)
    capsys.readouterr()
    assert give("replay", str(second / "run")) == 0
    assert "All 5 results are equal" in capsys.readouterr().out.splitlines()[-1]
    tables = [(second / run / "cells.csv").read_bytes() for run in ("run", "run-replay")]
    assert tables[0] == tables[1]
    (second / "scored" / "bags.csv").write_text("another\n")
    assert give("replay", str(second / "run"), "--out", str(tmp_path / "again")) == 2
    assert "has another content" in capsys.readouterr().err

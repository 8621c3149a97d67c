"""A run is repeated from its receipt where it lies now, and two runs are compared number by number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import read_json
from napari_amil.core.base.receipt import RECEIPT, STARTER, Receipt
from napari_amil.core.model.card import starter_path
from napari_amil.core.pipeline.replay import compare_runs, replay_words


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with its receipt and input, copied to another folder; the first place is gone."""
    first = tmp_path / "first"
    (first / "out").mkdir(parents=True)
    image = first / "image.png"
    image.write_bytes(b"pixels")
    command = [
        "score",
        {"path": str(image), "is_out": False},
        "--out",
        {"path": str(first / "out"), "is_out": True},
        "--jobs",
        "2",
    ]
    said = Receipt(command)
    said.reads({str(image): image, STARTER: starter_path()})
    said.write(first / "out")
    shutil.copytree(first, tmp_path / "second")
    shutil.rmtree(first)
    return tmp_path / "second" / "out"


def test_paths_are_found_beside_the_run(run: Path, tmp_path: Path) -> None:
    words, notes = replay_words(run, tmp_path / "again")
    image = run.parent / "image.png"
    assert words == ["score", str(image), "--out", str(tmp_path / "again"), "--jobs", "2"]
    assert notes == []


def test_another_version_is_noted(run: Path, tmp_path: Path) -> None:
    receipt = read_json(run / RECEIPT)
    receipt["versions"]["torch"] = "1.0"
    (run / RECEIPT).write_text(json.dumps(receipt))
    ((note,),) = (replay_words(run, tmp_path / "again")[1],)
    assert note.startswith("torch is ")
    assert note.endswith("was 1.0")


def test_other_or_missing_inputs_are_refused(run: Path, tmp_path: Path) -> None:
    image = run.parent / "image.png"
    image.write_bytes(b"others")
    with pytest.raises(AmilError, match="another content"):
        replay_words(run, tmp_path / "again")
    image.unlink()
    with pytest.raises(AmilError, match="copy inputs and run together"):
        replay_words(run, tmp_path / "again")
    (run / RECEIPT).unlink()
    with pytest.raises(AmilError, match=r"holds no receipt\.json"):
        replay_words(run, tmp_path / "again")


def write_results(folder: Path, shift: float) -> None:
    folder.mkdir()
    (folder / "cells.csv").write_text(f"image,anomaly\na,1.0\nb,{2.0 + shift}\n")
    metrics = {"auroc": [0.5, 0.9 + shift / 2], "name": "x", "seconds": ord(folder.name)}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    np.savez(folder / "cells.npz", embeddings=np.arange(4.0) + shift)
    save_file(
        {"w": np.ones(3, np.float32) + np.float32(shift)},
        folder / "bundle.safetensors",
        {"card": json.dumps({"seconds": ord(folder.name), "shift": shift}), "format": "test"},
    )
    (folder / "project.json").write_text(json.dumps({"root": str(folder)}))


def test_results_that_are_equal_are_said_to_be(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_results(tmp_path / name, 0.0)
    found = compare_runs(tmp_path / "a", tmp_path / "b")
    assert [one.file for one in found] == ["bundle.safetensors", "cells.csv", "cells.npz", "metrics.json"]
    assert all(one.text == "" and one.largest == 0 for one in found)


def test_the_largest_difference_is_named(tmp_path: Path) -> None:
    write_results(tmp_path / "a", 0.0)
    write_results(tmp_path / "b", 0.25)
    (tmp_path / "a" / "gone.csv").write_text("x\n1\n")
    found = {one.file: one for one in compare_runs(tmp_path / "a", tmp_path / "b")}
    assert found["cells.csv"].text == "'anomaly' differs by up to 0.25"
    assert found["bundle.safetensors"].largest == found["cells.npz"].largest == 0.25
    assert found["metrics.json"].text == "'/auroc/1' differs by up to 0.125"
    assert found["gone.csv"].text == "was not written again"
    save_file({"w": np.ones(3, np.float32)}, tmp_path / "b" / "bundle.safetensors", {"card": "{}"})
    found = {one.file: one for one in compare_runs(tmp_path / "a", tmp_path / "b")}
    assert found["bundle.safetensors"].text == "'header/card/shift' is in one of the two alone"
    (tmp_path / "b" / "cells.csv").write_text("image,anomaly\na,1.0\nc,2.0\n")
    found = {one.file: one for one in compare_runs(tmp_path / "a", tmp_path / "b")}
    assert found["cells.csv"].text == "'image' has other words"
    assert np.isinf(found["cells.csv"].largest)

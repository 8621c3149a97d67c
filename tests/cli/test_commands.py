"""The command line from outside: results, exit codes, and one sentence where something is wrong."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import tifffile
from rich.console import Console

from napari_amil.cli import main
from napari_amil.cli.console import Style, Talk
from napari_amil.core.base.events import Event, Failed, Step
from napari_amil.core.base.presets import preset
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.cohort.synth import (
    SynthCohortSettings,
    SynthSettings,
    synthetic_smear,
    write_synthetic_cohort,
)
from napari_amil.core.detection.network import WHITE, kinds_of
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.model.bundle import load_bundle, save_bundle

ALL = [
    "check",
    "detect",
    "train-detector",
    "score",
    "calibrate",
    "train",
    "evaluate",
    "info",
    "package",
    "synth",
    "demo",
    "doctor",
]


def run_apart(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    command = [sys.executable, "-c", "from napari_amil.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command as `run_apart` does, but in this process, which has loaded PyTorch already."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    command = ["napari-amil", *map(str, arguments)]
    with patch.object(sys, "argv", command), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    done = run_apart("--help")
    assert done.returncode == 0
    assert all(name in done.stdout for name in ALL)
    heavy_modules = "('torch', 'napari', 'numpy', 'pandas')"
    probe = f"import sys, napari_amil.cli; print([m for m in {heavy_modules} if m in sys.modules])"
    heavy = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert heavy.stdout.strip() == "[]"


def test_small_answers_and_refusals_wait_for_no_heavy_library(tmp_path: Path) -> None:
    nowhere, out = str(tmp_path / "nowhere"), ["--out", str(tmp_path / "out")]
    refused = [[c, nowhere, *out] for c in ("score", "detect", "evaluate", "calibrate", "train", "ablate")]
    refused += [["unseen", nowhere, *out, "--leave-out", "a"], ["check", nowhere], ["report", nowhere, *out]]
    program = (
        "import sys\nfrom napari_amil.cli import main\ncodes = []\n"
        f"for words in {[['info'], ['info', '--presets'], *refused]}:\n"
        "    sys.argv = ['napari-amil', *words]\n"
        "    try:\n        main()\n    except SystemExit as end:\n        codes.append(end.code)\n"
        "heavy = {'torch', 'torchvision', 'sklearn', 'skimage', 'matplotlib', 'napari'} & set(sys.modules)\n"
        "print('\\n', codes, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    codes = [0, 0] + [2] * len(refused)
    assert done.stdout.splitlines()[-1].strip() == f"{codes} set()", done.stderr


@pytest.fixture(scope="module")
def mixed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two usable images with odd names or formats among broken ones."""
    folder = tmp_path_factory.mktemp("mixed") / "Bilder mit Ümläuten"
    folder.mkdir()
    smear = synthetic_smear(5).image
    PIL.Image.fromarray(smear).save(folder / "Ausstrich Größe 1.png")
    tifffile.imwrite(folder / "deep.tif", smear.astype(np.uint16) * 16)
    tifffile.imwrite(folder / "rgba.tif", np.dstack([smear, np.full(smear.shape[:2], 255, np.uint8)]))
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("this is no image")
    PIL.Image.new("RGB", (1, 1)).save(folder / "dot.png")
    PIL.Image.fromarray(smear).save(folder / "whole.jpg")
    broken = (folder / "whole.jpg").read_bytes()
    (folder / "whole.jpg").unlink()
    (folder / "torn.jpg").write_bytes(broken[: len(broken) // 3])
    return folder


def test_one_bad_image_stops_nothing(mixed_folder: Path, tmp_path: Path) -> None:
    done = run_apart("score", mixed_folder, "--out", tmp_path / "o", "--device", "cpu")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    failures = pd.read_csv(tmp_path / "o" / "failures.csv").set_index("source")["reason"]
    broken = {"empty.png", "text.png", "dot.png", "torn.jpg"}
    assert broken <= set(failures.index)
    assert all(name in failures[name] and failures[name].strip().endswith(".") for name in broken)
    bags = pd.read_csv(tmp_path / "o" / "bags.csv")
    assert set(bags["bag"]) == {"Ausstrich Größe 1.png", "deep.tif", "rgba.tif"}
    assert bags["n_cells"].min() > 40
    cells = pd.read_csv(tmp_path / "o" / "cells.csv")
    columns = (
        "image cell_id y0 x0 y1 x1 detection_score area_px touches_border overlaps anomaly anomaly_percentile"
    )
    columns += " anomaly_p anomaly_q attention attention_x_n pool_weight contribution_control status"
    assert set(columns.split()) <= set(cells.columns)
    assert cells.groupby("image")["cell_id"].apply(lambda ids: ids.is_unique).all()


@pytest.mark.parametrize(
    ("kind", "name"), [("csv", "cells.csv"), ("coco", "cells.coco.json"), ("geojson", "geojson")]
)
def test_detections_in_every_format(mixed_folder: Path, tmp_path: Path, kind: str, name: str) -> None:
    image = mixed_folder / "Ausstrich Größe 1.png"
    done = run("detect", image, "--out", tmp_path, "--format", kind, "--events", "jsonl")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / name).exists()
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert said[-1]["event"] == "Result"
    truth = len(synthetic_smear(5).cells)
    assert abs(said[-1]["n_cells"] - truth) <= 0.15 * truth
    assert not (tmp_path / "failures.csv").exists()


def test_unusable_input_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    for runner, *arguments in (
        (run_apart, "detect", tmp_path / "absent"),
        (run, "score", tmp_path / "absent.csv"),
        (run, "check", tmp_path),
        (run, "train", tmp_path / "absent.csv"),
    ):
        out = () if arguments[0] == "check" else ("--out", tmp_path / "o")
        done = runner(*arguments, *out)
        assert done.returncode == 2, arguments
        assert done.stderr.count("\n") == 1
        assert done.stderr.strip().endswith(".")


def test_an_unexpected_error_is_one_line_and_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a\nb")

    monkeypatch.setattr("napari_amil.core.pipeline.read_card", broken)
    done = run("info", "x.safetensors")
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "KeyError" in done.stderr
    assert "NAPARI_AMIL_DEBUG=1" in done.stderr
    monkeypatch.setenv("NAPARI_AMIL_DEBUG", "1")
    with pytest.raises(KeyError):
        run("info", "x.safetensors")


def test_messages_are_one_line_and_names_in_brackets_are_shown_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = io.StringIO()
    terminal = partial(Console, file=shown, force_terminal=True, width=200)
    monkeypatch.setattr("napari_amil.cli.console.Console", terminal)
    talk = Talk(Style.bar)
    talk.follow(events_of("[red]x.png", "is no\nimage."))
    assert "[red]x.png" in shown.getvalue()
    assert "Failed: '[red]x.png' is no image." in shown.getvalue()


def events_of(name: str, reason: str) -> Generator[Event, None, None]:
    yield Step("images", 0, 1, name)
    yield Failed(name, f"'{name}' {reason}")


def test_detect_keeps_the_settings_of_the_bundle_that_a_file_does_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = RunSettings().changed({"selection": {"min_score": 0.9}, "detection": {"cell_diameter_px": 31.0}})
    save_bundle(replace(load_bundle(None), settings=own), tmp_path / "own.safetensors")
    few = tmp_path / "few.yaml"
    few.write_text("selection: {max_diameter: 9.0}")
    PIL.Image.fromarray(synthetic_smear(5).image).save(tmp_path / "a.png")
    used: list[Recipe] = []

    def noting(_: object, recipe: Recipe, *__: object) -> Generator[Event, None, dict[str, object]]:
        used.append(recipe)
        yield from ()
        return {"a.png": ((9, 9), Cells(np.zeros((0, 4), np.float32)))}

    monkeypatch.setattr("napari_amil.core.pipeline.detect_images", noting)
    options = ("--bundle", tmp_path / "own.safetensors", "--settings", few, "--out", tmp_path / "o")
    assert run("detect", tmp_path / "a.png", *options).returncode == 0
    assert used[0].settings == own.changed({"selection": {"max_diameter": 9.0}})
    assert run("detect", tmp_path / "a.png", *options, "--diameter", "62").returncode == 0
    assert used[1].settings == used[0].settings.changed({"detection": {"cell_diameter_px": 62.0}})
    refused = run("detect", tmp_path / "a.png", *options, "--diameter", "-3")
    assert refused.returncode == 2
    assert "cell_diameter_px" in refused.stderr


def test_scores_of_other_images_are_refused_without_replace(tmp_path: Path) -> None:
    for name, seeds in (("first", (5,)), ("second", (6,)), ("both", (5, 6))):
        (tmp_path / name).mkdir()
        for seed in seeds:
            small = synthetic_smear(seed, SynthSettings(height=160, width=200, n_cells=9))
            PIL.Image.fromarray(small.image).save(tmp_path / name / f"{seed}.png")
    out = tmp_path / "o"
    assert run("score", tmp_path / "first", "--out", out).returncode == 0
    refused = run("score", tmp_path / "second", "--out", out)
    assert refused.returncode == 2
    assert "holds the scores of 1 images that are not given now, '5.png' first" in refused.stderr
    assert pd.read_csv(out / "bags.csv")["bag"].tolist() == ["5.png"]
    more = run("score", tmp_path / "first", tmp_path / "second", "--out", out)
    assert more.returncode == 0, more.stderr
    assert "1 of 2 were scored before" in more.stderr
    replaced = run("score", tmp_path / "second", "--out", out, "--replace")
    assert replaced.returncode == 0
    assert pd.read_csv(out / "bags.csv")["bag"].tolist() == ["6.png"]


def test_synth_check_train_evaluate_calibrate(tmp_path: Path) -> None:
    done = run("synth", "--out", tmp_path / "made")
    assert done.returncode == 0, done.stderr
    assert run("check", tmp_path / "made" / "bags.csv").returncode == 0
    cohort = write_synthetic_cohort(tmp_path / "small", SynthCohortSettings(patients=3, samples=1))
    brief = tmp_path / "brief.yaml"
    brief.write_text("training: {cell_epochs: 1, calibration_folds: 2}")
    options = ("--hold-out-fold", "0", "--epochs", "1", "--settings", brief)
    trained = run("train", cohort, "--out", tmp_path / "run", *options)
    assert trained.returncode == 0, trained.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    arguments = (
        "--bundle",
        tmp_path / "run" / "bundle.safetensors",
        "--out",
        tmp_path / "e",
        "--hold-out-fold",
        "0",
    )
    evaluated = run("evaluate", cohort, *arguments)
    assert evaluated.returncode == 0, evaluated.stderr
    measured = json.loads((tmp_path / "e" / "metrics.json").read_text())
    assert {name: measured[name] for name in metrics} == pytest.approx(metrics)
    refused = run("evaluate", cohort, *arguments[:4], "--hold-out-fold", "1")
    assert refused.returncode == 2
    assert "taught this model" in " ".join(refused.stderr.split())
    allowed = ("--allow", "leaking-images", "--allow", "leaking-patients")
    refused = run("evaluate", cohort, *arguments[:4], "--hold-out-fold", "1", *allowed)
    assert refused.returncode == 2
    assert "replace their scores with --replace" in " ".join(refused.stderr.split())
    calibrated = tmp_path / "own.safetensors"
    own = write_synthetic_cohort(tmp_path / "own", SynthCohortSettings(patients=6, samples=1)).parent
    done = run("calibrate", own, *arguments[:2], "--out", calibrated, "--events", "jsonl")
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    results = [line["text"] for line in said if line["event"] == "Result"]
    assert "p < 0.05" in results[0]
    assert str(calibrated) in results[-1]
    card = json.loads(run("info", calibrated, "--json").stdout)
    assert card["calibration"]["n_patients"] == 6
    refused = run("calibrate", tmp_path / "absent", "--out", calibrated)
    assert refused.returncode == 2


def test_info_and_doctor_answer() -> None:
    card = json.loads(run("info", "--json").stdout)
    assert "research" in card["intended_use"]
    assert run("info").stdout.startswith("Intended use: For research only")
    facts = run("doctor")
    assert facts.returncode == 0, facts.stderr
    assert "synthetic cells" in facts.stdout


def test_a_preset_is_shown_refused_and_changed_by_a_settings_file(tmp_path: Path) -> None:
    shown = run("info", "--presets")
    assert "| `model.encoder` | crop | roi | roi | roi-attmil | roi |" in shown.stdout
    cohort = write_synthetic_cohort(tmp_path / "small", SynthCohortSettings(patients=3, samples=1))
    refused = run("train", cohort, "--out", tmp_path / "run", "--preset", "mil")
    assert refused.returncode == 2
    assert refused.stderr.startswith("There is no preset called 'mil'; choose one of recommended, ")
    few = tmp_path / "few.yaml"
    few.write_text("model:\n  latent_dim: 12\ntraining:\n  seed: 3\n")
    chosen = ("--preset", "attmil", "--settings", few, "--epochs", "1", "--device", "cpu")
    trained = run("train", cohort, "--out", tmp_path / "run", "--hold-out-fold", "0", *chosen)
    assert trained.returncode == 0, trained.stderr
    written = RunSettings.from_yaml(tmp_path / "run" / "run.yaml")
    assert written == preset("attmil").changed(
        {"model": {"latent_dim": 12}, "training": {"seed": 3, "max_epochs": 1}}
    )


def test_annotated_images_fine_tune_the_detector_and_given_cells_are_scored(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for seed, patient in enumerate(("p1", "p2")):
        smear = synthetic_smear(seed, SynthSettings(height=160, width=200, n_cells=9))
        (images / patient).mkdir(parents=True)
        PIL.Image.fromarray(smear.image).save(images / patient / "a.png")
        smear.cells.table().to_csv(images / patient / "a.csv", index=False)
    (images / "p2" / "b.png").write_bytes(b"")
    (images / "p2" / "b.csv").write_text("y0,x0,y1,x1\n1,1,20,20\n")
    also = tmp_path / "also" / "boxes.csv"
    also.parent.mkdir()
    PIL.Image.fromarray(smear.image).save(also.with_name("c.png"))
    smear.cells.table().assign(image="c.png", kind=["WBC"] + ["RBC"] * (len(smear.cells) - 1)).to_csv(also)
    sources = ("--also", also, "--white", "WBC", "--made", "1")
    steps = ("--steps", "1", "--events", "jsonl")
    trained = run("train-detector", images, "--out", tmp_path / "run", *sources, *steps)
    assert trained.returncode == 1, trained.stderr
    learned = load_bundle(tmp_path / "run" / "bundle.safetensors")
    assert kinds_of(learned.need_detector().state_dict()) == WHITE
    assert learned.card["detector"]["n_images"] == 3  # of p2, of the further source, made up
    receipt = json.loads((tmp_path / "run" / "receipt.json").read_text())
    read = {"../images/p1/a.png", "../images/p2/a.png", "../images/p2/b.png", "../also/c.png", "starter"}
    assert read <= set(receipt["inputs"])
    failures = pd.read_csv(tmp_path / "run" / "failures.csv")
    assert failures["source"].tolist() == ["p2/b.png"]
    said = [json.loads(line) for line in trained.stdout.splitlines()]
    figures = {line["figure"]: line for line in said if "figure" in line}
    assert figures["recall"]["before"] > 0.8
    assert figures["ap50_95"]["after"] >= figures["ap50_95"]["before"]
    (images / "p2" / "b.png").unlink()
    bundle = ("--bundle", tmp_path / "run" / "bundle.safetensors")
    scored = run("score", images, "--cells", images, "--out", tmp_path / "o", *bundle)
    assert scored.returncode == 0, scored.stderr
    cells = pd.read_csv(tmp_path / "o" / "cells.csv")
    assert len(cells) == sum(len(pd.read_csv(images / p / "a.csv")) for p in ("p1", "p2"))
    refused = run("score", images, "--cells", tmp_path / "absent.json", "--out", tmp_path / "o")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("There is no file or folder '")


def test_commands_first_say_what_they_understood(tmp_path: Path) -> None:
    for place in ("control/p1", "control/p2", "ill/p3"):
        (tmp_path / "c" / place).mkdir(parents=True)
        PIL.Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "c" / place / "a.png")
    (tmp_path / "c" / "notes.txt").write_text("x")
    out = tmp_path / "o"
    known = "3 bags of 3 patients, labels from folders; 1 file skipped: txt"
    for command in ("score", "train", "evaluate"):
        done = run(command, tmp_path / "c", "--out", out, "--dry-run")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", known + "\n"), command
    assert run("check", tmp_path / "c", "--dry-run").stderr == known + "\n"
    assert run("detect", tmp_path / "c", "-o", out, "--dry-run").stderr == "3 images; 1 file skipped: txt\n"
    loose = run("score", tmp_path / "c", "--as", "images", "--out", out, "--dry-run").stderr
    assert loose == "3 images, each a bag of its own, no labels; 1 file skipped: txt\n"
    refused = run("train", tmp_path / "c", "--as", "images", "--out", out)
    assert (refused.returncode, "have no patients and labels" in refused.stderr) == (2, True)
    said = json.loads(
        run("score", tmp_path / "c", "-o", out, "--dry-run", "--events", "jsonl").stdout.splitlines()[0]
    )
    assert said == {"event": "Understood", "message": known}
    assert not out.exists()

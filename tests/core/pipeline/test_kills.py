"""Wherever a process is killed, a folder holds the results of one model, or none, and can be used again."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import PIL.Image
import pytest
import torch
from safetensors.torch import load_file

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, drain
from napari_amil.core.base.settings import ModelSettings, RunSettings, TrainingSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.cohort.layouts.registry import read_cohort
from napari_amil.core.cohort.smear import SynthSettings
from napari_amil.core.cohort.synth import SynthCohortSettings, synthetic_smear, write_synthetic_cohort
from napari_amil.core.evaluation.clusters import ClusterSettings
from napari_amil.core.exchange.geojson import read_geojson, write_geojson
from napari_amil.core.exchange.project import Project, note_in_card, read_project, write_project
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source, cohort_source, open_source
from napari_amil.core.model.bundle import Bundle, load_bundle, save_bundle
from napari_amil.core.pipeline import evaluate
from napari_amil.core.pipeline.export import export_project
from napari_amil.core.pipeline.training_run import Protocol, train_run
from napari_amil.core.report.report import write_reports
from napari_amil.core.scoring import score_folder
from napari_amil.core.scoring.detect import write_detections
from napari_amil.core.scoring.score import Scored, score_source
from napari_amil.core.scoring.score_folder import score_cohort
from napari_amil.core.studies.explore import explore_project, read_exploration


class Killed(BaseException):
    """Stands for the end of the process; no ``except`` of the program catches it."""


def killed_at_every_switch(
    work: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[], object],
    every: int = 1,
) -> Iterator[int]:
    """Prepare, kill the work before its 1st, 2nd, ... renaming of a file, and yield after each kill."""
    switch = os.replace
    for number in range(0, 1000, every):
        prepare()
        left = iter(range(number))

        def replace_(a: Path, b: Path, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Killed
            switch(a, b)

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", replace_)
            try:
                work()
            except Killed:
                pass
            else:
                assert number > 0, "nothing was switched"
                return
        yield number


@dataclass(frozen=True)
class Models:
    """Two models, and what each says of the same images."""

    source: Source
    recipes: dict[str, Recipe]
    files: dict[str, Path]

    def score(self, model: str, out: Path) -> Project:
        found: Project = drain(score_cohort(self.source, self.recipes[model], self.files[model], out))
        return found


@pytest.fixture
def models(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    """Models ``a`` and ``b`` and three small smears, each scored once by each and then from memory."""
    monkeypatch.setattr(score_folder, "_IMAGES_A_PORTION", 2)
    (tmp_path / "images").mkdir()
    cells: dict[str, Cells] = {}
    for seed in range(3):
        smear = synthetic_smear(seed, SynthSettings(height=120, width=150, n_cells=6))
        PIL.Image.fromarray(smear.image).save(tmp_path / "images" / f"{seed}.png")
        cells[f"{seed}.png"] = smear.cells
    settings = recipe.settings.changed({"selection": {"max_diameter": 9.0}})
    recipes = {"a": recipe, "b": replace(recipe, settings=settings)}
    files = {name: tmp_path / f"{name}.safetensors" for name in recipes}
    for name, one in recipes.items():
        save_bundle(replace(one.bundle, card={"name": name}), files[name])
    known: dict[tuple[int, tuple[str, ...]], Scored] = {}

    def score(source: Source, recipe: Recipe) -> Generator[Event, None, Scored]:
        is_first = recipe.settings == recipes["a"].settings
        key = int(is_first), tuple(bag.bag for bag in source.cohort)
        if key not in known:
            scored = yield from score_source(source, recipe)
            shift = 0.0 if is_first else 100.0
            cells = scored.cells.assign(anomaly=scored.cells["anomaly"] + shift)
            bags = scored.bags.assign(anomaly_p95=scored.bags["anomaly_p95"] + shift)
            known[key] = replace(scored, cells=cells, bags=bags)
        return known[key]

    monkeypatch.setattr(score_folder, "score_source", score)
    source = open_source([tmp_path / "images"], "control")
    bags = tuple(bag.with_cells({name: cells[name] for name in bag.images}) for bag in source.cohort)
    return Models(replace(source, cohort=replace(source.cohort, bags=bags)), recipes, files)


def models_in(folder: Path) -> set[str]:
    """Return the models whose values stand in the tables of a folder."""
    found = set()
    for name, column in (("cells.csv", "anomaly"), ("bags.csv", "anomaly_p95")):
        if (folder / name).exists():
            values = pd.read_csv(folder / name)[column].dropna()
            found |= set(np.where(values > 60, "b", "a"))
    return found


def test_a_folder_scored_again_holds_one_model_or_none(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Score with one model, again with another, kill that, and score with the first again."""
    out = tmp_path / "scored"
    wanted = {name: models.score(name, tmp_path / name) for name in ("a", "b")}
    assert wanted["a"].cells["anomaly"].max() < 60 < wanted["b"].cells["anomaly"].min()
    n_kills = 0
    for number in killed_at_every_switch(
        lambda: models.score("b", out), monkeypatch, lambda: models.score("a", out)
    ):
        n_kills += 1
        assert len(models_in(out)) <= 1, number
        try:
            found = read_project(out)
        except AmilError:
            found = None
        assert found is None or found.digest in {each.digest for each in wanted.values()}
        again = models.score("a", out)
        pd.testing.assert_frame_equal(again.cells, wanted["a"].cells)
        assert models_in(out) == {"a"}
        assert read_project(out).digest == wanted["a"].digest
        assert {path.name for path in out.iterdir()} == {"project.json", "cells.npz", "cells.csv", "bags.csv"}
    assert n_kills >= 8


@pytest.fixture
def projects(models: Models, tmp_path: Path) -> dict[str, Project]:
    return {name: models.score(name, tmp_path / f"scored-{name}") for name in ("a", "b")}


@pytest.mark.parametrize("kind", ["csv", "geojson", "coco", "report"])
def test_exports_and_reports_are_of_one_model_or_none(
    projects: dict[str, Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def write(model: str) -> None:
        project = projects[model]
        card = {**project.card, "bundle": {**project.card["bundle"], "file": f"model-{model}"}}
        project = replace(project, cells=project.cells.assign(made_by=f"model-{model}"), card=card)
        project = replace(project, bags=project.bags.assign(made_by=f"model-{model}"))
        if kind == "report":
            drain(write_reports(project, tmp_path / "out", project.bags["bag"].tolist()[:2]))
        else:
            drain(export_project(project, kind, tmp_path / "out"))

    for number in killed_at_every_switch(lambda: write("b"), monkeypatch, lambda: write("a")):
        texts = [path.read_text() for path in (tmp_path / "out").rglob("[!.]*") if path.is_file()]
        assert all(("model-a" in text) != ("model-b" in text) for text in texts)
        assert len({"model-a" in text for text in texts}) <= 1, number


def test_an_evaluation_is_of_one_model_or_none(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "score_source", score_folder.score_source)
    draw, drawn = evaluate.draw_evaluation, "confusion"  # one figure of four, since each takes a second
    monkeypatch.setattr(evaluate, "draw_evaluation", lambda *of: {drawn: draw(*of)[drawn]})
    bags = tuple(replace(bag, label="control") for bag in models.source.cohort.bags)
    source = replace(models.source, cohort=replace(models.source.cohort, bags=bags))

    def write(model: str, out: Path = tmp_path / "out") -> str:
        drain(evaluate.evaluate_cohort(source, models.recipes[model], models.files[model], out))
        return (out / "metrics.json").read_text()

    wanted = {name: write(name, tmp_path / name) for name in ("a", "b")}
    assert wanted["a"] != wanted["b"]
    n_kills = 0
    for number in killed_at_every_switch(lambda: write("b"), monkeypatch, lambda: write("a"), every=4):
        n_kills += 1
        found = models_in(tmp_path / "out")
        metrics = tmp_path / "out" / "metrics.json"
        if metrics.exists():
            found |= {name for name, text in wanted.items() if text == metrics.read_text()}
        assert len(found) <= 1, number
    assert write("b") == wanted["b"]
    assert n_kills >= 3


def test_clusters_are_of_one_exploration_or_none(
    models: Models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two settings find clusters of other sizes; a folder that can be read holds those of one of them."""
    rng, project = np.random.default_rng(0), models.score("a", tmp_path / "scored")
    n = 60
    cells = project.cells.iloc[np.arange(n) % len(project.cells)].reset_index(drop=True)
    cells = cells.assign(
        cell_id=np.arange(n), anomaly_q=0.01, anomaly_percentile=100.0, y0=np.arange(n) * 1.0
    )
    z = rng.normal(size=(n, 4)).astype(np.float32) + 30 * (np.arange(n) % 3)[:, None].astype(np.float32)
    outlines = tuple(project.outlines[i % len(project.outlines)] for i in range(n))
    write_project(Project(cells, project.bags, z, outlines, project.card), tmp_path / "many")
    many, out = read_project(tmp_path / "many"), tmp_path / "found"

    def write(min_cells: int, out: Path = out) -> int:
        settings = ClusterSettings(min_cells=min_cells)
        return len(drain(explore_project(many, settings, out, pictures=False)).table)

    sizes = {write(5, tmp_path / "few"), write(50, tmp_path / "most")}
    assert len(sizes) == 2
    for _ in killed_at_every_switch(lambda: write(50), monkeypatch, lambda: write(5)):
        try:
            found = read_exploration(many, out)
        except AmilError:
            continue
        assert len(found.table) == len(found.clusters.numbers)
        assert len(found.table) in sizes


@pytest.mark.parametrize("kind", ["csv", "geojson", "coco"])
def test_detections_are_of_one_run_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def write(y: float) -> None:
        boxes = np.array([[y, 1, y + 10, 20]], np.float32)
        write_detections({name: ((99, 99), Cells(boxes)) for name in ("x.png", "y.png")}, tmp_path, kind)

    for _ in killed_at_every_switch(lambda: write(310007), monkeypatch, lambda: write(170003)):
        texts = [path.read_text() for path in tmp_path.rglob("[!.]*") if path.is_file()]
        assert len({"170003" in text for text in texts}) <= 1
        assert all(("170003" in text) != ("310007" in text) for text in texts)


def test_a_bundle_and_the_card_of_a_project_are_the_old_or_the_new_ones(
    small_bundle: Bundle, projects: dict[str, Project], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = tmp_path / "own.safetensors", tmp_path / "noted"

    def write(name: str) -> None:
        save_bundle(replace(small_bundle, card={"name": name}), path)
        note_in_card(folder, candidates={name: {"cluster": 1}})

    write_project(projects["a"], folder)
    for _ in killed_at_every_switch(lambda: write("new"), monkeypatch, lambda: write("old")):
        assert load_bundle(path).card["name"] in {"old", "new"}
        assert set(read_project(folder).card["candidates"]) <= {"old", "new"}


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from napari_amil.core.exchange.project import read_project, write_project
a, b, out = map(Path, sys.argv[1:])
projects = read_project(a), read_project(b)
print("begun", flush=True)
while True:
    for project in projects:
        write_project(project, out)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_a_writer_that_is_killed_leaves_one_model_or_none(
    projects: dict[str, Project], tmp_path: Path
) -> None:
    out, chance = tmp_path / "out", random.Random(0)
    places = [str(tmp_path / name) for name in ("scored-a", "scored-b", "out")]
    for _ in range(4):
        command = [sys.executable, "-c", WRITER, *places]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            time.sleep(chance.uniform(0.01, 0.5))
            process.kill()
        assert len(models_in(out)) <= 1
        if (out / "project.json").exists():
            assert read_project(out).digest in {each.digest for each in projects.values()}
    subprocess.run([sys.executable, "-c", WRITER.replace("while True", "if True"), *places], check=True)
    assert read_project(out).digest == projects["b"].digest
    assert {path.name for path in out.iterdir()} == {"project.json", "cells.npz", "cells.csv", "bags.csv"}


def test_a_training_that_was_killed_goes_on_to_the_same_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smear = SynthSettings(height=120, width=150, n_cells=7, n_platelets=0)
    cohort = write_synthetic_cohort(
        tmp_path / "cohort", SynthCohortSettings(patients=3, samples=1, smear=smear)
    )
    settings = RunSettings(
        model=ModelSettings(latent_dim=4, attention_dim=4, width=4),
        training=TrainingSettings(cell_epochs=1, max_epochs=1, views=1, calibration_folds=0),
    )
    recipe = Recipe(Bundle(settings), settings, torch.device("cpu"))
    source = cohort_source(read_cohort(cohort, settings.control))
    out = tmp_path / "run"

    def train(folder: Path = out) -> dict[str, float]:
        folder.mkdir(exist_ok=True)
        metrics: dict[str, float] = drain(train_run(source, recipe, folder, Protocol(hold_out_fold=0)))
        return metrics

    wanted = train(tmp_path / "whole")
    weights = load_file(tmp_path / "whole" / "bundle.safetensors")
    n_kills = 0
    for _ in killed_at_every_switch(train, monkeypatch, lambda: shutil.rmtree(out, True), every=7):
        n_kills += 1
        if (out / "bundle.safetensors").exists():
            assert load_bundle(out / "bundle.safetensors").need_scorer().classes
        assert train() == pytest.approx(wanted, nan_ok=True)
        torch.testing.assert_close(load_file(out / "bundle.safetensors"), weights, rtol=0, atol=0)
    assert n_kills >= 2


def test_autosaved_cells_are_the_old_or_the_new_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept.geojson"

    def write(y: float) -> None:
        write_geojson(Cells(np.array([[y, 1, y + 10, 20]], np.float32)), None, path)

    for _ in killed_at_every_switch(lambda: write(31), monkeypatch, lambda: write(17)):
        assert read_geojson(path).cells.boxes[0, 0] in {17, 31}

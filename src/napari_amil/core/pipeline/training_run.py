"""Train models as a run folder: one model, one held-out fold, or every fold in turn, once or repeatedly."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from napari_amil.core.base.errors import AmilError, SettingsError
from napari_amil.core.base.events import (
    STOP_FILE,
    Event,
    Failed,
    TrainingBegan,
    Warned,
    collecting,
)
from napari_amil.core.base.outputs import environment, make_folder, write_json, write_text
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Bag
from napari_amil.core.cohort.checks import PartOf, fold_of
from napari_amil.core.cohort.folds import assign_folds
from napari_amil.core.evaluation.ablation import digest
from napari_amil.core.evaluation.figures import save_figure
from napari_amil.core.exchange.project import refuse_foreign_tables
from napari_amil.core.exchange.tables import load_table, write_table
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.leak_guard import guarding, sources_without_copies
from napari_amil.core.instances.sources import Source
from napari_amil.core.model.bundle import Bundle, load_bundle, save_bundle
from napari_amil.core.model.card import read_card
from napari_amil.core.pipeline.evaluate import draw_evaluation, evaluate_scored
from napari_amil.core.pipeline.run_folder import in_run_folder, logged
from napari_amil.core.pipeline.train import train_scorer
from napari_amil.core.scoring.score import Scored, score_source
from napari_amil.core.scoring.score_folder import bag_record

_CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Protocol:
    """Choice of the bags that are kept for the test.

    Parameters
    ----------
    hold_out_fold
        Train without this fold and test on it.
    n_folds
        Deal the patients into this many folds. Without ``hold_out_fold`` each is held out in turn, and the
        bundle of the run is then trained on all bags.
    allowed
        Kinds of problems of the cohort that do not refuse it (`guarding`).
    n_runs
        Number of repetitions of each test, with the same folds and another seed each time.
    """

    hold_out_fold: int | None = None
    n_folds: int | None = None
    allowed: tuple[str, ...] = ()
    n_runs: int = 1

    def __post_init__(self) -> None:
        if self.n_runs > 1 and self.part_of is None:
            raise SettingsError(
                f"There is no test that could be made {self.n_runs} times; give --folds or --hold-out-fold "
                "with --runs."
            )

    @property
    def is_repeated(self) -> bool:
        """Whether there are several tests, each of a model of its own."""
        return self.n_runs > 1 or (self.n_folds is not None and self.hold_out_fold is None)

    @property
    def part_of(self) -> PartOf | None:
        """Function that names the part of a bag; no two parts may share a patient; None without a test."""
        if self.n_folds is not None:
            return fold_of
        return None if self.hold_out_fold is None else self._side

    def _side(self, bag: Bag) -> str:
        return "the held-out fold" if bag.fold == self.hold_out_fold else "the training part"


def train_run(
    source: Source, recipe: Recipe, out: Path, protocol: Protocol
) -> Generator[Event, None, dict[str, float]]:
    """Train as the protocol says, write the run folder, and return the test metrics (empty without a test).

    A single training has the seed of the settings. Of several, each has a folder and a seed of its
    own (`RunSettings.for_run`), and the model of the run is trained last, with the seed itself.

    The folder holds ``run.yaml``, ``folds.csv``, ``events.jsonl``, ``metrics.json``,
    ``checkpoint.safetensors``, ``bundle.safetensors`` and ``environment.json``, with a test also
    ``bags.csv`` and ``figures``. If a file called ``stop`` (`STOP_FILE`) appears in it, the running epoch is
    the last, and what there is so far is written. While one called ``pause`` is there the work waits.

    A training that is finished is not done again.

    Raises
    ------
    AmilError
        If another process is working in the folder, or a run of other settings lies there.
    """
    refuse_foreign_tables(out)
    _refuse_other_settings(recipe.settings, out)
    return (yield from in_run_folder(_train_run(source, recipe, out, protocol), out))


def _train_run(
    source: Source, recipe: Recipe, out: Path, protocol: Protocol
) -> Generator[Event, None, dict[str, float]]:
    """Train as `train_run` does, in a folder that this process holds."""
    settings = recipe.settings
    yield from guarding(source.cohort, settings, protocol.part_of, protocol.allowed)
    stop = out / STOP_FILE
    write_text(settings.to_yaml(), out / "run.yaml")
    write_json(environment(), out / "environment.json")
    if protocol.n_folds is not None:
        source = yield from _dealt(source, protocol.n_folds, settings.training.seed)
    write_table(_fold_table(source), out / "folds.csv")
    metrics: dict[str, float] = {}
    if protocol.is_repeated:
        metrics = yield from _repeated(source, recipe, out, protocol)
    if not stop.exists():
        train, test = source, None
        if protocol.hold_out_fold is not None:
            train, test = yield from sources_without_copies(source, protocol.hold_out_fold)
        number = len(_plan(source, protocol)) + 1 if protocol.is_repeated else 1
        yield TrainingBegan("the model of the run", number, number)
        metrics = yield from _trained(
            train, recipe, out, None if protocol.is_repeated else test, stop, metrics
        )
    write_json(metrics, out / "metrics.json")
    stop.unlink(missing_ok=True)
    return metrics


def _refuse_other_settings(settings: RunSettings, out: Path) -> None:
    """Refuse to go on in a run folder where epochs were made with other settings."""
    before = out / "run.yaml"
    if before.exists() and any(out.rglob(_CHECKPOINT)) and RunSettings.from_yaml(before) != settings:
        raise SettingsError(
            f"The run in '{out}' was made with other settings (run.yaml); use those, or another folder."
        )


def _dealt(source: Source, n_folds: int, seed: int) -> Generator[Event, None, Source]:
    """Return the bags in folds: those that the cohort brings along, if it does."""
    folds = {bag.fold for bag in source.cohort}
    if None in folds:
        return replace(source, cohort=assign_folds(source.cohort, n_folds, seed))
    if len(folds) != n_folds:
        yield Warned(
            f"The cohort brings {len(folds)} folds along, which are held out in turn, not {n_folds}."
        )
    return source


def _repeated(
    source: Source, recipe: Recipe, out: Path, protocol: Protocol
) -> Generator[Event, None, dict[str, float]]:
    """Train and test once per run and fold, each in a folder of its own.

    Returns
    -------
    dict
        Mean over the runs, of the mean over the folds; with several runs also ``<name>_std``, the
        standard deviation over them (of the population, as the published tables have it).
    """
    plan = _plan(source, protocol)
    results: dict[int, list[dict[str, float]]] = defaultdict(list)
    for number, (run, fold) in enumerate(plan):
        own = replace(recipe, settings=recipe.settings.for_run(fold, run))
        folder = make_folder(_test_folder(out, protocol, run, fold))
        write_text(own.settings.to_yaml(), folder / "run.yaml")
        train, test = yield from sources_without_copies(source, fold)
        again = f", run {run}" if protocol.n_runs > 1 else ""
        yield TrainingBegan(f"without fold {fold}{again}", number + 1, len(plan) + 1)
        results[run].append((yield from _trained(train, own, folder, test, out / STOP_FILE)))
        if (out / STOP_FILE).exists():
            yield from _end_early(folder, out, f"{number + 1} of {len(plan)} tests")
            break
    _write_test(_tests_of_first_run(source, protocol, out), source.cohort.classes, out)
    table = pd.DataFrame([pd.DataFrame(of_run).mean() for of_run in results.values()])
    means = {str(name): float(value) for name, value in table.mean().items()}
    if protocol.n_runs == 1:
        return means
    deviations = {f"{name}_std": float(value) for name, value in table.std(ddof=0).items()}
    table.insert(0, "run", range(len(table)))
    write_table(table, out / "runs.csv")
    return means | deviations


def _plan(source: Source, protocol: Protocol) -> list[tuple[int, int]]:
    """Return run and fold of every test, in their order."""
    held_out = protocol.hold_out_fold
    every = sorted({bag.fold for bag in source.cohort if bag.fold is not None and bag.label is not None})
    return list(product(range(protocol.n_runs), every if held_out is None else [held_out]))


def _tests_of_first_run(source: Source, protocol: Protocol, out: Path) -> Scored:
    """Return the scores of the tests of the first run, in which each bag is once."""
    tables: dict[str, list[pd.DataFrame]] = {"cells": [], "bags": []}
    for run, fold in _plan(source, protocol):
        folder = _test_folder(out, protocol, run, fold)
        if run == 0 and (folder / "bags.csv").exists():
            for name, parts in tables.items():
                parts.append(load_table(folder / f"{name}.csv"))
    cells, bags = (pd.concat(parts, ignore_index=True) for parts in tables.values())
    return Scored(cells, bags, source.cohort.control)


def _test_folder(out: Path, protocol: Protocol, run: int, fold: int) -> Path:
    return (out / f"run-{run}" if protocol.n_runs > 1 else out) / f"fold-{fold}"


def _write_test(scored: Scored, classes: Sequence[str], out: Path) -> None:
    """Write the table of the tested bags and the figures of the test."""
    write_table(scored.bags, out / "bags.csv")
    for name, figure in draw_evaluation(scored, classes).items():
        save_figure(figure, out / "figures" / name)


def _end_early(folder: Path, out: Path, done: str) -> Generator[Event, None, None]:
    """Make the model of the last test that of the run, and warn of it."""
    bundle = load_bundle(folder / "bundle.safetensors")
    stopped = (
        f"The run was stopped after {done}; its model is that of '{folder.name}', trained without that fold."
    )
    save_bundle(bundle.with_card(stopped=stopped), out / "bundle.safetensors")
    yield Warned(stopped)


def _trained(
    train: Source,
    recipe: Recipe,
    out: Path,
    test: Source | None,
    stop: Path,
    metrics: dict[str, float] | None = None,
) -> Generator[Event, None, dict[str, float]]:
    """Train, test if there is something to test on, write model and metrics, and return these."""
    parts = [[bag_record(bag, part) for bag in part.cohort] for part in (train, test) if part is not None]
    made_from = digest(recipe.settings, recipe.bundle.card, environment(), parts)
    done = _finished(out, made_from)
    if done is not None:
        yield Warned(f"The training in '{out.name}' was finished before and is taken over.")
        yield from (Failed(*line) for line in done.get("failed", ()))
        known = {name: math.nan if value is None else value for name, value in done["results"].items()}
        return metrics or known
    failed: list[Failed] = []
    work = collecting(train_scorer(train, recipe, out / _CHECKPOINT, stop), failed)
    bundle = yield from logged(work, out) if out != stop.parent else work
    metrics = metrics or {}
    if metrics:
        bundle = bundle.with_card(held_out="folds of the same cohort, each by models trained without it")
    if test is not None:
        n_patients = len({bag.patient for bag in test.cohort})
        bundle = bundle.with_card(held_out=f"{n_patients} patients who were left out of the training")
        scored, metrics = yield from collecting(_test(bundle, test, recipe, out), failed)
        if out == stop.parent:
            _write_test(scored, bundle.need_scorer().classes, out)
    if failed:
        bundle = bundle.with_card(failed=[[one.source, one.reason] for one in failed])
    save_bundle(bundle.with_card(results=metrics, made_from=made_from), out / "bundle.safetensors")
    write_json(metrics, out / "metrics.json")
    return metrics


def _finished(out: Path, made_from: str) -> dict[str, Any] | None:
    """Return the card of a training in ``out`` that was not stopped and made from the same; else None."""
    try:
        card: dict[str, Any] = read_card(out / "bundle.safetensors")["card"]
    except AmilError:
        return None
    if card.get("made_from") != made_from or "stopped" in card["scorer"]:
        return None
    return card


def _test(
    bundle: Bundle, test: Source, recipe: Recipe, out: Path
) -> Generator[Event, None, tuple[Scored, dict[str, float]]]:
    """Score the test bags, write their tables and return these and the metrics."""
    scored = yield from score_source(test, Recipe.from_bundle(bundle, recipe.settings, recipe.device))
    write_table(scored.cells, out / "cells.csv")
    write_table(scored.bags, out / "bags.csv")
    return scored, evaluate_scored(scored, bundle.need_scorer().classes)


def _fold_table(source: Source) -> pd.DataFrame:
    rows = [(bag.bag, bag.patient, bag.label, bag.fold) for bag in source.cohort]
    return pd.DataFrame(rows, columns=["bag", "patient", "label", "fold"])

"""The ablation study: rows of settings, trained and tested in every fold and run, in one table."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from napari_amil.core.base.events import Event
from napari_amil.core.base.outputs import environment, make_folder, write_json, write_text
from napari_amil.core.base.presets import preset
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.evaluation.ablation import BASELINE, REFERENCE
from napari_amil.core.evaluation.comparison import RunResult, Truth, ablation_table, markdown
from napari_amil.core.evaluation.figures import draw_auprc, draw_confusions, draw_rows, save_figure
from napari_amil.core.exchange.tables import write_table
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source
from napari_amil.core.studies.jobs import running
from napari_amil.core.studies.plan import StudyPlan, StudyProtocol
from napari_amil.core.studies.trials import Trial


@dataclass(frozen=True, eq=False)
class Ablation:
    """Table of an ablation, the results of its runs, and the true labels."""

    table: pd.DataFrame
    rows: Mapping[str, Mapping[int, RunResult]]
    truth: Truth


def ablate(
    source: Source,
    recipe: Recipe,
    out: Path,
    rows: Mapping[str, RunSettings],
    protocol: StudyProtocol,
) -> Generator[Event, None, Ablation]:
    """Train and test every row in every fold and run, and write ``table.csv``, ``table.md`` and ``figures``.

    What is done lies in ``out/work``: a study that was stopped, or gets more rows or runs, goes on.

    Parameters
    ----------
    recipe
        Detector and device; its settings do not matter.
    rows
        ``name -> settings``.
    """
    source = protocol.source(source)
    plan = StudyPlan(source, protocol, out / "work")
    yield from plan.guard(recipe.settings)
    for name, settings in rows.items():
        yield from plan.add(name, settings, recipe)
    write_json(environment(), make_folder(out) / "environment.json")
    yield from running(plan.groups(), protocol.jobs, recipe.device.type)
    yield from plan.missing()
    found = {
        row: {run: _tested(plan, trials) for run, trials in runs.items()}
        for row, runs in plan.complete().items()
    }
    truth = plan.truth()
    table = ablation_table(
        found, truth, {name: _schedule(s) for name, s in rows.items() if name != BASELINE}, REFERENCE
    )
    write_table(table, out / "table.csv")
    write_text(markdown(table, truth.classes), out / "table.md")
    _draw(table, found, truth, make_folder(out / "figures"))
    return Ablation(table, found, truth)


def _tested(plan: StudyPlan, trials: Sequence[Trial]) -> RunResult:
    """Return the predictions of one run, fold by fold."""
    bags = tuple(plan.opened(trial)[1] for trial in trials)
    return RunResult(bags, tuple(trial.read() for trial in trials))


def _draw(
    table: pd.DataFrame, rows: Mapping[str, Mapping[int, RunResult]], truth: Truth, folder: Path
) -> None:
    """Write the figures of an ablation; the confusion matrices are means over the runs."""
    save_figure(draw_rows(table, REFERENCE), folder / "rows")
    save_figure(draw_auprc(table, truth.classes), folder / "auprc")
    confusions = {
        name: np.mean([one.confusion(truth) for one in runs.values()], axis=0)
        for name, runs in rows.items()
        if runs
    }
    save_figure(draw_confusions(confusions, truth.classes), folder / "confusion")


def _schedule(settings: RunSettings) -> dict[str, float]:
    """Return the columns of the table on the length of a row's training."""
    training = settings.training
    columns: dict[str, float] = {"cell_epochs": training.cell_epochs, "epochs": training.max_epochs}
    if settings.preset not in {"", REFERENCE}:
        columns["published_epochs"] = preset(settings.preset).training.max_epochs
    return columns

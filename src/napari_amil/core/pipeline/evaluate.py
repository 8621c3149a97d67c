"""Metrics and figures of scored cohorts: classification, calibration, and faithfulness of the scores."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from napari_amil.core.anomaly.pooled import distance_in
from napari_amil.core.base.columns import PLACE_COLUMNS, PROBABILITY, column_name, column_of, scores_for
from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.events import Event, Step, Warned
from napari_amil.core.base.locks import locked
from napari_amil.core.base.outputs import make_folder, write_json
from napari_amil.core.base.types import CLASS_SEPARATOR, Floats
from napari_amil.core.evaluation.binary import binary_metrics, draw_decision_curve
from napari_amil.core.evaluation.faithfulness import BagCells, deletion, deletion_metrics, draw_deletions
from napari_amil.core.evaluation.figures import draw_confusions, draw_curves, save_figure
from napari_amil.core.evaluation.metrics import NORMAL, bag_metrics, cell_metrics, share_metrics
from napari_amil.core.evaluation.reliability import (
    calibration_error,
    draw_reliability,
    null_metrics,
    verdict_metrics,
)
from napari_amil.core.evaluation.score_figures import draw_distributions
from napari_amil.core.exchange.project import refuse_foreign_tables, writing_project
from napari_amil.core.exchange.tables import write_table
from napari_amil.core.instances.control_cells import measurements_in
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source
from napari_amil.core.instances.taught import refusing_taught
from napari_amil.core.scoring.score import Scored, score_source
from napari_amil.core.scoring.score_folder import OUTDATED, project_of, refuse_other_images

_TYPED = 0.9  # share of typed cells from which the share of abnormal ones counts as known
_OTHER_ORDERS = {"contribution": "Contribution", "random": "At random"}


@dataclass(frozen=True, eq=False)
class Deletions:
    """Loss of probability when the cells that a score ranks highest are deleted from their bag.

    Parameters
    ----------
    table
        One line per bag: ``bag``, ``predicted``, ``probability_area_<score>``, ``logit_area_<score>``.
    metrics
        `deletion_metrics` of the table.
    figure
        Mean curves of the bags that are not predicted as control; None without any.
    """

    table: pd.DataFrame
    metrics: dict[str, float]
    figure: Figure | None


def evaluate_cohort(
    source: Source,
    recipe: Recipe,
    bundle: Path | None,
    out: Path,
    *,
    replacing: bool = False,
    allowed: Collection[str] = (),
) -> Generator[Event, None, dict[str, float]]:
    """Score a labelled cohort, measure the scores, write the folder, and return the metrics.

    The scored folder, ``metrics.json``, ``deletion.csv`` and ``figures`` take their places together.

    Parameters
    ----------
    replacing
        Replace the scores of other images in ``out``.
    allowed
        Kinds of overlap with what taught the model that do not refuse (`refusing_taught`).

    Raises
    ------
    AmilError
        If no bag can be scored or has a known label, another process is writing into ``out``, or it holds
        scores of other images and ``replacing`` is not given.
    CohortError
        If images or patients taught the model.
    """
    refuse_foreign_tables(out)
    yield from refusing_taught(source, recipe.bundle.card, allowed)
    with locked(make_folder(out)):
        if not replacing:
            refuse_other_images(source, out)
        classes = recipe.bundle.need_scorer().classes
        scored = yield from score_source(source, recipe)
        yield from name_unknown_labels(scored, classes)
        metrics = evaluate_scored(scored, classes)
        deleted = yield from delete_cells(scored, recipe)
        metrics |= deleted.metrics
        figures = draw_evaluation(scored, classes)
        if deleted.figure is not None:
            figures["deletion"] = deleted.figure
        project = project_of(scored, source, recipe, bundle)
        with writing_project(project, out, outdated=OUTDATED) as stage:
            write_table(deleted.table, stage / "deletion.csv")
            for name, figure in figures.items():
                save_figure(figure, stage / "figures" / name)
            write_json(metrics, stage / "metrics.json")
        return metrics


def name_unknown_labels(scored: Scored, classes: Sequence[str]) -> Generator[Event, None, None]:
    """Warn of bags whose label the model does not know, such as those of a model of other classes."""
    labels = scored.bags["label"].dropna()
    strange = labels[(labels != "") & ~labels.isin(list(classes))]
    if len(strange):
        yield Warned(
            f"{len(strange)} of {len(scored.bags)} bags have a label that the model does not know "
            f"({', '.join(sorted(set(strange)))}); figures about bags leave them out."
        )


def evaluate_scored(scored: Scored, classes: Sequence[str]) -> dict[str, float]:
    """Return the metrics of labelled bags and of control cells and, where types are known, of all cells.

    Raises
    ------
    BundleError
        If no bag has a label that the model knows.
    """
    bags = scored.bags[scored.bags["label"].isin(list(classes))]
    if not len(bags):
        known = ", ".join(classes)
        raise BundleError(
            f"None of the bags has a label that this bundle knows ({known}); nothing can be evaluated."
        )
    labels = np.array([list(classes).index(label) for label in bags["label"]])
    probabilities = bags[[column_name(PROBABILITY, name) for name in classes]].to_numpy()
    metrics = bag_metrics(labels, probabilities, classes)
    if len(classes) == 2 and scored.control in classes:
        ill = 1 - list(classes).index(scored.control)
        metrics |= binary_metrics(labels == ill, probabilities[:, ill], scored.threshold)
    if "cell_type" in scored.cells:
        scores = {name: scored.cells[name].to_numpy() for name in scores_for("evaluate", scored.cells)}
        metrics |= cell_metrics(scored.cells["cell_type"].fillna("").to_numpy(), scores)
        metrics |= _shares(scored)
    metrics |= _certainty(bags, labels, probabilities, classes)
    metrics |= verdict_metrics(bags["verdict"].tolist(), bags["label"].tolist(), scored.control)
    return metrics | _under_the_null(scored)


def _certainty(
    bags: pd.DataFrame, labels: NDArray[np.int64], probabilities: Floats, classes: Sequence[str]
) -> dict[str, float]:
    """Return the calibration error and, where there are class sets, their size and coverage."""
    found = {"ece": calibration_error(probabilities.argmax(axis=1) == labels, probabilities.max(axis=1))}
    sets = [str(one).split(CLASS_SEPARATOR) if one else [] for one in bags["class_set"].fillna("")]
    if not all(sets):
        return found
    held = [classes[label] in names for label, names in zip(labels, sets, strict=True)]
    return found | {
        "class_set_coverage": float(np.mean(held)),
        "class_set_size": float(np.mean([len(names) for names in sets])),
    }


def _shares(scored: Scored) -> dict[str, float]:
    """Return `share_metrics` of the bags of whose scored cells at least nine in ten have a known type."""
    cells = scored.cells[scored.cells["status"] == "scored"]
    types = cells["cell_type"].fillna("")
    typed = (types != "").groupby(cells["bag"]).mean()
    ill = (types[types != ""] != NORMAL).groupby(cells["bag"]).mean()
    bags = scored.bags.set_index("bag")
    bags = bags.loc[bags.index.isin(typed.index[typed >= _TYPED])]
    names = ("abnormal_share", "abnormal_share_low", "abnormal_share_high")
    return share_metrics(ill.reindex(bags.index).to_numpy(), *(bags[name].to_numpy() for name in names))


def draw_evaluation(scored: Scored, classes: Sequence[str]) -> dict[str, Figure]:
    """Return the figures by name: confusions, curves of the classes, scores of cells, reliability."""
    bags = scored.bags[scored.bags["label"].isin(list(classes))]
    labels = np.array([list(classes).index(label) for label in bags["label"]])
    probabilities = bags[[column_name(PROBABILITY, name) for name in classes]].to_numpy()
    matrix = confusion_matrix(labels, probabilities.argmax(axis=1), labels=range(len(classes)))
    cells = scored.cells.merge(bags[["bag", "label"]], on="bag")
    shown = [name for name in classes if (cells["label"] == name).any()]
    scores = scores_for("evaluate", cells)
    drawn = [name for name in scores if name != "latent_distance" and cells[name].notna().any()]
    called = probabilities.argmax(axis=1) == labels
    null_p = cells.loc[cells["label"] == scored.control, "anomaly_p"].to_numpy(np.float64)
    figures = {}
    if len(classes) == 2 and scored.control in classes:
        ill = 1 - list(classes).index(scored.control)
        figures["decision"] = draw_decision_curve(labels == ill, probabilities[:, ill], classes[ill])
    return figures | {
        "confusion": draw_confusions({f"{len(bags)} bags": matrix}, classes),
        "curves": draw_curves(labels, probabilities, classes, scored.control),
        "scores": draw_distributions(cells, shown, scored.control, drawn),
        "calibration": draw_reliability(called, probabilities.max(axis=1), null_p),
    }


def delete_cells(scored: Scored, recipe: Recipe) -> Generator[Event, None, Deletions]:
    """Remove cells from every scored bag, those that a score points at or random ones, and score the rest."""
    scorer = recipe.bundle.need_scorer()
    lines, ill = [], []
    deleted = scores_for("delete", scored.cells)
    bags = scored.cells.groupby("bag", sort=False).indices
    for number, (bag, rows) in enumerate(bags.items()):
        yield Step("faithfulness", number, len(bags), str(bag))
        inside = scored.cells.iloc[rows]
        whole = (inside["status"] == "scored").to_numpy()
        z = torch.from_numpy(np.asarray(scored.embeddings)[rows[whole]])
        scores = {name: inside.loc[whole, name].to_numpy(copy=True) for name in deleted}
        distance = distance_in(inside[whole], scorer.anomaly.pooled)
        measured = torch.from_numpy(measurements_in(inside[whole], recipe.settings.model.cells))
        cells = BagCells(z, distance, scores, scorer.temperature, measured)
        found = deletion(scorer.model, cells, recipe.device, recipe.settings.training.seed)
        predicted = scorer.classes[found.predicted]
        lines.append({"bag": bag, "predicted": predicted, **found.areas()})
        if predicted != scored.control:
            ill.append(found)
    table = pd.DataFrame(lines)
    titles = {name: column_of(name).title for name in deleted}
    figure = draw_deletions(ill, titles | _OTHER_ORDERS) if ill else None
    return Deletions(table, deletion_metrics(table, scored.control), figure)


def _under_the_null(scored: Scored) -> dict[str, float]:
    """Return `null_metrics` of the cells of control bags, and how much farther they lie than those seen.

    ``held_out_over_in_sample`` is their mean distance over that of the control cells of the training.
    A cell counts once in however many bags it is; images are the units where patients share them.
    """
    control = scored.bags.loc[scored.bags["label"] == scored.control, ["bag", "patient"]]
    cells = scored.cells.merge(control, on="bag").drop_duplicates(PLACE_COLUMNS)
    shared = bool((cells.groupby("image")["patient"].nunique() > 1).any())
    units = cells["image" if shared else "patient"].to_numpy()
    found = null_metrics(cells["anomaly_p"].to_numpy(), cells["anomaly_q"].to_numpy(), units)
    ratio = float(cells["anomaly"].mean()) / scored.in_sample
    return found | {"held_out_over_in_sample": ratio}

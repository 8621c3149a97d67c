"""Whole fields of slides that no training saw: their cells, the share of abnormal ones, and their class.

Usage: python -m benchmarks.whole_fields CHULA_SLIDES [--bundle FILE] [--fold 2] [--json FILE]
       [--classes FOLDER] [--rows ROW ...] [--runs 1] [--taught]

Cells are found by the detector of the bundle and scored with its scorer, every field as a sample of its
own. Cells are judged in the fields of the fold that are labelled completely, matched one to one by
the labelled centre. Abnormal is every type but ``normal``; cells without a label, or labelled
``uncategorised``, are left out. Intervals resample slides.

``--classes`` trains and tests on ``fields.csv`` (a bag is a field, a patient is a slide) in that
folder, which a second call goes on with: the recommended training and the baseline without a network.

``--taught`` says what the named measurements could tell at best: gradient boosting that learns from the
types of the labelled cells of all other fields, which no score of this program ever does.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from napari_amil.core.base.columns import BOX_COLUMNS, MORPH, column_name
from napari_amil.core.base.events import Event, Step, Warned, drain
from napari_amil.core.base.presets import preset
from napari_amil.core.evaluation.ablation import BASELINE, REFERENCE, ablation_rows, named_rows
from napari_amil.core.evaluation.comparison import figure_of
from napari_amil.core.evaluation.metrics import NORMAL, interval
from napari_amil.core.morphology.measures import NAMES
from napari_amil.core.pipeline import (
    Recipe,
    StudyProtocol,
    ablate,
    cohort_source,
    load_bundle,
    make_folder,
    pick_device,
    read_cohort,
    score_source,
)

_UNKNOWN = "uncategorised"
_RESAMPLES = 2000
_Q = 0.05
_FEWEST = 10  # labelled cells of a field that teaches
_SCORES = ("anomaly", "latent_distance", "morph_distance")

Figure = Callable[[pd.DataFrame], float]


def scored_fields(
    data: Path, bundle: Path | None, wanted: Callable[[pd.DataFrame], pd.Series]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the whole cells of the fields that are wanted with type and slide, and the fields."""
    fields = pd.read_csv(data / "fields.csv")
    fields = fields[wanted(fields)].set_index("bag")
    source = cohort_source(read_cohort(data / "fields.csv"))
    kept = source.cohort.where(lambda bag: bag.bag in fields.index)
    recipe = Recipe.from_bundle(load_bundle(bundle), None, pick_device("auto"))
    scored = drain(score_source(replace(source, cohort=kept), recipe))
    labels = pd.read_csv(data / "cells.csv")
    parts = []
    for bag, cells in scored.cells.groupby("bag", sort=False):
        rows = labels[labels["image"] == fields.loc[bag, "image"]]
        types = types_of(cells[BOX_COLUMNS].to_numpy(float), rows)
        parts.append(cells.assign(type=types, slide=fields.loc[bag, "patient"]))
    cells = pd.concat(parts)
    bags = scored.bags.set_index("bag")
    bags["labelled_share"] = fields["abnormal_share"]
    bags["slide"] = fields["patient"]
    return cells[cells["status"] == "scored"], bags


def types_of(boxes: NDArray[np.float64], labelled: pd.DataFrame) -> NDArray[np.object_]:
    """Return the type of each box ``(n, 4)``: of the labelled centre inside that is nearest to its middle."""
    centres = labelled[["y", "x"]].to_numpy(float)
    inside = ((centres[:, None] >= boxes[None, :, :2]) & (centres[:, None] <= boxes[None, :, 2:])).all(axis=2)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = np.linalg.norm(centres[:, None] - middle[None], axis=2)
    rows, columns = linear_sum_assignment(np.where(inside, distance, 1e6))
    types = np.full(len(boxes), "", dtype=object)
    right = inside[rows, columns]
    types[columns[right]] = labelled["cell_type"].to_numpy()[rows[right]]
    types[types == _UNKNOWN] = ""
    return types


def cell_figures(cells: pd.DataFrame) -> dict[str, Figure]:
    """Return the figures of labelled cells; each takes a table with ``type``, scores and ``weight``."""
    known = [name for name in _SCORES if name in cells and cells[name].notna().any()]
    figures: dict[str, Figure] = {f"cell ROC area, {name}": area_of(name) for name in known}
    figures[f"abnormal cells with q < {_Q}"] = lambda t: share(t, t["ill"], t["anomaly_q"] < _Q)
    figures[f"false among cells with q < {_Q}"] = lambda t: share(t, t["anomaly_q"] < _Q, ~t["ill"])
    figures["normal cells with p < 0.05"] = lambda t: share(t, ~t["ill"], t["anomaly_p"] < 0.05)
    return figures


def area_of(name: str) -> Figure:
    """Return the function from cells to the area under the ROC curve of a score, abnormal against normal."""

    def area(table: pd.DataFrame) -> float:
        rows = table[table[name].notna() & (table["weight"] > 0)]
        if rows["ill"].nunique() < 2:
            return float("nan")
        return float(roc_auc_score(rows["ill"], rows[name], sample_weight=rows["weight"]))

    return area


def share(table: pd.DataFrame, among: pd.Series, what: pd.Series) -> float:
    """Return the weighted share of the rows ``among`` for which ``what`` holds; 0 of none."""
    weight = table["weight"]
    whole = float(weight[among].sum())
    return float(weight[among & what].sum()) / whole if whole else 0.0


def over_slides(table: pd.DataFrame, figure: Figure) -> tuple[float, float, float]:
    """Return a figure and its 95 % interval over slides drawn with replacement."""
    slides, number = np.unique(table["slide"], return_inverse=True)
    generator = np.random.default_rng(0)
    drawn = generator.multinomial(len(slides), np.full(len(slides), 1 / len(slides)), size=_RESAMPLES)
    distinct, back = np.unique(drawn, axis=0, return_inverse=True)  # few slides: few resamples differ
    values = np.array([figure(table.assign(weight=weights[number])) for weights in distinct])
    return figure(table.assign(weight=1.0)), *interval(values[back.ravel()])


def share_figures(bags: pd.DataFrame) -> dict[str, float]:
    """Return the agreement of the estimated share of abnormal cells of fields with the labelled one."""
    if "abnormal_share" not in bags:
        return {}
    estimate, true = bags["abnormal_share"], bags["labelled_share"]
    found = {
        "share: r": float(estimate.corr(true)),
        "share: mean error": float((estimate - true).abs().mean()),
    }
    low, high = "abnormal_share_low", "abnormal_share_high"
    if {low, high} <= set(bags.columns):
        found["share: right intervals"] = float(((bags[low] <= true) & (true <= bags[high])).mean())
    return found


def judged_cells(data: Path, bundle: Path | None, fold: int, *, taught: bool) -> dict[str, list[float]]:
    """Print and return the figures of cells and of the share of abnormal ones."""
    cells, bags = scored_fields(data, bundle, lambda t: (t["fold"] == fold) & (t["exhaustive"] == 1))
    labelled = cells[cells["type"] != ""].assign(ill=lambda t: t["type"] != NORMAL)
    n_ill = int(labelled["ill"].sum())
    print(
        f"{bags.shape[0]} completely labelled fields of {bags['slide'].nunique()} slides, fold {fold}: "
        f"{len(cells)} whole cells, {len(labelled)} matched to a label, {n_ill} of them abnormal"
    )
    record: dict[str, tuple[float, ...]] = {}
    for name, figure in cell_figures(labelled).items():
        value, low, high = over_slides(labelled, figure)
        record[name] = value, low, high
        print(f"{name:36} {value:.3f}  [{low:.3f}, {high:.3f}]")
    for name, value in share_figures(bags).items():
        record[name] = (value,)
        print(f"{name:36} {value:.3f}")
    shown = ["anomaly"]
    if taught:
        others, _ = scored_fields(data, bundle, lambda t: (t["fold"] != fold) & (t["n_labelled"] >= _FEWEST))
        labelled["taught"] = taught_score(others[others["type"] != ""], labelled)
        shown += ["taught"]
        record["taught"] = over_slides(labelled, area_of("taught"))
        print("cell ROC area, taught by types      " + "  {:.3f}  [{:.3f}, {:.3f}]".format(*record["taught"]))
    for slide, rows in labelled.groupby("slide"):
        areas = ", ".join(f"{name} {area_of(name)(rows.assign(weight=1.0)):.3f}" for name in shown)
        print(f"  {slide}: {len(rows)} cells, {int(rows['ill'].sum())} abnormal, ROC area {areas}")
    return {name: list(values) for name, values in record.items()}


def taught_score(train: pd.DataFrame, test: pd.DataFrame) -> NDArray[np.float64]:
    """Return the probability that cells are abnormal, learned from labelled types and measurements.

    Cells weigh by the root of how many of a type a slide has, so that no slide decides alone.
    """
    names = [column_name(MORPH, name) for name in NAMES]
    weight = train.groupby(["slide", "type"])["type"].transform("size") ** -0.5
    model = HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.05, max_leaf_nodes=8, random_state=0
    ).fit(train[names], train["type"] != NORMAL, sample_weight=weight)
    return model.predict_proba(test[names])[:, 1]


def field_classes(
    data: Path, bundle: Path | None, out: Path, rows: list[str], protocol: StudyProtocol
) -> pd.DataFrame:
    """Train and test on whole fields, print a line per row, and return the table."""
    settings = ablation_rows(named_rows(rows), preset(REFERENCE), None)
    source = cohort_source(read_cohort(data / "fields.csv"))
    recipe = Recipe.for_training(load_bundle(bundle), preset(REFERENCE), pick_device("auto"))
    work = ablate(source, recipe, make_folder(out), settings, protocol)
    table = drain(work, _tell).table
    for _, line in table.iterrows():
        names = ("accuracy", "balanced_accuracy", "macro_auroc")
        print(f"{line['row']:24}" + "".join(f"  {name} {figure_of(line, name)}" for name in names))
    return table


def _tell(event: Event) -> None:
    """Print warnings, and the steps that take long."""
    if isinstance(event, Warned) or (isinstance(event, Step) and event.stage == "study"):
        print(event.message, flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Print the figures of cells and, where asked, of the classes of fields."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--fold", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--classes", type=Path, help="folder for trainings on fields.csv")
    parser.add_argument("--rows", nargs="*", default=[REFERENCE, BASELINE])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--taught", action="store_true", help="what labelled types could teach at best")
    chosen = parser.parse_args(arguments)
    record: dict[str, object] = {
        "cells": judged_cells(chosen.data, chosen.bundle, chosen.fold, taught=chosen.taught)
    }
    if chosen.classes:
        protocol = StudyProtocol(runs=chosen.runs, hold_out_fold=chosen.fold)
        table = field_classes(chosen.data, chosen.bundle, chosen.classes, chosen.rows, protocol)
        record["fields"] = json.loads(table.to_json(orient="records"))
    if chosen.json:
        chosen.json.write_text(json.dumps(record, indent=2), encoding="utf-8")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()

"""Contents of the pages of a report: one sample, or the whole cohort."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pandas as pd

from napari_amil.core.base.clinical_words import clinical_words
from napari_amil.core.base.columns import (
    PROBABILITY,
    column_of,
    menu_names,
    names_in,
    parts,
    score_names,
    scores_for,
)
from napari_amil.core.base.events import Event
from napari_amil.core.base.measure_words import deviations_in_words
from napari_amil.core.base.types import ANOMALOUS_Q, UNSEEN, Image
from napari_amil.core.evaluation.score_figures import draw_distributions
from napari_amil.core.exchange.project import Project
from napari_amil.core.report.overlay import draw_overlay, figure_uri, picture_uri
from napari_amil.core.report.page import Page, Picture, Section, bag_sentences
from napari_amil.core.studies.explore import Exploration, cluster_sheet
from napari_amil.core.studies.pictures import Fields, cell_sheet, distance_caption, most_unusual

_N_CELLS, _N_COHORT_CELLS, _N_FIELDS, _N_LISTED, _N_CLUSTERS = 16, 32, 3, 8, 8
_BAND = "The grey band holds the middle 90 % of the cells of control samples; each curve has the same area."
_COLOURS = (
    "From dark blue (as unusual as half of the control cells) to yellow (more unusual than all of them); "
    "grey is not scored."
)


def sample_page(
    project: Project, bag: str, fields: Fields, twins: tuple[Image, str] | None = None
) -> Generator[Event, None, Page]:
    """Return the page of one sample; ``twins`` show its strangest cells redrawn, with a caption."""
    row = project.bags[project.bags["bag"] == bag].iloc[0]
    own = project.of_bags([bag])
    sentences = bag_sentences(row.to_dict(), project.classes, project.control)
    sentences += [*clinical_words(row.to_dict()), *_whose(row, bag)]
    top = most_unusual(own.cells, _N_CELLS)
    unusual = []
    sheet = yield from cell_sheet(own, fields, top, "", distance_caption)
    if sheet is not None:
        unusual.append(
            Picture(picture_uri(sheet), "The most unusual first; d is the distance from control cells.")
        )
    columns = parts(row.index, PROBABILITY)
    shares = {name: float(row[columns[name]]) for name in project.classes if name in columns}
    likely = dict(sorted(shares.items(), key=lambda item: -item[1]))
    drawn = yield from _overlays(own, fields)
    table = _top_table(own.cells.iloc[top[:_N_LISTED]])
    sections = [
        Section("How probable each known class is", shares=likely),
        Section("The most unusual cells", unusual, table=table, rows="cells"),
        Section("Redrawn as control cells", [Picture(picture_uri(twins[0]), twins[1])] if twins else []),
        Section("Where they lie", drawn, side_by_side=len(drawn) > 1),
        Section("How the scores are distributed", _distributions(project, bag)),
    ]
    shown = [part for part in sections if part.pictures or part.shares or part.table is not None]
    return Page(f"Sample {bag}", sentences, shown)


def _whose(row: pd.Series, bag: str) -> list[str]:
    """Return the sentence on patient and label; nothing where neither is known."""
    patient = f"is of patient {row['patient']}" if str(row["patient"]) != bag else ""
    label = f"was labelled {row['label']}" if isinstance(row.get("label"), str) and row["label"] else ""
    known = " and ".join(filter(None, (patient, label)))
    return [f"It {known}."] if known else []


def _top_table(top: pd.DataFrame) -> pd.DataFrame:
    """Return the table of the most unusual cells, with their shape in words."""
    scores = [name for name in score_names(menu_names(top)) if column_of(name).shown in ("hover", "card")]
    words = ["; ".join(deviations_in_words(row.to_dict())) for _, row in top.iterrows()]
    return top[["image", "cell_id", *scores]].reset_index(drop=True).assign(shape=words)


def _overlays(own: Project, fields: Fields) -> Generator[Event, None, list[Picture]]:
    """Return the fields that hold the most unusual cells, with the outlines of the cells of the sample."""
    anomalous = (own.cells["anomaly_q"] < ANOMALOUS_Q).groupby(own.cells["image"], sort=False).sum()
    chosen = anomalous.sort_values(ascending=False, kind="stable").index[:_N_FIELDS]
    pictures: list[Picture] = []
    for image in chosen:
        field = yield from fields.read(str(image))
        if field is None:
            continue
        rows = np.flatnonzero((own.cells["image"] == image).to_numpy())
        percentile = own.cells["anomaly_percentile"].to_numpy(np.float64)[rows]
        drawn = draw_overlay(field, [own.outlines[row] for row in rows], percentile)
        cells = "1 cell" if len(rows) == 1 else f"{len(rows)} cells"
        counts = f"{cells} of this sample, {int(anomalous[image])} with q < {ANOMALOUS_Q}"
        caption = f"{image}: {counts}." + ("" if pictures else f" {_COLOURS}")
        pictures.append(Picture(picture_uri(drawn), caption))
    return pictures


def _distributions(project: Project, bag: str) -> list[Picture]:
    """Return histograms of the scores of a sample, with control samples of the cohort below."""
    labels = project.bags.set_index("bag")["label"]
    is_control = (project.cells["bag"].map(labels) == project.control) & (project.cells["bag"] != bag)
    mine = project.cells["bag"] == bag
    shown = project.cells[mine | is_control]
    shown = shown.assign(label=np.where(mine[shown.index], "this sample", project.control))
    classes = ["this sample", *([project.control] if is_control.any() else [])]
    return _drawn(shown, classes, project.control, "The cells of this sample.")


def _drawn(cells: pd.DataFrame, classes: list[str], control: str, caption: str) -> list[Picture]:
    """Return the distributions of the scores in each class; the band is explained where there is one."""
    scores = [name for name in scores_for("draw", cells) if cells[name].notna().any()]
    if not scores:
        return []
    figure = draw_distributions(cells, classes, control, scores)
    band = f" {_BAND}" if (cells["label"] == control).any() else ""
    return [Picture(figure_uri(figure), f"{caption}{band}")]


def cohort_page(
    project: Project, fields: Fields, links: dict[str, str], found: Exploration | None
) -> Generator[Event, None, Page]:
    """Return the page of the cohort, with the clusters that were found in it."""
    bags, cells = project.bags, project.cells
    labelled = bags["label"].astype(object)
    of_bag = labelled.where(labelled.notna() & (labelled != ""), "unlabelled").set_axis(bags["bag"])
    sentences = [
        f"{len(bags)} samples of {bags['patient'].nunique()} patients, {len(cells)} cells.",
        _novel_sentence(int((bags["verdict"] == UNSEEN).sum())),
    ]
    pictures = []
    rows = most_unusual(cells, _N_COHORT_CELLS)
    sheet = yield from cell_sheet(project, fields, rows, "", distance_caption)
    if sheet is not None:
        caption = "The most unusual cells of the whole cohort; d is the distance from control cells."
        pictures.append(Picture(picture_uri(sheet), caption))
    labels = cells["bag"].map(of_bag)
    classes = [name for name in project.classes if (labels == name).any()]
    classes += [str(name) for name in labels.unique() if name not in classes]
    scores = _drawn(cells.assign(label=labels), classes, project.control, "The cells of every class.")
    counts = bags.groupby(of_bag.to_numpy())["verdict"].value_counts().unstack(fill_value=0)
    verdicts = counts.rename_axis("label").reset_index()
    likely = parts(bags, PROBABILITY).values()
    listed = bags[[name for name in names_in("bags", bags) if name not in likely]].sort_values(
        "novelty_p", kind="stable"
    )
    sections = [Section("Verdicts by label", table=verdicts)]
    if found is not None and len(found.table):
        sections.append((yield from _clusters(project, fields, found)))
    sections += [
        Section("The most unusual cells", pictures),
        Section("How the scores are distributed", scores),
        Section("Samples, the most novel first", table=listed),
    ]
    shown = [part for part in sections if part.pictures or part.table is not None]
    return Page("Cohort", sentences, shown, links)


def _novel_sentence(n: int) -> str:
    if not n:
        return "None of them is unlike anything that the model has seen."
    return f"{n} of the samples {'is' if n == 1 else 'are'} unlike anything that the model has seen."


def _clusters(project: Project, fields: Fields, found: Exploration) -> Generator[Event, None, Section]:
    """Return the clusters of unusual cells, and the cells in the middle of the largest."""
    noted = {int(value["cluster"]): name for name, value in project.card.get("candidates", {}).items()}
    table = found.table.assign(candidate=[noted.get(int(n), "") for n in found.table["cluster"]])
    kept = [name for name in names_in("clusters", table) if name != "candidate" or noted]
    pictures = []
    for cluster in found.clusters.numbers[:_N_CLUSTERS]:
        sheet = yield from cluster_sheet(project, found.clusters, cluster, fields, _N_CELLS)
        if sheet is not None:
            name = f", named {noted[cluster]}" if cluster in noted else ""
            caption = f"Cluster {cluster}{name}: the cells in its middle first."
            pictures.append(Picture(picture_uri(sheet), caption))
    return Section("Unusual cells that look alike", pictures, table=table[kept], rows="clusters")

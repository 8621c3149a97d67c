"""A scored folder to reports: one page for the cohort and one for every sample."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import yaml

from napari_amil.core.errors import AmilError
from napari_amil.core.evaluation.overlay import draw_overlay, figure_uri, picture_uri
from napari_amil.core.evaluation.report import Origin, Page, Picture, bag_sentences, render_page
from napari_amil.core.evaluation.score_figures import draw_distributions
from napari_amil.core.events import Event, Step
from napari_amil.core.exchange.files import replacing
from napari_amil.core.exchange.project import Project
from napari_amil.core.morphology.words import deviations_in_words
from napari_amil.core.optional import optional
from napari_amil.core.pipeline.pictures import Fields, cell_sheet, distance_caption, most_unusual
from napari_amil.core.types import ANOMALOUS_Q, UNSEEN

_N_CELLS, _N_COHORT_CELLS, _N_FIELDS = 16, 32, 3
_SCORES = ("anomaly", "attention_x_n", "morph_distance")
_BAND = "The grey band holds the middle 90 % of the cells of control samples; each curve has the same area."
_MOST_UNUSUAL = "The most unusual cells; d is the distance from control cells."
_COLOURS = (
    "From dark blue (as unusual as half of the control cells) to yellow (more unusual than all of them); "
    "grey is not scored."
)


def write_reports(
    project: Project, out: Path, bags: Sequence[str], *, pdf: bool = False
) -> Generator[Event, None, list[Path]]:
    """Write ``cohort.html`` and, in ``samples``, one page for each of ``bags``; return the files.

    Parameters
    ----------
    pdf
        Write each page as a PDF beside it, too.

    Raises
    ------
    AmilError
        If a file cannot be written.
    MissingExtraError
        If a PDF is wanted and WeasyPrint is not installed.
    """
    printer = _printer() if pdf else None
    fields, origin = Fields(project), _origin(project)
    known = project.bags["bag"].tolist()
    names = dict(zip(known, _file_names(known), strict=True))
    written = []
    for number, bag in enumerate(bags):
        yield Step("report", number, len(bags) + 1, str(bag))
        page = yield from _sample_page(project, str(bag), fields)
        written += _write(render_page(page, origin), out / "samples" / names[bag], printer)
    yield Step("report", len(bags), len(bags) + 1, "The cohort")
    links = {str(bag): f"samples/{names[bag]}" for bag in bags}
    page = yield from _cohort_page(project, fields, links)
    return [*_write(render_page(page, origin), out / "cohort.html", printer), *written]


def _printer() -> ModuleType:
    """Return WeasyPrint, or say what it lacks."""
    try:
        return optional("weasyprint")
    except OSError as error:
        raise AmilError(
            f"WeasyPrint, which writes the PDF, misses a library of the system ({error}); install Pango, or "
            "print the pages from a browser."
        ) from error


def _write(text: str, path: Path, printer: ModuleType | None) -> list[Path]:
    """Write a page, and print it where there is a printer."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    if printer is None:
        return [path]
    printed = path.with_suffix(".pdf")
    with replacing(printed) as partial:
        printer.HTML(string=text, base_url=str(path.parent)).write_pdf(partial)
    return [path, printed]


def _file_names(bags: Sequence[str]) -> list[str]:
    """Return a file name for every bag, no two alike even where case does not count."""
    used: set[str] = set()
    names = []
    for bag in bags:
        stem = re.sub(r"[^\w.-]+", "_", str(bag))
        name, number = f"{stem}.html", 2
        while name.lower() in used:
            name, number = f"{stem}-{number}.html", number + 1
        used.add(name.lower())
        names.append(name)
    return names


def _origin(project: Project) -> Origin:
    bundle = project.card.get("bundle", {})
    model = f"{bundle.get('file', 'unknown')} (SHA-256 {str(bundle.get('sha256', 'unknown'))[:16]})"
    settings = yaml.safe_dump(project.card.get("settings", {}), sort_keys=False)
    return Origin(model, bundle.get("card", {}), settings, project.card.get("versions", {}))


def _sample_page(project: Project, bag: str, fields: Fields) -> Generator[Event, None, Page]:
    """Return the page of one sample."""
    row = project.bags[project.bags["bag"] == bag].iloc[0]
    own = project.of_bags([bag])
    known = f" It was labelled {row['label']}." if isinstance(row.get("label"), str) and row["label"] else ""
    sentences = bag_sentences(row.to_dict(), project.classes, project.control)
    sentences.append(f"Patient {row['patient']}.{known}")
    top = most_unusual(own.cells, _N_CELLS)
    pictures = []
    sheet = yield from cell_sheet(own, fields, top, "The most unusual cells", distance_caption)
    if sheet is not None:
        pictures.append(Picture(picture_uri(sheet), _MOST_UNUSUAL))
    pictures += yield from _overlays(own, fields)
    pictures += _distributions(project, bag)
    shares = {name: row[f"probability_{name}"] for name in project.classes if f"probability_{name}" in row}
    likely = pd.DataFrame({"class": list(shares), "probability": list(shares.values())})
    tables = {
        "Probabilities": likely.sort_values("probability", ascending=False),
        "The most unusual cells": _top_table(own.cells.iloc[top]),
    }
    return Page(f"Sample {bag}", sentences, tables, pictures)


def _top_table(top: pd.DataFrame) -> pd.DataFrame:
    """Return what is known of the most unusual cells, in plain words."""
    shown = ["image", "cell_id", "anomaly", "anomaly_percentile", "anomaly_q", "attention_x_n"]
    table = top[[name for name in shown if name in top]].reset_index(drop=True)
    words = ["; ".join(deviations_in_words(row.to_dict())) or "-" for _, row in top.iterrows()]
    return table.assign(unusual_in_control_deviations=words)


def _overlays(own: Project, fields: Fields) -> Generator[Event, None, list[Picture]]:
    """Return the fields that hold the most unusual cells, with the outlines of the cells of the sample."""
    anomalous = (own.cells["anomaly_q"] < ANOMALOUS_Q).groupby(own.cells["image"], sort=False).sum()
    chosen = anomalous.sort_values(ascending=False, kind="stable").index[:_N_FIELDS]
    pictures = []
    for image in chosen:
        field = yield from fields.read(str(image))
        if field is None:
            continue
        rows = np.flatnonzero((own.cells["image"] == image).to_numpy())
        percentile = own.cells["anomaly_percentile"].to_numpy(np.float64)[rows]
        drawn = draw_overlay(field, [own.outlines[row] for row in rows], percentile)
        counts = f"{len(rows)} cells of this sample, {int(anomalous[image])} of them with q < 0.05"
        caption = f"{image}: {counts}. {_COLOURS}"
        pictures.append(Picture(picture_uri(drawn), caption))
    return pictures


def _distributions(project: Project, bag: str) -> list[Picture]:
    """Return how the scores of a sample are distributed, with control samples of the cohort below."""
    labels = project.bags.set_index("bag")["label"]
    is_control = (project.cells["bag"].map(labels) == project.control) & (project.cells["bag"] != bag)
    mine = project.cells["bag"] == bag
    shown = project.cells[mine | is_control]
    shown = shown.assign(label=np.where(mine[shown.index], "this sample", project.control))
    classes = ["this sample", *([project.control] if is_control.any() else [])]
    figure = draw_distributions(shown, classes, project.control, _drawn(shown))
    caption = (
        f"How the scores are distributed. {_BAND}" if is_control.any() else "How the scores are distributed."
    )
    return [Picture(figure_uri(figure), caption)]


def _drawn(cells: pd.DataFrame) -> list[str]:
    return [name for name in _SCORES if name in cells and cells[name].notna().any()]


def _cohort_page(project: Project, fields: Fields, links: dict[str, str]) -> Generator[Event, None, Page]:
    """Return the page of the cohort."""
    bags, cells = project.bags, project.cells
    novel = bags[bags["verdict"] == UNSEEN]
    first = f"{len(bags)} samples of {bags['patient'].nunique()} patients, {len(cells)} cells."
    found = f"{len(novel)} of the samples are unlike anything that the model has seen."
    pictures = []
    rows = most_unusual(cells, _N_COHORT_CELLS)
    sheet = yield from cell_sheet(project, fields, rows, "The most unusual cells of all", distance_caption)
    if sheet is not None:
        pictures.append(Picture(picture_uri(sheet), "The most unusual cells of the whole cohort."))
    labels = cells["bag"].map(bags.set_index("bag")["label"]).fillna("unlabelled")
    classes = [name for name in project.classes if (labels == name).any()]
    classes += [str(name) for name in labels.unique() if name not in classes]
    figure = draw_distributions(cells.assign(label=labels), classes, project.control, _drawn(cells))
    pictures.append(Picture(figure_uri(figure), f"The scores of the cells in every class. {_BAND}"))
    counts = bags.groupby(bags["label"].fillna("unlabelled"))["verdict"].value_counts().unstack(fill_value=0)
    shown = [
        "bag",
        "patient",
        "label",
        "verdict",
        "predicted",
        "n_cells",
        "anomalous_fraction",
        "anomaly_p95",
    ]
    listed = bags[[*shown, "novelty_p"]].sort_values("novelty_p", kind="stable")
    tables = {"Verdicts by label": counts.reset_index(), "Samples, the most novel first": listed}
    return Page("Cohort", [first, found], tables, pictures, links)

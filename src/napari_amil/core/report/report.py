"""A scored folder to reports: one page for the cohort and one for every sample."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import yaml

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Step
from napari_amil.core.base.files import replacing
from napari_amil.core.base.optional import optional
from napari_amil.core.exchange.project import Project
from napari_amil.core.report.page import Origin, render_page
from napari_amil.core.report.pages import cohort_page, sample_page
from napari_amil.core.studies.explore import Exploration
from napari_amil.core.studies.pictures import Fields


def write_reports(
    project: Project,
    out: Path,
    bags: Sequence[str],
    *,
    found: Exploration | None = None,
    pdf: bool = False,
) -> Generator[Event, None, list[Path]]:
    """Write ``cohort.html`` and, in ``samples``, one page for each of ``bags``; return the files.

    Parameters
    ----------
    found
        What was found in the project (`find_exploration`): then the page of the cohort shows the clusters.
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
        page = yield from sample_page(project, str(bag), fields)
        page = replace(page, home="../cohort.html")
        written += _write(render_page(page, origin), out / "samples" / names[bag], printer)
    yield Step("report", len(bags), len(bags) + 1, "The cohort")
    links = {str(bag): f"samples/{names[bag]}" for bag in bags}
    page = yield from cohort_page(project, fields, links, found)
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
    digest = str(bundle.get("sha256", ""))[:16]
    model = str(bundle.get("file", "unknown")) + (f" (SHA-256 {digest})" if digest else "")
    settings = yaml.safe_dump(project.card.get("settings", {}), sort_keys=False)
    return Origin(model, bundle.get("card", {}), settings, project.card.get("versions", {}))

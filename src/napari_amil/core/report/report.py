"""Write the reports of a scored folder: one page for the cohort and one for every sample."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import yaml

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Step
from napari_amil.core.base.files import replacing
from napari_amil.core.base.locks import locked
from napari_amil.core.base.names import file_name, relative_files
from napari_amil.core.base.optional import optional
from napari_amil.core.base.outputs import make_folder, write_text
from napari_amil.core.base.own_files import replacing_own
from napari_amil.core.base.types import Image
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
    twins: Mapping[str, tuple[Image, str]] | None = None,
) -> Generator[Event, None, list[Path]]:
    """Write ``cohort.html`` and, in ``samples``, one page for each of ``bags``; return the files.

    Parameters
    ----------
    found
        Clusters of the project (`find_exploration`), which the page of the cohort then shows.
    pdf
        Write each page as a PDF beside it, too.
    twins
        ``sample -> picture, caption`` of its strangest cells redrawn as control cells.

    Raises
    ------
    AmilError
        If a file cannot be written.
    MissingExtraError
        If a PDF is wanted and WeasyPrint is not installed.
    """
    printer = _printer() if pdf else None
    fields, origin = Fields(project), _origin(project)
    known = [str(bag) for bag in project.bags["bag"]]
    names = dict(zip(known, relative_files(map(file_name, known), ".html").values(), strict=True))
    written = []
    with locked(make_folder(out)), replacing_own(out, last=("cohort.html",)) as stage:
        for number, bag in enumerate(map(str, bags)):
            yield Step("report", number, len(bags) + 1, bag)
            page = yield from sample_page(project, bag, fields, (twins or {}).get(bag))
            page = replace(page, home="../cohort.html")
            written += _write(render_page(page, origin), stage / "samples" / names[bag], printer)
        yield Step("report", len(bags), len(bags) + 1, "The cohort")
        links = {str(bag): quote(f"samples/{names[str(bag)]}") for bag in bags}
        page = yield from cohort_page(project, fields, links, found)
        written = [*_write(render_page(page, origin), stage / "cohort.html", printer), *written]
        return [out / path.relative_to(stage) for path in written]


def _printer() -> ModuleType:
    """Return WeasyPrint; refuse where it is not installed or misses a library."""
    try:
        return optional("weasyprint")
    except OSError as error:
        raise AmilError(
            f"WeasyPrint, which writes the PDF, misses a library of the system ({error}); install Pango, or "
            "print the pages from a browser."
        ) from error


def _write(text: str, path: Path, printer: ModuleType | None) -> list[Path]:
    """Write a page, and print it where there is a printer."""
    write_text(text, path)
    if printer is None:
        return [path]
    printed = path.with_suffix(".pdf")
    with replacing(printed) as partial:
        printer.HTML(string=text, base_url=str(path.parent)).write_pdf(partial)
    return [path, printed]


def _origin(project: Project) -> Origin:
    bundle = project.card.get("bundle", {})
    digest = str(bundle.get("sha256", ""))[:16]
    model = str(bundle.get("file", "unknown")) + (f" (SHA-256 {digest})" if digest else "")
    settings = yaml.safe_dump(project.card.get("settings", {}), sort_keys=False)
    used = {"time, memory and energy": project.card["used"]} if "used" in project.card else {}
    return Origin(model, bundle.get("card", {}), settings, project.card.get("versions", {}) | used)

"""Score a cohort into a folder, portion by portion, and continue where an earlier run stopped."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Failed, Step, Warned, collecting, translated
from napari_amil.core.base.files import file_sha256, json_sha256
from napari_amil.core.base.locks import locked
from napari_amil.core.base.names import printable
from napari_amil.core.base.outputs import environment, make_folder
from napari_amil.core.base.types import Bag
from napari_amil.core.exchange.project import (
    Project,
    read_project,
    read_project_card,
    refuse_foreign_tables,
    write_project,
)
from napari_amil.core.instances.extract import Recipe
from napari_amil.core.instances.sources import Source
from napari_amil.core.model.card import starter_path
from napari_amil.core.scoring.score import Scored, score_source, scoring_ahead

WORK = "parts"
_FIGURES = ("confusion", "curves", "decision", "scores", "calibration", "deletion")
OUTDATED = (
    "failures.csv",
    "metrics.json",
    "deletion.csv",
    "map-tsne.npy",
    "map-umap.npy",
    *(f"figures/{name}.{kind}" for name in _FIGURES for kind in ("png", "svg")),
)
"""Files that scores leave beside the project, which other scores make untrue."""
_IMAGES_A_PORTION = 2


@dataclass(frozen=True)
class Unit:
    """Bags that are scored in one go, and a digest of everything their scores depend on."""

    bags: tuple[Bag, ...]
    digest: str

    def failures(self, failed: list[Failed]) -> list[list[str]]:
        """Return source and reason of the failures in these bags."""
        own = {name for bag in self.bags for name in (bag.bag, *bag.images)}
        return [[one.source, one.reason] for one in failed if one.source in own]


def project_of(scored: Scored, source: Source, recipe: Recipe, bundle: Path | None) -> Project:
    """Return the project of a cohort that was scored with the bundle in the file ``bundle``."""
    card = card_of(source, recipe, bundle)
    assert scored.embeddings is not None
    return Project(scored.cells, scored.bags, scored.embeddings, scored.outlines, card)


def score_cohort(
    source: Source, recipe: Recipe, bundle: Path | None, folder: Path, *, replacing: bool = False
) -> Generator[Event, None, Project]:
    """Score every bag that ``folder`` does not hold yet, and write the project of all of them there.

    Finished portions are kept: a run that was stopped goes on, and a cohort that has grown is scored
    where it grew; its earlier failures are yielded again. Bags are scored anew if their cells, their
    images, the bundle or the settings are others.

    Parameters
    ----------
    bundle
        File of the bundle of ``recipe``; None for the starter.
    folder
        Folder of the scores.
    replacing
        Replace the scores of other images, which are refused otherwise.

    Raises
    ------
    AmilError
        If no bag could be scored, ``folder`` holds scores of other images, or another process is
        writing into it.
    """
    with locked(make_folder(folder)):
        refuse_foreign_tables(folder)
        if not replacing:
            refuse_other_images(source, folder)
        return (yield from _score_cohort(source, recipe, bundle, folder))


def refuse_other_images(source: Source, folder: Path) -> None:
    """Refuse to replace the scores of images that are not in the source.

    Raises
    ------
    AmilError
        If ``folder`` holds such scores.
    """
    try:
        images = read_project_card(folder)["images"]
    except (AmilError, KeyError):
        return
    places = {(str(path.resolve()), page) for path, page in source.files.values()}
    lost = [
        name
        for name, (path, page) in images.items()
        if (path, page) not in places and (name not in source.files or Path(path).exists())
    ]
    if lost:
        raise AmilError(
            f"'{folder}' holds the scores of {len(lost)} images that are not given now, "
            f"'{printable(lost[0])}' first; choose another folder, give these images too, or "
            "replace their scores with --replace."
        )


def _score_cohort(
    source: Source, recipe: Recipe, bundle: Path | None, folder: Path
) -> Generator[Event, None, Project]:
    """Score as `score_cohort` does, in a folder that this process holds."""
    card = card_of(source, recipe, bundle)
    units = units_of(source, recipe, card)
    known = yield from scoring_units(units, source, recipe, card, folder)
    return write_joined([unit.digest for unit in units], known, card, folder)


def write_joined(
    digests: Sequence[str], known: dict[str, Project], card: dict[str, Any], folder: Path
) -> Project:
    """Write the project of all units that are known, in the order of ``digests``, and drop the portions."""
    project = _joined([known[digest] for digest in digests if digest in known], card | _candidates(folder))
    write_project(project, folder, outdated=() if _is_unchanged(folder, project) else OUTDATED)
    shutil.rmtree(folder / WORK, ignore_errors=True)
    return project


def scoring_units(
    units: list[Unit], source: Source, recipe: Recipe, card: dict[str, Any], folder: Path
) -> Generator[Event, None, dict[str, Project]]:
    """Score those units that ``folder`` does not hold, and return the projects of all by their digests.

    Each portion is stored as soon as it is done.
    """
    known = stored_units(folder, card)
    todo = [unit for unit in units if unit.digest not in known]
    if known and len(todo) < len(units):
        yield Warned(f"{len(units) - len(todo)} of {len(units)} were scored before and are taken over.")
        for unit in units:
            if unit.digest in known:
                yield from (Failed(*line) for line in known[unit.digest].card["failed"][unit.digest])
    total = len({image for unit in todo for bag in unit.bags for image in bag.images})
    before = 0
    warned: set[str] = set()
    portions = list(_portions(todo))
    parts = _parts(source, portions)
    with closing(scoring_ahead(parts, recipe)) as ahead:
        here = replace(recipe, executor=ahead)
        for portion, part in zip(portions, parts, strict=True):
            failed: list[Failed] = []
            work = _renumbered(collecting(score_source(part, here), failed), before, total, warned)
            try:
                scored = yield from work
            except AmilError:  # no bag of this portion is left; a `Failed` has warned why
                continue
            finally:
                before += len(part.files)
            known |= _store(scored, portion, failed, card, folder / WORK)
    yield Step("images", total, total, "Writing the tables")
    return known


def _parts(source: Source, portions: list[list[Unit]]) -> list[Source]:
    """Return the source of each portion, with its own files alone."""
    rank = {name: number for number, name in enumerate(source.files)}
    parts = []
    for portion in portions:
        bags = tuple(bag for unit in portion for bag in unit.bags)
        names = sorted({name for bag in bags for name in bag.images}, key=rank.__getitem__)
        files = {name: source.files[name] for name in names}
        parts.append(Source(replace(source.cohort, bags=bags), files))
    return parts


def card_of(source: Source, recipe: Recipe, bundle: Path | None) -> dict[str, Any]:
    """Return the card of the scores of a cohort: model, settings, files."""
    path = bundle or starter_path()
    model = {"file": "starter" if bundle is None else str(path.resolve()), "sha256": file_sha256(path)}
    files = {name: [str(file.resolve()), page] for name, (file, page) in source.files.items()}
    return {
        "bundle": {**model, "card": recipe.bundle.card},
        "settings": recipe.settings.model_dump(mode="json"),
        "root": str(Path(source.cohort.root).resolve()),
        "control": source.cohort.control,
        "classes": list(recipe.bundle.need_scorer().classes),
        "images": files,
        "versions": environment(),
        "done": {},
        "failed": {},
    }


def units_of(source: Source, recipe: Recipe, card: dict[str, Any]) -> list[Unit]:
    """Return the bags one by one; all together where the settings join or part them."""
    bags = source.cohort.bags
    groups = [(bag,) for bag in bags] if recipe.settings.bag_level == "sample" else [bags]
    made_by = [card["bundle"]["sha256"], card["settings"], card["versions"]]
    records = [[made_by, [bag_record(bag, source) for bag in group]] for group in groups]
    return [Unit(group, json_sha256(record)[:32]) for group, record in zip(groups, records, strict=True)]


def bag_record(bag: Bag, source: Source) -> list[Any]:
    """Return everything that the scores of a bag depend on, to compare with an earlier run."""
    files = []
    for image in bag.images:
        path, page = source.files[image]
        status = path.stat() if path.exists() else None
        files.append([image, page, status and status.st_size, status and status.st_mtime_ns])
    cells = [
        [name, found.boxes.tolist(), found.cell_id.tolist(), [outline.tolist() for outline in found.outlines]]
        for name, found in bag.cells.items()
    ]
    types = [[name, known.tolist()] for name, known in bag.cell_type.items()]
    return [bag.bag, bag.patient, bag.label, files, cells, types, *([bag.clinical] if bag.clinical else [])]


def _portions(units: list[Unit]) -> Iterator[list[Unit]]:
    """Yield units that share no image with those of other portions, a few images at a time."""
    named = dict.fromkeys(name for unit in units for bag in unit.bags for name in bag.images)
    images = {name: number for number, name in enumerate(named)}
    pairs = [(row, len(units) + images[n]) for row, u in enumerate(units) for b in u.bags for n in b.images]
    size = len(units) + len(images)
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    linked = coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    groups: dict[int, list[Unit]] = {}
    for unit, group in zip(units, connected_components(linked, directed=False)[1], strict=False):
        groups.setdefault(int(group), []).append(unit)
    portion: list[Unit] = []
    for group in groups.values():
        portion += group
        if sum(len(bag.images) for unit in portion for bag in unit.bags) >= _IMAGES_A_PORTION:
            yield portion
            portion = []
    if portion:
        yield portion


def _renumbered(
    work: Generator[Event, None, Scored], before: int, total: int, warned: set[str]
) -> Generator[Event, None, Scored]:
    """Pass on the events of one portion: steps counted over all, the same warning once."""

    def of_all(event: Event) -> Event | None:
        if isinstance(event, Step):
            last = event.done >= event.total
            return None if last else replace(event, done=before + event.done, total=total)
        if isinstance(event, Warned):
            if event.message in warned:
                return None
            warned.add(event.message)
        return event

    return (yield from translated(work, of_all))


def _store(
    scored: Scored, portion: list[Unit], failed: list[Failed], card: dict[str, Any], work: Path
) -> dict[str, Project]:
    """Write the scored units, and return the project of each."""
    assert scored.embeddings is not None
    names = set(scored.bags["bag"])
    if len(portion) == 1:
        done = {portion[0].digest: sorted(names)}
    else:
        done = {u.digest: [b.bag for b in u.bags] for u in portion if all(b.bag in names for b in u.bags)}
    noted = {"done": done, "failed": {u.digest: u.failures(failed) for u in portion if u.digest in done}}
    whole = Project(scored.cells, scored.bags, scored.embeddings, scored.outlines, card | noted)
    write_project(whole, work / json_sha256(sorted(done))[:32], tables=False)
    return _units_of(whole)


def stored_units(folder: Path, card: dict[str, Any]) -> dict[str, Project]:
    """Return the stored projects by the digests of their units; damaged ones are missing."""
    found: dict[str, Project] = {}
    parts = sorted((folder / WORK).iterdir()) if (folder / WORK).is_dir() else []
    for place in [folder, *parts]:
        try:
            project = read_project(place)
        except AmilError:
            continue
        if project.card["bundle"]["sha256"] == card["bundle"]["sha256"]:
            found |= _units_of(project)
    return found


def _is_unchanged(folder: Path, project: Project) -> bool:
    """Return whether a folder holds the scores of the same bags, made alike."""
    try:
        return bool(read_project_card(folder)["done"] == project.card["done"])
    except (AmilError, KeyError):
        return False


def _candidates(folder: Path) -> dict[str, Any]:
    """Return the user's notes on candidates in the project, which a new score leaves alone."""
    try:
        card = read_project_card(folder)
    except AmilError:
        return {}
    return {"candidates": card["candidates"]} if "candidates" in card else {}


def _units_of(project: Project) -> dict[str, Project]:
    """Return the part of a project that each of its units made."""
    rows = project.cells.groupby("bag", sort=False).indices
    failed = project.card.get("failed", {})  # of a version that did not note them
    units = {}
    for digest, names in project.card["done"].items():
        if not set(names) <= set(rows):
            continue
        own = project.rows(np.concatenate([rows[name] for name in names]))
        bags = project.bags[project.bags["bag"].isin(names)]
        noted = {"done": {digest: names}, "failed": {digest: failed.get(digest, [])}}
        units[digest] = replace(own, bags=bags, card=project.card | noted)
    return units


def _joined(parts: list[Project], card: dict[str, Any]) -> Project:
    if not parts:
        raise AmilError("No bag could be scored; the reasons are listed above.")
    noted: dict[str, dict[str, Any]] = {"done": {}, "failed": {}}
    for part in parts:
        for name, of_units in noted.items():
            of_units |= part.card[name]
    return Project(
        pd.concat([part.cells for part in parts], ignore_index=True),
        pd.concat([part.bags for part in parts], ignore_index=True),
        np.concatenate([part.embeddings for part in parts]),
        tuple(outline for part in parts for outline in part.outlines),
        card | noted,
    )

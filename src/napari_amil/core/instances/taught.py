"""Images and patients of a training: noted on the model's card, and looked for in its test data."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Generator
from pathlib import Path
from typing import Any

from napari_amil.core.base.errors import CohortError
from napari_amil.core.base.events import Event, Warned
from napari_amil.core.base.types import Cohort
from napari_amil.core.cohort.copies import image_digests
from napari_amil.core.cohort.problems import Kind, Problem, enumerate_names
from napari_amil.core.instances.sources import Source

CARD = "taught"
"""Entry of the card of a scorer."""


def taught_entry(source: Source) -> dict[str, list[str]]:
    """Return hashes of the pixels of the images, and of the patients, for the card of a model.

    A patient is hashed with the name of the cohort's folder: no name leaves with the bundle, and a
    patient '1' of another cohort is somebody else.
    """
    digests = _digests(source)
    patients = set(_patients(source.cohort).values())
    return {"images": sorted(set(digests.values())), "patients": sorted(patients)}


def overlap(source: Source, card: dict[str, Any]) -> list[Problem]:
    """Return overlaps of a source with the training data noted on a card; none where nothing is noted."""
    known = (card.get("scorer") or {}).get(CARD) or {}
    found = []
    taught = set(known.get("images", ()))
    digests = _digests(source) if taught else {}
    images = [name for name, digest in digests.items() if digest in taught]
    if images:
        found.append(_problem(f"{len(images)} of {len(digests)} images", images, "leaking-images"))
    hashed = _patients(source.cohort)
    taught = set(known.get("patients", ()))
    patients = [name for name, value in hashed.items() if value in taught]
    if patients:
        found.append(_problem(f"{len(patients)} of {len(hashed)} patients", patients, "leaking-patients"))
    return found


def refusing_taught(
    source: Source, card: dict[str, Any], allowed: Collection[str] = ()
) -> Generator[Event, None, None]:
    """Refuse to test a model on its training data; yield a warning where that is allowed.

    Raises
    ------
    CohortError
        With the overlap and the options.
    """
    for problem in overlap(source, card):
        if problem.kind not in allowed:
            raise CohortError(
                f"{problem.message.removesuffix('.')}; give other images or --hold-out-fold, or go on all "
                f"the same with --allow {problem.kind}."
            )
        yield Warned(problem.message)


def _digests(source: Source) -> dict[str, str]:
    """Return the digests of the images of the bags; a fold of a source knows the files of all."""
    images = {image for bag in source.cohort for image in bag.images}
    return image_digests({name: place for name, place in source.files.items() if name in images})


def _problem(counted: str, names: Collection[str], kind: Kind) -> Problem:
    message = f"{counted} taught this model ({enumerate_names(names)}), so that figures flatter it."
    return Problem("error", message, kind)


def _patients(cohort: Cohort) -> dict[str, str]:
    """Return the hash of each patient."""
    folder = Path(cohort.root).resolve().name
    names = dict.fromkeys(bag.patient for bag in cohort)
    return {name: hashlib.sha256(f"{folder}\0{name}".encode()).hexdigest()[:16] for name in names}

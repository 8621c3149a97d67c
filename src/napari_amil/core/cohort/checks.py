"""Check a cohort for leakage, confounding, and missing or damaged images."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from napari_amil.core.base.errors import ImageError, MissingExtraError
from napari_amil.core.base.events import Event, Events, Step, drain
from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.base.types import Bag, Cohort, Floats
from napari_amil.core.cohort.confounding import (
    colours_of,
    confounded_colours,
    confounded_columns,
    confounded_sizes,
)
from napari_amil.core.cohort.copies import pixel_digest
from napari_amil.core.cohort.folds import patients_of
from napari_amil.core.cohort.likeness import (
    COPY,
    Thumbnail,
    alike_neighbours,
    correlation,
    likely_pairs,
    thumbnail,
)
from napari_amil.core.cohort.problems import Problem, enumerate_names
from napari_amil.core.images.fields import open_field, sampled_pixels
from napari_amil.core.images.read import locate

MIN_PATIENTS = 3
"""Patients of a class below which three folds cannot each hold one."""
MIN_CONTROL_PATIENTS = 2
"""Control patients below which none can be left out, so that no distance can be calibrated."""
MIN_CONTROLS_PER_DIM = 10
"""Control cells per dimension of the embedding below which the control Gaussian needs shrinkage."""
EMBEDDING_DIM = ModelSettings().embedding_dim
"""Dimensions of the embedding of the recommended model, for checks without settings."""

PartOf = Callable[[Bag], str | None]
"""Names the part, such as a fold, that a bag is in; None where it is in none."""


@dataclass(frozen=True)
class _Seen:
    """Size, colours, thumbnail and pixel hash of one image."""

    digest: str
    height: int
    width: int
    colours: Floats
    thumbnail: Thumbnail


def fold_of(bag: Bag) -> str | None:
    """Return the name of the fold that holds a bag out."""
    return None if bag.fold is None else f"fold {bag.fold}"


def check_cohort(cohort: Cohort, embedding_dim: int = EMBEDDING_DIM) -> list[Problem]:
    """Return every problem of a cohort, errors first; every image is read once."""
    problems: list[Problem] = drain(checking(cohort, embedding_dim))
    return problems


def checking(cohort: Cohort, embedding_dim: int = EMBEDDING_DIM) -> Events:
    """Yield a step per image read and return the list of problems, errors first."""
    problems = [*quick_problems(cohort, embedding_dim), *leaking_patients(cohort), *_leaking_names(cohort)]
    problems += _shared_folder_names(cohort)
    images = list(dict.fromkeys(image for bag in cohort for image in bag.images))
    seen: dict[str, _Seen] = {}
    for done, image in enumerate(images):
        yield Step("check", done, len(images), image)
        try:
            seen[image] = _look(Path(cohort.root), image)
        except (ImageError, MissingExtraError) as error:
            problems.append(Problem("error", str(error), "unreadable-images"))
    yield Step("check", len(images), len(images))
    sizes = {image: (look.height, look.width) for image, look in seen.items()}
    problems += [*_outside(cohort, sizes), *_copies(cohort, seen), *confounded_sizes(cohort, sizes)]
    problems += [*(yield from _altered_copies(cohort, seen)), *_split_slides(cohort, seen)]
    problems += confounded_colours(cohort, {image: look.colours for image, look in seen.items()})
    return sorted(problems, key=lambda problem: problem.severity)


def quick_problems(cohort: Cohort, embedding_dim: int = EMBEDDING_DIM) -> Iterator[Problem]:
    """Yield the problems that show without reading an image, but for those of folds."""
    yield from _labels(cohort)
    yield from _two_labels(cohort, {image: image for bag in cohort for image in bag.images})
    yield from _bags(cohort, embedding_dim)
    yield from confounded_columns(cohort)


def leaking_patients(cohort: Cohort, part_of: PartOf = fold_of) -> Iterator[Problem]:
    """Yield patients who are in two parts, so that training and test would share them."""
    for patient, bags in patients_of(cohort).items():
        parts = sorted({part for bag in bags if (part := part_of(bag)) is not None})
        if len(parts) > 1:
            yield Problem(
                "error",
                f"Patient '{patient}' is in {' and in '.join(parts)}; put all bags of a patient in one fold.",
                "leaking-patients",
            )


def _look(root: Path, image: str) -> _Seen:
    """Return size, colours and a hash of the pixels of an image, of a large one by samples."""
    with open_field(*locate(root, image)) as field:
        pixels = sampled_pixels(field)
        return _Seen(pixel_digest(field), *field.shape, colours_of(pixels), thumbnail(pixels))


def _labels(cohort: Cohort) -> Iterator[Problem]:
    """Yield patients with two labels, and classes with few patients."""
    n_patients = Counter[str]()
    for patient, bags in patients_of(cohort).items():
        labels = sorted({bag.label for bag in bags if bag.label is not None})
        n_patients.update(labels)
        if len(labels) > 1:
            listed = enumerate_names(labels)
            yield Problem(
                "error",
                f"Patient '{patient}' has the labels {listed}; give each patient one.",
                "mixed-labels",
            )
    for label in cohort.classes:
        n = n_patients[label]
        if label == cohort.control and n < MIN_CONTROL_PATIENTS:
            yield Problem(
                "error",
                f"The control class '{label}' has {n} patient(s), so that none can be left out to say how "
                "unusual a distance is; add controls.",
                "few-patients",
            )
        elif n < MIN_PATIENTS:
            yield Problem(
                "warning",
                f"Class '{label}' has {n} patient(s), fewer than {MIN_PATIENTS}; "
                "add patients, or don't trust its cross-validated results.",
                "few-patients",
            )


def _bags(cohort: Cohort, embedding_dim: int) -> Iterator[Problem]:
    """Yield bags with no or one cell, too few control cells, and bags without clinical values."""
    has_cells = any(bag.cells for bag in cohort)
    for bag in cohort:
        if not bag.images or (has_cells and not bag.n_cells):
            message = f"Bag '{bag.bag}' is empty; add its images or remove it."
            yield Problem("error", message, "empty-bags")
    single = [bag.bag for bag in cohort if has_cells and bag.n_cells == 1]
    if single:
        yield Problem(
            "warning",
            f"{len(single)} bag(s), such as '{single[0]}', have one cell, whose score alone says little; "
            "add cells.",
            "few-cells",
        )
    n_control = sum(bag.n_cells for bag in cohort if bag.label == cohort.control)
    if has_cells and n_control < MIN_CONTROLS_PER_DIM * embedding_dim:
        yield Problem(
            "warning",
            f"There are {n_control} control cells, fewer than {MIN_CONTROLS_PER_DIM} for each of the "
            f"{embedding_dim} dimensions of the embedding; add controls, else distances stay rough.",
            "few-cells",
        )
    without = [bag.bag for bag in cohort if not bag.clinical]
    if 0 < len(without) < len(cohort):
        yield Problem(
            "warning",
            f"{len(without)} bag(s), such as '{without[0]}', have no clinical values; add their rows.",
            "missing-values",
        )


def _leaking_names(cohort: Cohort) -> Iterator[Problem]:
    """Yield images that serve two folds by name."""
    for image, bags in _users(cohort, {image: image for bag in cohort for image in bag.images}).items():
        folds = sorted({bag.fold for bag in bags if bag.fold is not None})
        if len(folds) > 1:
            listed = f"Image '{image}' serves the folds {enumerate_names(folds)}; keep it in one of them."
            yield Problem("error", listed, "leaking-images")


def _copies(cohort: Cohort, seen: Mapping[str, _Seen]) -> Iterator[Problem]:
    """Yield images of different names and equal pixels under two patients."""
    digests = {image: look.digest for image, look in seen.items()}
    yield from _two_labels(cohort, digests)
    names = defaultdict(list)
    for image, digest in digests.items():
        names[digest].append(image)
    for digest, bags in _users(cohort, digests).items():
        patients = sorted({bag.patient for bag in bags})
        folds = {bag.fold for bag in bags}
        if len(names[digest]) < 2 or len(patients) < 2:
            continue
        copies, owners = enumerate_names(names[digest]), enumerate_names(patients)
        listed = f"{copies} are copies of one image under the patients {owners}"
        if len(folds - {None}) > 1:
            yield Problem("error", f"{listed}, in different folds; keep one copy.", "leaking-images")
        elif None in folds:
            yield Problem("warning", f"{listed}, which folds may part; keep one copy.", "leaking-images")


def _two_labels(cohort: Cohort, key_of: Mapping[str, str]) -> Iterator[Problem]:
    """Yield images, or images of equal pixels, that serve bags of two labels."""
    names = defaultdict(set)
    for image, key in key_of.items():
        names[key].add(image)
    by_name = all(image == key for image, key in key_of.items())
    shared: dict[tuple[str, ...], list[set[str]]] = defaultdict(list)
    for key, bags in _users(cohort, key_of).items():
        labels = sorted({bag.label for bag in bags if bag.label is not None})
        if len(labels) > 1 and (by_name or len(names[key]) > 1):
            shared[tuple(labels)].append(names[key])
    for found, groups in shared.items():
        ending = f"bags with the labels {enumerate_names(found)}; one image shows one patient."
        if by_name:
            images = sorted(set().union(*groups))
            what = f"Image {enumerate_names(images)} serves"
            if len(images) > 1:
                what = f"{len(images)} images ({enumerate_names(images)}) serve"
            yield Problem("error", f"{what} {ending}", "mixed-labels")
            continue
        for copies in groups:
            what = f"{enumerate_names(sorted(copies))} are copies of one image and serve"
            yield Problem("error", f"{what} {ending}", "mixed-labels")


def _shared_folder_names(cohort: Cohort) -> Iterator[Problem]:
    """Yield a hint at folders of patients that have the same name in two classes."""
    classes = defaultdict(set)
    for bag in cohort:
        label, slash, name = bag.patient.partition("/")
        if slash and label == bag.label:
            classes[name].add(label)
    shared = [name for name, labels in classes.items() if len(labels) > 1]
    if shared:
        yield Problem(
            "warning",
            f"The folder(s) {enumerate_names(shared)} lie in two or more classes and are taken for different "
            "patients; if one is the same person, rename it and give that patient one class.",
            "mixed-labels",
        )


def _altered_copies(cohort: Cohort, seen: Mapping[str, _Seen]) -> Generator[Event, None, list[Problem]]:
    """Return images of different patients that are cropped, mirrored, turned or re-encoded copies."""
    owner = {image: bag for bag in cohort for image in bag.images}
    patient = {image: bag.patient for image, bag in owner.items()}
    pairs = likely_pairs({image: look.colours for image, look in seen.items()}, patient)
    problems = []
    for done, (first, second) in enumerate(pairs):
        if done % 50 == 0:
            yield Step("check", done, len(pairs), "Looking for altered copies")
        if seen[first].digest == seen[second].digest:
            continue  # equal pixels are reported by themselves
        if correlation(seen[first].thumbnail, seen[second].thumbnail) < COPY:
            continue
        one, other = owner[first], owner[second]
        apart = one.label != other.label or (one.fold != other.fold and None not in {one.fold, other.fold})
        problems.append(
            Problem(
                "error" if apart else "warning",
                f"'{first}' and '{second}' show the same cells (one is cropped, mirrored or saved anew) "
                f"under the patients '{one.patient}' and '{other.patient}'; keep one of them.",
                "leaking-images",
            )
        )
    return problems


def _split_slides(cohort: Cohort, seen: Mapping[str, _Seen]) -> Iterator[Problem]:
    """Yield a warning if neighbouring images under different patients look like fields of one slide."""
    patient = {image: bag.patient for bag in cohort for image in bag.images}
    alike, n_pairs = alike_neighbours({image: look.colours for image, look in seen.items()}, patient)
    if alike:
        first, second = alike[0]
        yield Problem(
            "warning",
            f"{len(alike)} of {n_pairs} pairs of images whose numbers follow each other lie under different "
            f"patients and look like fields of one slide (colours of background and stain), such as "
            f"'{first}' and '{second}'; put all fields of a slide under one patient.",
            "leaking-images",
        )


def _outside(cohort: Cohort, sizes: Mapping[str, tuple[int, int]]) -> Iterator[Problem]:
    """Yield images with boxes that reach outside."""
    for bag in cohort:
        for image, cells in bag.cells.items():
            if image not in sizes or not len(cells):
                continue
            height, width = sizes[image]
            beyond = (
                (cells.boxes[:, :2] < 0).any(1) | (cells.boxes[:, 2] > height) | (cells.boxes[:, 3] > width)
            )
            if beyond.any():
                yield Problem(
                    "error",
                    f"{int(beyond.sum())} box(es) of bag '{bag.bag}' reach outside '{image}' "
                    f"({width} x {height} pixels); give y0, x0, y1, x1 in pixels of that image.",
                    "boxes-outside",
                )


def _users(cohort: Cohort, key_of: Mapping[str, str]) -> dict[str, list[Bag]]:
    """Return the bags that use each key, such as an image's name or content."""
    users = defaultdict(list)
    for bag in cohort:
        for key in {key_of[image] for image in bag.images if image in key_of}:
            users[key].append(bag)
    return users

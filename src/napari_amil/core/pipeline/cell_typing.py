"""Learn cell types from the names that a person gave, and give every cell of a scored folder a type."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS, KEY_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Step, Warned
from napari_amil.core.base.files import replacing_together
from napari_amil.core.base.locks import locked
from napari_amil.core.base.outputs import make_folder, write_json
from napari_amil.core.base.types import Floats
from napari_amil.core.cell_types.classifier import Examples, TypeClassifier
from napari_amil.core.cell_types.counts import type_counts
from napari_amil.core.cell_types.features import feature_names, features_of
from napari_amil.core.cell_types.named_cells import NAME, named_rows
from napari_amil.core.cell_types.suggestions import worth_naming
from napari_amil.core.cell_types.validation import Validation, cross_validate, importances, in_words
from napari_amil.core.exchange.project import Project
from napari_amil.core.exchange.tables import write_table
from napari_amil.core.pipeline.given_names import read_names

CLASSIFIER = "types.safetensors"
N_NEXT = 20


@dataclass(frozen=True, eq=False)
class Typed:
    """Types of the cells of a scored folder.

    Parameters
    ----------
    classifier
        For other folders that the same model scored.
    cells
        One row per cell: where it is, its given name, predicted ``type`` (``""`` where it is like no named
        type or none is probable), ``type_probability``, and ``type_<name>`` for each type.
    counts
        One row per sample and type (`type_counts`).
    worth_naming
        Rows of ``cells`` that are worth naming next, the first the most.
    validation
        Cross-validation; None for a classifier from a file, or of too few cells.
    """

    classifier: TypeClassifier
    cells: pd.DataFrame
    counts: pd.DataFrame
    worth_naming: NDArray[np.int64]
    validation: Validation | None = None

    def __repr__(self) -> str:
        counted = self.cells["type"].value_counts()
        types = ", ".join(f"{counted.get(name, 0)} {name}" for name in self.classifier.types)
        rest = counted.get("", 0)
        return f"Typed({len(self.cells)} cells: {types}, {rest} without a type; see .cells, .counts)"

    def sentences(self) -> list[str]:
        """Return the differences between the types in words."""
        return in_words(importances(self.classifier))


def classify_project(
    project: Project, names: pd.DataFrame | Path | None = None, classifier: Path | None = None
) -> Generator[Event, None, Typed]:
    """Give every cell of a project a type, by names or by a classifier that was made before.

    The names train on the embedding and the named measurements of whole cells; they never change an anomaly
    score or a verdict.

    Parameters
    ----------
    project
        A scored folder.
    names
        Table ``image, cell_type``, and ``cell_id`` or the box, or classes of QuPath, LabelMe or YOLO
        (`read_names`); the column ``cell_type`` of the project itself if neither it nor a classifier is
        given. A column ``slide`` says which cells are of one slide, else the patient does.
    classifier
        File of a classifier. Alone it is used as it is; with names, they are added to those that it was
        made from.

    Raises
    ------
    AmilError
        If there are too few names, or the classifier belongs to another model.
    """
    values = features_of(project.cells, project.embeddings)
    known = _measured(project.cells)
    given = np.full(len(project.cells), "", dtype="<U1")
    before = None
    if classifier is not None:
        before = TypeClassifier.load(classifier)
        _refuse_other_model(before, project, classifier)
        if names is None:
            return _typed(project, before, (values, known, given), None)
    given, slides = yield from _given_names(project, names)
    rows = np.flatnonzero((given != "") & known)
    named = Examples(values[rows], given[rows], slides[rows])
    if before is not None:
        if before.examples is None:
            raise AmilError(f"The classifier '{classifier}' holds no named cells to add to; name them again.")
        named = before.examples.with_more(named)
    learned, validation = yield from _learning(project, named)
    return _typed(project, learned, (values, known, given), validation)


def _learning(
    project: Project, named: Examples
) -> Generator[Event, None, tuple[TypeClassifier, Validation | None]]:
    """Fit a classifier to named cells and cross-validate it."""
    features = feature_names(project.embeddings.shape[1])
    yield Step("types", 0, 2, "Learning the types")
    learned = TypeClassifier.fit(named.values, named.names, features)
    yield Step("types", 1, 2, "Leaving out one slide after the other")
    validation = cross_validate(named.values, named.names, named.slides, features)
    yield from _notes(validation)
    card = _card(project, named.names, named.slides, validation)
    return replace(learned, card=card, examples=named), validation


def _measured(cells: pd.DataFrame) -> NDArray[np.bool_]:
    """Return a mask of whole cells: cells that the border cuts have no scores and get no type."""
    if "status" not in cells:
        return np.ones(len(cells), dtype=bool)
    return (cells["status"] == "scored").to_numpy()


def _typed(
    project: Project,
    learned: TypeClassifier,
    known: tuple[Floats, NDArray[np.bool_], NDArray[np.str_]],
    validation: Validation | None,
) -> Typed:
    """Return the types of all cells."""
    values, whole, given = known
    probability = np.full((len(values), len(learned.types)), np.nan)
    types = np.full(len(values), "", dtype=object)
    if whole.any():
        probability[whole] = learned.probability(values[whole])
        types[whole] = learned.predict(values[whole])
    columns = {f"type_{name}": probability[:, i] for i, name in enumerate(learned.types)}
    kept = [name for name in (*KEY_COLUMNS, *BOX_COLUMNS) if name in project.cells]
    table = project.cells[kept].reset_index(drop=True)
    best = np.full(len(values), np.nan)
    best[whole] = probability[whole].max(axis=1)
    table = table.assign(**{NAME: given, "type": types, "type_probability": best}, **columns)
    unnamed = np.flatnonzero((given == "") & whole)
    bags = project.cells["bag"].to_numpy()[whole]
    counts = type_counts(bags.tolist(), types[whole].astype(np.str_), learned.types)
    return Typed(learned, table, counts, worth_naming(learned, values, unnamed, N_NEXT), validation)


def _given_names(
    project: Project, names: pd.DataFrame | Path | None
) -> Generator[Event, None, tuple[NDArray[np.str_], NDArray[np.str_]]]:
    """Return the given name and the slide of each cell of a project."""
    patients = dict(zip(project.bags["bag"], project.bags["patient"].astype(str), strict=True))
    slides = project.cells["bag"].map(patients).to_numpy(dtype=np.str_)
    if names is None:
        if NAME not in project.cells:
            raise AmilError(
                f"This folder has no column '{NAME}'; give a table with --names (image, cell_id, {NAME})."
            )
        return project.cells[NAME].fillna("").to_numpy(dtype=np.str_), slides
    table = (yield from read_names(project, names)) if isinstance(names, Path) else names
    given, n_lost = named_rows(project.cells, table)
    if n_lost:
        yield Warned(f"{n_lost} names belong to no cell of this folder and are left out.")
    if "slide" in table:
        own = dict(zip(table["image"], table["slide"].astype(str), strict=True))
        slides = np.array([own.get(image, "") for image in project.cells["image"]], dtype=np.str_)
    return given, slides


def _notes(validation: Validation | None) -> Generator[Event, None, None]:
    """Warn of limits of a classifier's validation."""
    if validation is None:
        yield Warned("There are too few named cells to leave any out: how good the types are is not known.")
    elif validation.by == "cell":
        yield Warned(
            "All named cells are of one slide: the figures tell of this slide, not of another; name cells of "
            "several slides."
        )


def _card(
    project: Project, names: NDArray[np.str_], slides: NDArray[np.str_], validation: Validation | None
) -> dict[str, Any]:
    """Return the card of a classifier: its model, cells and validation."""
    counted = dict(zip(*(part.tolist() for part in np.unique(names, return_counts=True)), strict=True))
    return {
        "model": project.card.get("bundle", {}).get("sha256", ""),
        "n_cells": counted,
        "n_slides": len(np.unique(slides)),
        "macro_f1": None if validation is None else round(validation.macro_f1, 4),
        "validated_by": None if validation is None else validation.by,
    }


def _refuse_other_model(learned: TypeClassifier, project: Project, file: Path) -> None:
    """Refuse a classifier whose embeddings are those of another model."""
    own = project.card.get("bundle", {}).get("sha256", "")
    if learned.card.get("model") != own or learned.features != feature_names(project.embeddings.shape[1]):
        raise AmilError(
            f"The classifier '{file}' was made on scores of another model; name cells of this folder with "
            "--names, or score it with that model."
        )


def write_typed(found: Typed, out: Path) -> list[Path]:
    """Write types, counts, cells worth naming, the classifier and its validation; return the files."""
    names = ["types.csv", "type_counts.csv", "worth_naming.csv", CLASSIFIER]
    with locked(make_folder(out)), replacing_together(out) as stage:
        write_table(found.cells, stage / "types.csv")
        write_table(found.counts, stage / "type_counts.csv")
        write_table(found.cells.iloc[found.worth_naming].reset_index(drop=True), stage / "worth_naming.csv")
        found.classifier.save(stage / CLASSIFIER)
        if found.validation is not None:
            matrix = found.validation.confusion.rename_axis("given").reset_index()
            write_table(matrix, stage / "confusion.csv")
            write_table(importances(found.classifier), stage / "importances.csv")
            scores = {"macro_f1": found.validation.macro_f1, "left_out": found.validation.by}
            write_json(scores, stage / "typing.json")
            names += ["confusion.csv", "importances.csv", "typing.json"]
    return [out / name for name in names]

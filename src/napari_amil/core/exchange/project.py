"""A scored folder: tables, embeddings and outlines of a cohort, and the card with the hash of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from napari_amil.core.base.arrays import read_arrays
from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import decoding, file_sha256, read_json, replacing, replacing_together
from napari_amil.core.base.tables import header_of
from napari_amil.core.base.types import CELL_COLUMNS, Cells
from napari_amil.core.exchange.polygons import fill_ids
from napari_amil.core.exchange.tables import load_table, table_arrays, table_from_arrays, write_table

FORMAT = "napari-amil project"
FORMAT_VERSION = 2
CARD, ARRAYS, CELLS, BAGS = "project.json", "cells.npz", "cells.csv", "bags.csv"
_PARTS = (ARRAYS, BAGS)  # what is read again; cells.csv is for people and other programs
_COLUMNS = frozenset({"bag", "image", "cell_id", *BOX_COLUMNS})


class _Card(BaseModel):
    """Types of the entries of a card that the program reads; any may be missing."""

    model_config = ConfigDict(extra="allow", strict=True)

    bundle: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    control: str = "control"
    classes: list[str] = []
    images: dict[str, list[str | int]] = {}
    versions: dict[str, str] = {}
    done: dict[str, list[str]] = {}
    failed: dict[str, list[list[str]]] = {}
    candidates: dict[str, dict[str, Any]] = {}
    parts: dict[str, str] = {}


@dataclass(frozen=True, eq=False)
class Project:
    """Everything that reports, exports and explorations need of a scored cohort.

    Parameters
    ----------
    cells, bags
        The tables of cells and of bags, with the columns that the documentation lists.
    embeddings
        ``(n_cells, k)`` float32, row for row as ``cells``.
    outlines
        One ``(n_points, 2)`` polygon y, x per row of ``cells``, in pixels.
    card
        Plain JSON values: ``bundle``, ``settings``, ``root``, ``control``, ``classes``, ``images``
        (``name -> [path, page]``), ``done``, ``versions``, ``candidates`` where clusters were named, and
        ``parts``, the SHA-256 of the files that were written with it.
    """

    cells: pd.DataFrame
    bags: pd.DataFrame
    embeddings: NDArray[np.float32]
    outlines: tuple[NDArray[np.float32], ...]
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.cells)
        if len(self.embeddings) != n or len(self.outlines) != n:
            raise ValueError(
                f"There are {n} cells, {len(self.embeddings)} embeddings and {len(self.outlines)} outlines."
            )

    @property
    def digest(self) -> str:
        """SHA-256 of the embeddings and scores, which tells the results of two models apart."""
        found = hashlib.sha256(np.ascontiguousarray(self.embeddings).tobytes())
        if "anomaly" in self.cells:
            found.update(self.cells["anomaly"].to_numpy(np.float64).tobytes())
        return found.hexdigest()

    @property
    def control(self) -> str:
        """Name of the control class."""
        return str(self.card.get("control", "control"))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that the model knows."""
        return tuple(self.card.get("classes", ()))

    def image_file(self, image: str) -> tuple[Path, int]:
        """Return path and page of an image.

        Raises
        ------
        AmilError
            If the project does not know the image.
        """
        try:
            path, page = self.card["images"][image]
            return Path(path), int(page)
        except (KeyError, ValueError) as error:
            raise AmilError(
                f"The project does not say where '{image}' lies; score the cohort again."
            ) from error

    def of_bags(self, names: Any) -> Project:  # noqa: ANN401
        """Return the project of some of the bags."""
        rows = np.flatnonzero(self.cells["bag"].isin(list(names)).to_numpy())
        bags = self.bags[self.bags["bag"].isin(list(names))].reset_index(drop=True)
        return replace(self.rows(rows), bags=bags)

    def rows(self, rows: NDArray[np.int64]) -> Project:
        """Return the project with some of the cells, in this order, and all bags."""
        return replace(
            self,
            cells=self.cells.iloc[rows].reset_index(drop=True),
            embeddings=self.embeddings[rows],
            outlines=tuple(self.outlines[row] for row in rows),
        )

    def plane(self) -> NDArray[np.float64]:
        """Return two principal components ``(n_cells, 2)`` of the embeddings, 0 without a second."""
        centred = self.embeddings.astype(np.float64) - self.embeddings.mean(axis=0, dtype=np.float64)
        _, vectors = np.linalg.eigh(centred.T @ centred)
        first = centred @ vectors[:, ::-1][:, :2]
        return np.pad(first, ((0, 0), (0, 2 - first.shape[1])))

    def image_cells(self, image: str) -> tuple[Cells, pd.DataFrame]:
        """Return the cells of one image, each once, and their rows of the table.

        A cell of several bags has the scores of the first. Ids that are not unique within the image,
        because every bag counts by itself, are replaced by free ones.
        """
        rows = self.cells[self.cells["image"] == image].drop_duplicates(BOX_COLUMNS)
        known = {name: rows[name].to_numpy() for name in CELL_COLUMNS if name in rows}
        known["cell_id"] = fill_ids(rows["cell_id"].to_numpy())
        boxes = rows[BOX_COLUMNS].to_numpy(np.float32)
        cells = Cells(boxes, tuple(self.outlines[i] for i in rows.index), **known)
        return cells, rows.reset_index(drop=True).assign(cell_id=known["cell_id"])


def write_project(
    project: Project, folder: Path, *, tables: bool = True, outdated: Sequence[str] = ()
) -> None:
    """Write a project into a folder (`writing_project`)."""
    with writing_project(project, folder, tables=tables, outdated=outdated):
        pass


@contextmanager
def writing_project(
    project: Project, folder: Path, *, tables: bool = True, outdated: Sequence[str] = ()
) -> Iterator[Path]:
    """Write a project; yield a temporary folder for further files, which take their places with it.

    Parameters
    ----------
    tables
        Write ``cells.csv`` beside ``cells.npz``, for people and other programs.
    outdated
        Names of files of earlier scores that are removed.

    Raises
    ------
    AmilError
        If a file cannot be written.
    """
    points = np.concatenate([*project.outlines, np.empty((0, 2), np.float32)])
    sizes = np.array([len(outline) for outline in project.outlines], dtype=np.int64)
    arrays = {"embeddings": project.embeddings, "outline_points": points, "outline_sizes": sizes}
    with replacing_together(folder, last=(CARD,), outdated=[*outdated, CELLS]) as stage:
        with replacing(stage / ARRAYS) as partial, partial.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays, **table_arrays(project.cells))
        write_table(project.bags, stage / BAGS)
        if tables:
            write_table(project.cells, stage / CELLS)
        yield stage
        parts = {name: file_sha256(stage / name) for name in _PARTS}
        format_ = {"format": FORMAT, "format_version": FORMAT_VERSION}
        _write_card({**format_, **project.card, "parts": parts}, stage)


def refuse_foreign_tables(folder: Path) -> None:
    """Refuse to overwrite tables of cells and bags that are not ours, such as a cell list.

    Raises
    ------
    AmilError
        If the folder, which is no scored one, holds such a table without the columns of this program.
    """
    if (folder / CARD).exists():
        return
    for name in (CELLS, BAGS):
        path = folder / name
        columns = set(header_of(path)) if path.exists() else set()
        if name == CELLS:
            own = bool(columns & {"area_px", "cluster"}) or columns == {"image"}  # no cell was found
        else:
            own = "bag" in columns and "image" not in columns
        if path.exists() and not own:
            raise AmilError(
                f"'{path}' was not written by this program and would be lost; choose another folder for the "
                "results."
            )


def refuse_scored_folder(folder: Path) -> None:
    """Refuse to write other tables of cells and bags over those of a scored folder.

    Raises
    ------
    AmilError
        If the folder holds a project, or as `refuse_foreign_tables`.
    """
    refuse_foreign_tables(folder)
    if (folder / CARD).exists():
        raise AmilError(
            f"'{folder}' is a scored folder, whose {CELLS} and {BAGS} would be lost; choose another folder."
        )


def note_in_card(folder: Path, **entries: Any) -> None:  # noqa: ANN401
    """Set some entries of the card of the project in ``folder``; everything else stays.

    Raises
    ------
    AmilError
        As `read_project`, or if the file cannot be written.
    """
    _write_card({**read_project_card(folder), **entries}, folder)


def _write_card(card: dict[str, Any], folder: Path) -> None:
    with replacing(folder / CARD) as partial:
        text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")  # JSON's own escapes


def read_project(folder: Path) -> Project:
    """Return the project in a folder.

    Raises
    ------
    AmilError
        If the folder holds none, one of another format version, or one that is damaged.
    """
    card = read_project_card(folder)
    parts = card.get("parts", {})
    for path in (folder / name for name in _PARTS):
        with decoding(path, "is damaged", "score the cohort again"):
            if file_sha256(path) != parts.get(path.name):
                raise AmilError(
                    f"'{path}' is not the file that was written with {CARD}; score the cohort again."
                )
    with decoding(folder / ARRAYS, "is damaged", "score the cohort again"):
        arrays = read_arrays(folder / ARRAYS)
        cells = table_from_arrays(arrays)
        ends = np.cumsum(arrays["outline_sizes"])[:-1]
        outlines = tuple(np.split(arrays["outline_points"], ends)) if len(cells) else ()
        if not set(cells) >= _COLUMNS:
            raise ValueError(f"columns are missing: {', '.join(sorted(_COLUMNS - set(cells)))}")
        return Project(cells, load_table(folder / BAGS), arrays["embeddings"], outlines, card)


def project_files(folder: Path) -> list[Path]:
    """Return the files from which the project in a folder is read."""
    return [folder / name for name in (CARD, *_PARTS)]


def read_project_card(folder: Path) -> dict[str, Any]:
    """Return the card of the project in a folder.

    Raises
    ------
    AmilError
        As `read_project`.
    """
    path = folder / CARD
    if not path.exists():
        raise AmilError(
            f"'{folder}' is no scored folder: it holds no {CARD}; "
            "make one with 'napari-amil score COHORT --out FOLDER'."
        )
    card = read_json(path)
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise AmilError(f"'{path}' is not the card of a project; score the cohort again.")
    if card.get("format_version") != FORMAT_VERSION:
        raise AmilError(
            f"The project '{folder}' has format version {card.get('format_version')}, but this program reads "
            f"version {FORMAT_VERSION}; score the cohort again."
        )
    try:
        _Card.model_validate(card)
    except ValidationError as error:
        entry = ".".join(map(str, error.errors()[0]["loc"]))
        raise AmilError(f"The entry '{entry}' of '{path}' is damaged; score the cohort again.") from error
    return card

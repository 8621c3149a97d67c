"""Read the folder of a scored cohort: its table of cells and the places of its images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_amil.core.base.columns import BOX_COLUMNS, PROBABILITY, parts
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import read_json, regular_file
from napari_amil.core.exchange.project import BAGS, CARD, CELLS, Project, read_project
from napari_amil.plugin.cohorts.folder_names import with_names

_NEEDED = ("image", "cell_id", *BOX_COLUMNS)
_OF_BAG = ("label", "predicted", "verdict")
_PAGE = re.compile(r"(?P<file>.+\.tiff?)#(?P<page>[1-9]\d*)", re.IGNORECASE)
_LEVELS_UP = 3
_FOLDERS_SEEN = 200
_ROWS_AT_ONCE = 4000
_WORDS: Any = {"bag": str, "image": str, "label": str}
_SAME_TIME_S = 2.0


@dataclass(frozen=True, eq=False)
class ScoredFolder:
    """The cells of a scored cohort.

    Parameters
    ----------
    path
        The folder.
    cells
        One row per cell with the columns of the documentation, and ``label``, ``predicted`` and
        ``verdict`` of its bag.
    bags
        One row per bag; empty where there is no table of them.
    images
        The folder that the names of images are relative to; None if it was not found.
    outlines
        One ``(n_points, 2)`` polygon y, x per row of ``cells``, in pixels; empty where only tables are left.
    """

    path: Path
    cells: pd.DataFrame
    bags: pd.DataFrame
    images: Path | None
    outlines: tuple[NDArray[np.float32], ...] = ()

    def outlines_of(self, rows: Iterable[int]) -> tuple[NDArray[np.float32], ...]:
        """Return the outlines of some rows of ``cells``; nothing where they are not known."""
        return tuple(self.outlines[row] for row in rows) if self.outlines else ()

    def verdict_of(self, bag: str, image: str | None) -> dict[str, Any] | None:
        """Return the verdict on a bag; None if unknown or if it has other images."""
        known = self.bags[self.bags["bag"] == bag] if "bag" in self.bags else self.bags
        if known.empty or "predicted" not in known or (image and set(self._images_of(bag)) != {image}):
            return None
        return verdict_in(known.iloc[0].to_dict())

    def _images_of(self, bag: str) -> list[str]:
        return list(self.cells.loc[self.cells["bag"] == bag, "image"].unique())


def verdict_in(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict on a sample, from its row of the table of bags."""
    columns = parts(row, PROBABILITY)
    known = {
        name: value for name, value in row.items() if name not in columns.values() and not pd.isna(value)
    }
    if "bag" in known:
        known["sample"] = str(known.pop("bag"))
    return {**known, "probability": {name: row[column] for name, column in columns.items()}}


def read_scored_folder(path: Path) -> ScoredFolder:
    """Return the cells of a scored cohort; may be called in any thread.

    Raises
    ------
    AmilError
        If the folder holds no table of cells that can be used.
    """
    folder = path.parent if path.is_file() else path
    project = _project_in(folder)
    cells = project.cells if project is not None else _read_table(folder / CELLS)
    missing = [name for name in _NEEDED if name not in cells]
    if missing or cells.empty:
        lack = f"lacks {', '.join(missing)}" if missing else "has no row"
        raise AmilError(f"'{folder / CELLS}' {lack}; choose a folder that napari-amil score has written.")
    cells["image"] = cells["image"].astype(str)
    bags = pd.DataFrame()
    if project is not None:
        bags = project.bags
    elif (folder / BAGS).is_file():
        bags = _read_table(folder / BAGS)
    if "bag" in cells and "bag" in bags:
        columns = [name for name in _OF_BAG if name in bags and name not in cells]
        known = bags.drop_duplicates("bag").set_index("bag")[columns]
        cells = cells.join(known, on="bag")
    cells = with_names(folder, cells)
    if "status" not in cells:
        cells["status"] = "scored"
    images = find_images_of(folder, cells["image"].unique())
    return ScoredFolder(folder, cells, bags, images, project.outlines if project is not None else ())


def _project_in(folder: Path) -> Project | None:
    """Return the arrays beside the table: quick to read, with outlines; None where the table is newer."""
    card, table = folder / CARD, folder / CELLS
    try:
        if table.is_file() and table.stat().st_mtime > card.stat().st_mtime + _SAME_TIME_S:
            return None
        project = read_project(folder)
    except (AmilError, OSError):
        return None
    return project if len(project.cells) else None


def _read_table(path: Path) -> pd.DataFrame:
    """Return a table, read part by part, so that the thread that does it never holds up the window."""
    try:
        with pd.read_csv(regular_file(path), dtype=_WORDS, chunksize=_ROWS_AT_ONCE) as parts:
            return pd.concat(parts, ignore_index=True)
    except FileNotFoundError as error:
        raise AmilError(
            f"There is no '{path}'; choose a folder that napari-amil score has written."
        ) from error
    except (OSError, ValueError) as error:
        raise AmilError(f"The table '{path}' cannot be read ({error}); score the cohort again.") from error


def find_images_of(folder: Path, names: Iterable[str]) -> Path | None:
    """Return the folder that holds the images ``names``: where they were, here, beside it, or above."""
    sample = list(names)
    sample = sample[:: max(len(sample) // 5, 1)]
    near = folder.resolve()
    bases = [near, *near.parents[:_LEVELS_UP]]
    for candidate in chain(_noted(near), *([base, *_subfolders(base)] for base in bases)):
        if all(file_of(candidate, name)[0].is_file() for name in sample):
            return candidate
    return None


def _noted(folder: Path) -> list[Path]:
    """Return the folder that the images lay in when they were scored."""
    if not (folder / CARD).is_file():
        return []
    try:
        return [Path(read_json(folder / CARD)["root"])]
    except (AmilError, KeyError, TypeError):
        return []


def _subfolders(base: Path) -> list[Path]:
    try:
        inside = [entry for entry in base.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return []
    return sorted(inside)[:_FOLDERS_SEEN]


def file_of(root: Path, name: str) -> tuple[Path, int]:
    """Return file and page of an image of a table; ``stack.tif#2`` is the page 1, counted from 0."""
    found = _PAGE.fullmatch(name)
    if found and not (root / name).exists():
        return root / found["file"], int(found["page"]) - 1
    return root / name, 0


def typical_side_px(cells: pd.DataFrame) -> float:
    """Return the median of the longer sides of the boxes, in pixels; NaN of no cell."""
    height, width = cells["y1"] - cells["y0"], cells["x1"] - cells["x0"]
    return float(np.maximum(height, width).median())

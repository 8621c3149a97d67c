"""Pseudo-healthy twins of cells, the difference from them as a heat map, and sheets of both for reports."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from napari_amil.core.anomaly.channels import column_of
from napari_amil.core.anomaly.model import AnomalyModel
from napari_amil.core.anomaly.reconstruction.scorer import ReconstructionScorer, Redrawn
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.columns import BOX_COLUMNS
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Step
from napari_amil.core.base.types import Cells, Image
from napari_amil.core.evaluation.contact_sheet import contact_sheet
from napari_amil.core.exchange.project import Project
from napari_amil.core.images.fields import Field
from napari_amil.core.images.foreground import REFERENCE_DIAMETER_PX
from napari_amil.core.instances.adjacent_cells import with_adjacent_cells
from napari_amil.core.instances.cell_inputs import crops_with_masks
from napari_amil.core.instances.extract import Recipe, at_scale_of, prepare
from napari_amil.core.instances.field_blocks import PreparedField, split_into_blocks
from napari_amil.core.morphology.masks import GRID
from napari_amil.core.studies.pictures import Fields

HOTTEST = 0.25
"""Difference, of 1, that has the last colour of the heat map."""
TWINS = 5
"""Cells of a sample that a report shows beside their twins."""


@dataclass(frozen=True, eq=False)
class RedrawnCells:
    """Cells of one field beside their twins, row for row as they were given.

    Parameters
    ----------
    network
        Name of the score that drew them.
    cell
        ``(n_cells, size, size, 3)`` uint8 normalised crops, as the network sees them or larger.
    drawn
        Twins, heat maps and memory items.
    field
        ``(height, width)`` float32 heat of all cells in place, in pixels of the image; 0 outside of them.
    """

    network: str
    cell: NDArray[np.uint8]
    drawn: Redrawn
    field: NDArray[np.float32]


def redrawing_scores(anomaly: AnomalyModel) -> dict[str, ReconstructionScorer]:
    """Return the scores of a model that can redraw cells, by name."""
    return {n: scorer for n, scorer in anomaly.channels.items() if isinstance(scorer, ReconstructionScorer)}


def need_redrawing(anomaly: AnomalyModel, network: str | None) -> ReconstructionScorer:
    """Return the network of a name, the first one for None.

    Raises
    ------
    AmilError
        If the model has none, or none of this name.
    """
    known = redrawing_scores(anomaly)
    if not known:
        raise AmilError(
            "This model has no network that redraws cells; add one with 'napari-amil train-anomaly'."
        )
    if network is not None and network not in known:
        raise AmilError(f"This model has no network '{network}'; it has {', '.join(known)}.")
    return known[network or next(iter(known))]


def redraw_cells(
    image: Image | Field | PreparedField, cells: Cells, recipe: Recipe, network: str | None = None
) -> Generator[Event, None, RedrawnCells]:
    """Redraw the cells of one field as control cells, and paste the differences in place.

    Raises
    ------
    AmilError
        If the model has no such network.
    """
    scorer = need_redrawing(recipe.bundle.need_scorer().anomaly, network)
    seen = yield from at_scale_of(prepare(image, recipe), cells, recipe)
    settings = recipe.settings.crop
    view, size = seen.view, settings.size_px
    crop_px = REFERENCE_DIAMETER_PX / view.scale
    side_px = settings.field * crop_px
    reach_px = max(side_px, GRID.field * view.diameter_px) / 2
    crops = np.zeros((len(cells), 4, size, size), dtype=np.uint8)
    parts: list[tuple[NDArray[np.int64], Redrawn]] = []
    field = np.zeros(view.shape, dtype=np.float32)
    around = with_adjacent_cells(seen, cells, recipe.bundle, recipe.settings)
    for block in split_into_blocks(view, around, reach_px):
        rows = block.rows
        crops[rows] = crops_with_masks(block.normalised, block.cells, view.diameter_px, crop_px, settings)
        drawn = scorer.redraw(CellInputs(pixels=crops[rows]))
        for row, heat in zip(rows, drawn.heat, strict=True):
            _paste(field, np.nan_to_num(heat), cells.boxes[row], side_px)
        parts.append((rows, drawn))
        yield Step("redraw", sum(len(done) for done, _ in parts), len(cells), "Redrawing cells")
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))
    colours = np.ascontiguousarray(np.moveaxis(crops[:, :3], 1, 3))
    return RedrawnCells(scorer.name, colours, _joined([drawn for _, drawn in parts], order), field)


def _joined(parts: Sequence[Redrawn], order: NDArray[np.int64]) -> Redrawn:
    memories = [part.memory for part in parts if part.memory is not None]
    return Redrawn(
        np.concatenate([part.twin for part in parts])[order],
        np.concatenate([part.heat for part in parts])[order],
        np.concatenate(memories)[order] if memories else None,
    )


def _paste(
    field: NDArray[np.float32], heat: NDArray[np.float32], box: NDArray[np.float32], side_px: float
) -> None:
    """Write the maximum of the present heat and that of one cell, whose window is centred on its box."""
    center, size = (box[:2] + box[2:]) / 2, len(heat)
    first = np.clip(np.floor(center - side_px / 2), 0, field.shape).astype(int)
    last = np.clip(np.ceil(center + side_px / 2), 0, field.shape).astype(int)
    at = [
        (np.arange(a, b) + 0.5 - (c - side_px / 2)) / side_px * size - 0.5
        for a, b, c in zip(first, last, center, strict=True)
    ]
    values = ndimage.map_coordinates(heat, np.meshgrid(*at, indexing="ij"), order=1, mode="constant")
    place = field[first[0] : last[0], first[1] : last[1]]
    np.maximum(place, values, out=place)


def heat_picture(cell: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a cell ``(size, size, 3)`` in grey under its heat in colour, the hotter the more opaque."""
    share = np.clip(np.nan_to_num(heat) / HOTTEST, 0, 1)[..., None]
    grey = np.repeat(cell.mean(axis=2, keepdims=True), 3, axis=2)
    colour = 255 * mpl.colormaps["inferno"](share[..., 0])[..., :3]
    opacity = np.minimum(1.5 * share, 0.9)
    return np.asarray((opacity * colour + (1 - opacity) * grey).round(), dtype=np.uint8)


def twin_sheet(
    project: Project, bag: str, recipe: Recipe, fields: Fields, network: str | None = None
) -> Generator[Event, None, tuple[Image, str] | None]:
    """Return the strangest cells of a sample beside their twins, and a caption; None without such a score."""
    scorer = need_redrawing(recipe.bundle.need_scorer().anomaly, network)
    column = column_of(scorer.name)
    if column not in project.cells:
        return None
    own = project.cells[(project.cells["bag"] == bag) & project.cells[column].notna()]
    top = own.sort_values(column, ascending=False, kind="stable").index[:TWINS]
    shown: dict[int, tuple[list[Image], list[str]]] = {}
    for image, part in own.loc[top].groupby("image", sort=False):
        field = yield from fields.read(str(image))
        if field is None:
            continue
        found = yield from redraw_cells(field, _with_others(project, part), recipe, scorer.name)
        for number, (row, cell) in enumerate(part.iterrows()):
            shown[row] = _row_of_pictures(found, number, f"cell {cell['cell_id']}")
    ordered = [shown[row] for row in top if row in shown]
    if not ordered:
        return None
    columns = len(ordered[0][0])
    crops = [picture for pictures, _ in ordered for picture in pictures]
    captions = [name for _, names in ordered for name in names]
    words = (
        f"The cells with the highest '{column}', the network's picture of them as control cells, and where "
        f"they differ (yellow: by {HOTTEST:.0%} of the brightness or more)."
    )
    return contact_sheet(crops, captions, columns, ""), words


def _with_others(project: Project, part: pd.DataFrame) -> Cells:
    """Return some cells of one image, the outlines of its others beside them."""
    there = np.flatnonzero((project.cells["image"] == part["image"].iloc[0]).to_numpy())
    chosen = project.cells.index.get_indexer(part.index)
    outlines = tuple(project.outlines[row] for row in chosen)
    others = tuple(project.outlines[row] for row in there if row not in set(chosen.tolist()))
    return Cells(part[BOX_COLUMNS].to_numpy(np.float32), outlines, others=others)


def _row_of_pictures(found: RedrawnCells, number: int, name: str) -> tuple[list[Image], list[str]]:
    """Return the pictures of one cell, and their captions."""
    cell, drawn = found.cell[number], found.drawn
    pictures = [cell, drawn.twin[number], heat_picture(cell, drawn.heat[number])]
    names = [name, "as a control cell", "difference"]
    if drawn.memory is not None:
        pictures.append(drawn.memory[number])
        names.append("nearest memory")
    return pictures, names


def twin_sheets(
    project: Project, bags: Sequence[str], recipe: Recipe
) -> Generator[Event, None, dict[str, tuple[Image, str]]]:
    """Return `twin_sheet` of several samples, those that have one; nothing if the model redraws no cells."""
    if not redrawing_scores(recipe.bundle.need_scorer().anomaly):
        return {}
    fields, found = Fields(project), dict[str, tuple[Image, str]]()
    for number, bag in enumerate(bags):
        yield Step("redraw", number, len(bags), bag)
        sheet = yield from twin_sheet(project, bag, recipe, fields)
        found |= {} if sheet is None else {bag: sheet}
    return found

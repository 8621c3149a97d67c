"""Run the Mask R-CNN over a field, tile by tile, and return every candidate cell."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection import MaskRCNN
from torchvision.ops import nms

from napari_amil.core.base.errors import DeviceError
from napari_amil.core.base.events import Event, Step, Warned
from napari_amil.core.base.settings import DetectionSettings
from napari_amil.core.base.types import Cells, polygon_area
from napari_amil.core.detection.network import ROI_SIZE
from napari_amil.core.detection.network_input import InputTile, NetworkInput, input_from_array
from napari_amil.core.detection.outlines import mask_outlines
from napari_amil.core.detection.select import Candidates
from napari_amil.core.detection.tiles import (
    OUT_OF_MEMORY,
    SEAM_SLACK_PX,
    Raw,
    TileRunner,
    Window,
    away_from_seams,
    batch_of,
    corner,
    padded_size,
    tile_rows,
    tiles,
)
from napari_amil.core.images.foreground import REFERENCE_DIAMETER_PX
from napari_amil.core.images.foreign import foreign_share

_TILE_PX = DetectionSettings().tile_px
_BORDER_PX = 2.0  # a box this close to the border of the image is cut by it, at the coarser of both scales


@dataclass(frozen=True, eq=False)
class _Found:
    """Candidates of some tiles, row by row.

    Parameters
    ----------
    boxes
        ``(n, 4)`` x0, y0, x1, y1 in pixels of the field at the network's scale.
    scores, rank
        ``(n,)``; those with the higher rank stay where two are the same cell.
    outlines
        Polygons ``(n_points, 2)``, y and x in pixels of the original image.
    red
        ``(n,)``: whether the colour is that of a red cell.
    maps
        ``(n, channels, 14, 14)``; no channels if not asked for.
    """

    boxes: Tensor
    scores: Tensor
    rank: Tensor
    outlines: list[NDArray[np.float32]]
    red: NDArray[np.bool_]
    maps: Tensor

    def take(self, rows: Tensor) -> _Found:
        """Return some rows."""
        columns = (self.boxes[rows], self.scores[rows], self.rank[rows])
        outlines = [self.outlines[row] for row in rows.tolist()]
        return _Found(*columns, outlines, self.red[rows.numpy()], self.maps[rows])

    @classmethod
    def merged(cls, parts: list[_Found]) -> _Found:
        """Return all rows of several."""
        boxes, scores, rank = (
            torch.cat([getattr(p, name) for p in parts]) for name in ("boxes", "scores", "rank")
        )
        outlines = [outline for part in parts for outline in part.outlines]
        red = np.concatenate([part.red for part in parts])
        return cls(boxes, scores, rank, outlines, red, torch.cat([part.maps for part in parts]))


def find_candidates(
    model: MaskRCNN,
    normalised: NDArray[np.float32],
    settings: DetectionSettings,
    device: torch.device,
    with_maps: bool = False,
) -> Generator[Event, None, Candidates]:
    """Find every cell of a normalised field ``(height, width, 3)``; as `find_in_input`."""
    view = input_from_array(normalised, settings.cell_diameter_px)
    return (yield from find_in_input(model, view, settings, device, with_maps))


def find_in_input(
    model: MaskRCNN,
    view: NetworkInput,
    settings: DetectionSettings,
    device: torch.device,
    with_maps: bool = False,
) -> Generator[Event, None, Candidates]:
    """Find every cell of a field; yield a `Step` per tile.

    No more than two rows of tiles are held beside the cells found so far. ``with_maps`` keeps the RoI
    feature maps of the same pass (`Candidates.maps`).

    Raises
    ------
    DeviceError
        If not even one tile fits into memory.
    """
    runner = TileRunner(model, settings, device, with_maps)
    if settings.cells == "white":  # whose colour is foreign to red cells
        settings = settings.model_copy(update={"max_foreign": 1.0})
    rows = list(tile_rows(view.size, settings.tile_px))
    n_tiles, n_done = sum(map(len, rows)), 0
    finished: list[_Found] = []
    latest: list[_Found] = []
    full = False
    for row in rows:
        before = latest[-1:]
        latest = []
        for windows in _batches(row, runner.at_once):
            yield Step("detect", n_done, n_tiles, "Finding cells")
            found = yield from _find_in_tiles(runner, view, windows, settings)
            full |= any(len(part.boxes) > settings.max_cells for part in found)
            latest += found
            n_done += len(windows)
        finished_row, current = _without_doubles(before, latest, settings.candidate_overlap)
        finished += finished_row
        latest = [current]
    yield Step("detect", n_tiles, n_tiles, "Drawing outlines")
    every = _Found.merged([*finished, *latest])
    if full or len(every.boxes) > settings.max_cells * n_tiles:
        yield Warned(
            f"More candidates were found than the cap of {settings.max_cells} cells allows; the best are "
            "kept, raise 'max_cells' to keep them all."
        )
        every = every.take(torch.argsort(every.scores, descending=True)[: settings.max_cells * n_tiles])
    every = every.take(_in_reading_order(every.boxes.numpy(), every.red))
    candidates = Candidates.from_cells(_as_cells(every, view), view.diameter_px)
    return replace(candidates, maps=every.maps.numpy()) if with_maps else candidates


def _batches(row: list[Window], at_once: int) -> Iterator[list[Window]]:
    """Yield tiles that follow each other and have one size after padding, a few at once."""

    def size(window: Window) -> tuple[int, int]:
        return padded_size(*(axis.stop - axis.start for axis in window))

    for _, group in groupby(row, size):
        alike = list(group)
        yield from (alike[i : i + at_once] for i in range(0, len(alike), at_once))


def _find_in_tiles(
    runner: TileRunner, view: NetworkInput, windows: list[Window], settings: DetectionSettings
) -> Generator[Event, None, list[_Found]]:
    """Return the candidates that belong to each of some tiles."""
    read = [view.tile(window) for window in windows]
    raw = yield from runner.run([tile.pixels for tile in read])
    return [_of_tile(*one, view, settings) for one in zip(raw, read, windows, strict=True)]


def _of_tile(
    raw: Raw, tile: InputTile, window: Window, view: NetworkInput, settings: DetectionSettings
) -> _Found:
    """Return the candidates of a tile; those within the slack of a seam rank behind all others."""
    slack = 0 if "maps" in raw else SEAM_SLACK_PX  # `roi_maps` knows one tile for each place
    near = away_from_seams(raw["boxes"], window, view.size, slack)
    raw = {key: value[near] for key, value in raw.items()}
    own = away_from_seams(raw["boxes"], window, view.size)
    boxes = raw["boxes"] + corner(window)
    places = _on_image(boxes, view)
    outlines = mask_outlines(raw["masks"].numpy()[:, 0], places)
    inside = tuple(outline - np.array(tile.corner, np.float32) for outline in outlines)
    shares = foreign_share(tile.normalised, inside, view.colour, view.diameter_px)
    red = shares <= settings.max_foreign
    maps = raw.get("maps", torch.empty(len(boxes), 0, ROI_SIZE, ROI_SIZE))
    return _Found(boxes, raw["scores"], raw["scores"] + own.float(), outlines, red, maps)


def _without_doubles(
    before: list[_Found], latest: list[_Found], overlap: float
) -> tuple[list[_Found], _Found]:
    """Return an earlier row of tiles and the latest one, each cell once."""
    n_before = sum(len(part.boxes) for part in before)
    both = _Found.merged([*before, *latest])
    keep = nms(both.boxes, both.rank, overlap)
    earlier, later = keep[keep < n_before], keep[keep >= n_before]
    return [both.take(earlier)] if before else [], both.take(later)


def _on_image(boxes: Tensor, view: NetworkInput) -> NDArray[np.float32]:
    """Return boxes x0, y0, x1, y1 at the network's scale as y0, x0, y1, x1 of the original image."""
    limits = np.array([*view.shape, *view.shape], dtype=np.float32)
    return np.clip(boxes.numpy()[:, [1, 0, 3, 2]] / np.float32(view.scale), 0, limits)


def _in_reading_order(boxes: NDArray[np.float32], keep: NDArray[np.bool_]) -> Tensor:
    """Return the wanted rows of boxes x0, y0, x1, y1 of at least 3 x 3 pixels, as one reads a page."""
    x0, y0, x1, y1 = boxes.T
    real = np.flatnonzero(keep & (x1 - x0 >= 3) & (y1 - y0 >= 3))
    lines = (y0 + y1)[real] // REFERENCE_DIAMETER_PX
    return torch.from_numpy(real[np.lexsort((x0[real], lines))])


def _as_cells(found: _Found, view: NetworkInput) -> Cells:
    """Return candidates as cells in pixels of the original image."""
    boxes = _on_image(found.boxes, view)
    border = _BORDER_PX / min(view.scale, 1.0)
    limits = np.array(view.shape) - border
    touches = np.any(boxes[:, :2] < border, axis=1) | np.any(boxes[:, 2:] > limits, axis=1)
    if view.seen is not None:
        touches |= view.seen.cuts(tuple(found.outlines), border)
    areas = np.array([polygon_area(outline) for outline in found.outlines], dtype=np.float32)
    return Cells(boxes, tuple(found.outlines), found.scores.numpy(), areas, touches)


def roi_maps(
    model: MaskRCNN,
    view: NetworkInput,
    boxes: NDArray[np.float32],
    device: torch.device,
    tile_px: int = _TILE_PX,
) -> NDArray[np.float16]:
    """Return the detector's feature maps ``(n_cells, channels, 14, 14)`` of boxes y0, x0, y1, x1.

    These are the maps that the mask head sees (Kazeminia et al. 2022, section 2: RoI features). A field
    is cut into the tiles of `find_candidates`, since the normalisation layers see a whole tile; with the
    same ``tile_px`` the maps are those of the detecting pass.
    """
    maps = np.zeros((len(boxes), model.backbone.out_channels, ROI_SIZE, ROI_SIZE), dtype=np.float16)
    for rows, found in maps_by_tile(model, view, boxes, device, tile_px):
        maps[rows] = found
    return maps


def maps_by_tile(
    model: MaskRCNN, view: NetworkInput, boxes: NDArray[np.float32], device: torch.device, tile_px: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
    """Yield for each tile with boxes which these are, and their feature maps (`roi_maps`)."""
    scaled = torch.from_numpy(boxes[:, [1, 0, 3, 2]] * np.float32(view.scale))
    for tile in tiles(view.size, tile_px):
        inside = away_from_seams(scaled - corner(tile), tile, view.size)
        if not inside.any():
            continue
        batch, sizes = batch_of([view.tile(tile).pixels], device)
        regions = (scaled[inside] - corner(tile)).to(device)
        try:
            with torch.inference_mode():
                found = model.roi_heads.mask_roi_pool(model.backbone(batch), [regions], sizes)
        except torch.OutOfMemoryError as error:
            raise DeviceError(OUT_OF_MEMORY) from error
        yield np.flatnonzero(inside.numpy()), found.to(torch.float16).cpu().numpy()

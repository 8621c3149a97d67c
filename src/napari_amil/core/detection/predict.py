"""The expensive step: run the Mask R-CNN over a field, tile by tile, and keep every raw candidate."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.transform import rescale
from torch import Tensor
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import nms

from napari_amil.core.detection.foreign import foreign_share
from napari_amil.core.detection.network import ROI_SIZE
from napari_amil.core.detection.outlines import mask_outline, polygon_area
from napari_amil.core.detection.select import Candidates
from napari_amil.core.errors import DeviceError
from napari_amil.core.events import Event, Step, Warned
from napari_amil.core.images.foreground import REFERENCE_DIAMETER_PX, network_scale, typical_diameter
from napari_amil.core.settings import DetectionSettings
from napari_amil.core.types import Cells

_TILE_OVERLAP_PX = 80  # two typical cells: a cell at a seam lies whole in one of two tiles
_TILE_PX = DetectionSettings().tile_px
_STRIDE_PX = 32  # tiles are padded with background to a multiple of this
_OUT_OF_MEMORY = "The device ran out of memory; lower 'tile_px' or choose --device cpu."
_BORDER_PX = 2.0  # a box this close to the border of the image is cut by it


@dataclass(frozen=True, eq=False)
class FieldView:
    """A normalised field as the networks see it.

    Parameters
    ----------
    pixels
        ``(3, height, width)`` float tensor at the network's scale, background 1.
    scale
        Pixels of the network per pixel of the original image.
    diameter_px
        Typical diameter of a cell in pixels of the original image.
    """

    pixels: Tensor
    scale: float
    diameter_px: float


def view_field(normalised: NDArray[np.float32], diameter_px: float | None) -> FieldView:
    """Return the field at the scale on which the networks were trained.

    A diameter that is given counts as it is; one that is estimated is trusted only to tell
    magnifications apart (`network_scale`).
    """
    diameter = diameter_px or typical_diameter(normalised)
    if not np.isfinite(diameter):
        diameter = REFERENCE_DIAMETER_PX
    scale = REFERENCE_DIAMETER_PX / diameter_px if diameter_px else network_scale(diameter)
    if scale != 1.0:
        normalised = rescale(normalised, scale, channel_axis=2, anti_aliasing=scale < 1).astype(np.float32)
    pixels = torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))
    return FieldView(pixels, scale, float(diameter))


def find_candidates(
    model: MaskRCNN,
    normalised: NDArray[np.float32],
    settings: DetectionSettings,
    device: torch.device,
    with_maps: bool = False,
) -> Generator[Event, None, Candidates]:
    """Find every cell of a normalised field ``(height, width, 3)``; yield a `Step` per tile.

    ``with_maps`` keeps the RoI feature maps of the same pass (`Candidates.maps`).

    Raises
    ------
    DeviceError
        If the device runs out of memory.
    """
    view = view_field(normalised, settings.cell_diameter_px)
    tiles = list(_tiles(view.pixels.shape[1:], settings.tile_px))
    found: list[dict[str, Tensor]] = []
    for number, tile in enumerate(tiles):
        yield Step("detect", number, len(tiles), "Finding cells")
        found.append(_detect_tile(model, view.pixels, tile, settings, device, with_maps))
    yield Step("detect", len(tiles), len(tiles), "Drawing outlines")
    raw = {key: torch.cat([part[key] for part in found]).numpy() for key in found[0]}
    keep = nms(torch.from_numpy(raw["boxes"]), torch.from_numpy(raw["scores"]), settings.candidate_overlap)
    if len(keep) > settings.max_cells:
        yield Warned(
            f"More candidates were found than the cap of {settings.max_cells} cells allows; the best are "
            "kept, raise 'max_cells' to keep them all."
        )
    rows = keep[: settings.max_cells].numpy()
    rows = _in_reading_order(raw["boxes"], rows)
    cells = _as_cells(raw, rows, view.scale, normalised.shape[:2])
    red = foreign_share(normalised, cells.outlines) <= settings.max_foreign
    candidates = Candidates.of(cells.take(red), view.diameter_px)
    return replace(candidates, maps=raw["maps"][rows[red]]) if with_maps else candidates


def _tiles(shape: tuple[int, ...], side: int) -> Iterator[tuple[slice, slice]]:
    """Yield windows that cover ``(height, width)`` and overlap by two typical cells."""
    step = side - _TILE_OVERLAP_PX
    starts = [range(0, max(length - _TILE_OVERLAP_PX, 1), step) for length in shape]
    for y in starts[0]:
        for x in starts[1]:
            yield slice(y, min(y + side, shape[0])), slice(x, min(x + side, shape[1]))


def _detect_tile(
    model: MaskRCNN,
    pixels: Tensor,
    tile: tuple[slice, slice],
    settings: DetectionSettings,
    device: torch.device,
    with_maps: bool,
) -> dict[str, Tensor]:
    """Return boxes (x0, y0, x1, y1 at the network's scale), scores, soft masks and RoI maps of one tile."""
    batch, (height, width) = _batch(pixels, tile, device)
    heads = model.roi_heads
    heads.score_thresh, heads.nms_thresh = settings.candidate_score, settings.candidate_overlap
    heads.detections_per_img = settings.max_cells + 1  # one more, so that reaching the cap shows
    try:
        with torch.inference_mode():
            features = model.backbone(batch)
            proposals, _ = model.rpn(ImageList(batch, [(height, width)]), features)
            detections, _ = heads(features, proposals, [(height, width)])
            if with_maps:
                maps = heads.mask_roi_pool(features, [detections[0]["boxes"]], [(height, width)])
                detections[0]["maps"] = maps.to(torch.float16)
    except torch.OutOfMemoryError as error:
        raise DeviceError(_OUT_OF_MEMORY) from error
    found = {key: value.cpu() for key, value in detections[0].items() if key != "labels"}
    inside = _away_from_seams(found["boxes"], tile, pixels.shape[1:])
    found = {key: value[inside] for key, value in found.items()}
    found["boxes"] = found["boxes"] + _corner(tile)
    return found


def _batch(pixels: Tensor, tile: tuple[slice, slice], device: torch.device) -> tuple[Tensor, tuple[int, int]]:
    """Return a tile ``(1, 3, height, width)``, padded with background, and its size without the padding."""
    window = pixels[:, tile[0], tile[1]]
    height, width = window.shape[1:]
    padding = (0, -width % _STRIDE_PX, 0, -height % _STRIDE_PX)
    batch = torch.nn.functional.pad(window, padding, value=1.0)[None]
    return batch.to(device, memory_format=torch.channels_last), (height, width)


def _away_from_seams(boxes: Tensor, tile: tuple[slice, slice], shape: tuple[int, ...]) -> Tensor:
    """Return which boxes have their centre in the part of the tile that no neighbour knows better."""
    margin = _TILE_OVERLAP_PX / 2
    inside = torch.ones(len(boxes), dtype=torch.bool)
    for axis, window in ((1, tile[0]), (0, tile[1])):
        centre = (boxes[:, axis] + boxes[:, axis + 2]) / 2 + window.start
        length = shape[1 - axis]
        if window.start > 0:
            inside &= centre >= window.start + margin
        if window.stop < length:
            inside &= centre < window.stop - margin
    return inside


def _in_reading_order(boxes: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows of boxes x0, y0, x1, y1 of at least 3 x 3 pixels, top to bottom, left to right."""
    x0, y0, x1, y1 = boxes[rows].T
    real = (x1 - x0 >= 3) & (y1 - y0 >= 3)
    lines = (y0 + y1)[real] // REFERENCE_DIAMETER_PX
    return rows[real][np.lexsort((x0[real], lines))]


def _as_cells(
    raw: dict[str, NDArray[np.float32]], rows: NDArray[np.int64], scale: float, shape: tuple[int, ...]
) -> Cells:
    """Return candidates as cells in pixels of the original image."""
    boxes = raw["boxes"][rows][:, [1, 0, 3, 2]] / np.float32(scale)
    boxes = np.clip(boxes, 0, np.array([*shape, *shape], dtype=np.float32))
    outlines = tuple(mask_outline(raw["masks"][row, 0], box) for row, box in zip(rows, boxes, strict=True))
    limits = np.array([*shape, *shape]) - _BORDER_PX
    touches = (boxes[:, :2] < _BORDER_PX).any(axis=1) | (boxes[:, 2:] > limits[2:]).any(axis=1)
    areas = np.array([polygon_area(outline) for outline in outlines], dtype=np.float32)
    return Cells(boxes, outlines, raw["scores"][rows], areas, touches)


def roi_maps(
    model: MaskRCNN,
    view: FieldView,
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
    scaled = torch.from_numpy(boxes[:, [1, 0, 3, 2]] * np.float32(view.scale))
    for tile in _tiles(view.pixels.shape[1:], tile_px):
        inside = _away_from_seams(scaled - _corner(tile), tile, view.pixels.shape[1:])
        if not inside.any():
            continue
        batch, size = _batch(view.pixels, tile, device)
        regions = (scaled[inside] - _corner(tile)).to(device)
        try:
            with torch.inference_mode():
                found = model.roi_heads.mask_roi_pool(model.backbone(batch), [regions], [size])
        except torch.OutOfMemoryError as error:
            raise DeviceError(_OUT_OF_MEMORY) from error
        maps[inside.numpy()] = found.to(torch.float16).cpu().numpy()
    return maps


def _corner(tile: tuple[slice, slice]) -> Tensor:
    """Return what carries boxes x0, y0, x1, y1 of a tile into the field."""
    return torch.tensor([tile[1].start, tile[0].start] * 2)

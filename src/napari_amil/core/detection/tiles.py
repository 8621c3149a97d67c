"""Tiles of a field, and the network on batches of tiles that fit into memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.image_list import ImageList

from napari_amil.core.base.errors import DeviceError
from napari_amil.core.base.events import Event, Warned
from napari_amil.core.base.settings import DetectionSettings
from napari_amil.core.detection.network import RED, WHITE

TILE_OVERLAP_PX = 80
"""Two typical cells at the network's scale: a cell at a seam lies whole in one of two tiles."""
SEAM_SLACK_PX = 6
"""Margin at the seam of two tiles, in which both keep the cells on whose centre they may disagree."""
_STRIDE_PX = 32  # tiles are padded with background to a multiple of this

Window = tuple[slice, slice]
"""Rows and columns of a tile, in pixels at the network's scale."""


def tile_rows(shape: tuple[int, ...], side: int) -> Iterator[list[Window]]:
    """Yield, row by row, windows that cover ``(height, width)`` and overlap by two typical cells."""
    step = side - TILE_OVERLAP_PX
    ys, xs = (range(0, max(length - TILE_OVERLAP_PX, 1), step) for length in shape)
    for y in ys:
        yield [(slice(y, min(y + side, shape[0])), slice(x, min(x + side, shape[1]))) for x in xs]


def tiles(shape: tuple[int, ...], side: int) -> list[Window]:
    """Return all windows of `tile_rows`."""
    return [window for row in tile_rows(shape, side) for window in row]


def away_from_seams(boxes: Tensor, tile: Window, shape: tuple[int, ...], slack: float = 0.0) -> Tensor:
    """Return a mask of boxes x0, y0, x1, y1 of a tile whose centre lies half an overlap from its seams.

    ``slack`` widens that part by as many pixels on every side that is a seam.
    """
    margin = TILE_OVERLAP_PX / 2
    inside = torch.ones(len(boxes), dtype=torch.bool)
    for axis, window in ((1, tile[0]), (0, tile[1])):
        centre = (boxes[:, axis] + boxes[:, axis + 2]) / 2 + window.start
        if window.start > 0:
            inside &= centre >= window.start + margin - slack
        if window.stop < shape[1 - axis]:
            inside &= centre < window.stop - margin + slack
    return inside


def corner(tile: Window) -> Tensor:
    """Return the offset of boxes x0, y0, x1, y1 of a tile in the field."""
    return torch.tensor([tile[1].start, tile[0].start] * 2)


def padded_size(height: int, width: int) -> tuple[int, int]:
    """Return the size of a tile after padding."""
    return height + -height % _STRIDE_PX, width + -width % _STRIDE_PX


def batch_of(pixels: list[Tensor], device: torch.device) -> tuple[Tensor, list[tuple[int, int]]]:
    """Return tiles ``(n, 3, height, width)`` of one padded size, and their sizes without the padding."""
    sizes = [(int(tile.shape[1]), int(tile.shape[2])) for tile in pixels]
    padded = []
    for tile, size in zip(pixels, sizes, strict=True):
        height, width = padded_size(*size)
        padding = (0, width - size[1], 0, height - size[0])
        padded.append(torch.nn.functional.pad(tile, padding, value=1.0))
    return torch.stack(padded).to(device, memory_format=torch.channels_last), sizes


OUT_OF_MEMORY = "The device ran out of memory; lower 'tile_px' or choose --device cpu."
_CPU = torch.device("cpu")

Raw = dict[str, Tensor]
"""``boxes`` x0, y0, x1, y1 in pixels of the tile, ``scores``, soft ``masks`` and, if wanted, ``maps``."""


class TileRunner:
    """Runs a detector on tiles and remembers how many fit into the memory of the device.

    Parameters
    ----------
    model
        The detector; it is moved to the device, and back if it had to leave it.
    settings
        Thresholds of candidates, and number of tiles that a graphics card takes at once.
    device
        Device of the network; the CPU takes one tile at a time.
    with_maps
        Whether to return the RoI feature maps of the boxes too.
    """

    def __init__(
        self, model: MaskRCNN, settings: DetectionSettings, device: torch.device, with_maps: bool = False
    ) -> None:
        self.model, self.device, self.with_maps = model, device, with_maps
        self.kind = WHITE if settings.cells == "white" else RED
        self.at_once = 1 if device == _CPU else settings.tiles_at_once
        heads = model.roi_heads
        heads.score_thresh, heads.nms_thresh = settings.candidate_score, settings.candidate_overlap
        heads.detections_per_img = settings.max_cells + 1  # one more, so that reaching the cap shows
        if next(model.parameters()).device.type != device.type:  # an earlier field had to leave it
            model.to(device)

    def run(self, pixels: list[Tensor]) -> Generator[Event, None, list[Raw]]:
        """Return the detections in each tile ``(3, height, width)``; tiles have one padded size.

        Raises
        ------
        DeviceError
            If not even one tile fits into the memory of the CPU.
        """
        found: list[Raw] = []
        while len(found) < len(pixels):
            part = pixels[len(found) : len(found) + self.at_once]
            try:
                found += self._detect(part)
                continue
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if "out of memory" not in str(error).lower():
                    raise
                if self.device == _CPU:
                    raise DeviceError(OUT_OF_MEMORY) from error
            yield self._retreat()
        return found

    def _detect(self, pixels: list[Tensor]) -> list[Raw]:
        batch, sizes = batch_of(pixels, self.device)
        heads = self.model.roi_heads
        with torch.inference_mode():
            features = self.model.backbone(batch)
            proposals, _ = self.model.rpn(ImageList(batch, sizes), features)
            detections, _ = heads(features, proposals, sizes)
            if self.with_maps:
                boxes = [one["boxes"] for one in detections]
                maps = heads.mask_roi_pool(features, boxes, sizes).to(torch.float16)
                for one, own in zip(detections, maps.split([len(b) for b in boxes]), strict=True):
                    one["maps"] = own
        wanted = [one.pop("labels") == self.kind for one in detections]
        return [
            {key: value[rows].cpu() for key, value in one.items()}
            for one, rows in zip(detections, wanted, strict=True)
        ]

    def _retreat(self) -> Warned:
        """Take half as many tiles at once, or go to the CPU, and say so."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if self.at_once > 1:
            self.at_once //= 2
            tiles = "tile" if self.at_once == 1 else "tiles"
            return Warned(
                f"The device '{self.device}' ran out of memory; going on with {self.at_once} {tiles} at "
                "once, lower 'tiles_at_once' to begin so."
            )
        failed, self.device = self.device, _CPU
        self.model.to(_CPU)
        return Warned(
            f"The device '{failed}' ran out of memory with a single tile; going on on the CPU, which is "
            "slower, lower 'tile_px' to stay on the device."
        )

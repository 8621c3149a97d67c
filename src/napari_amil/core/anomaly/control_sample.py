"""A sample of control cells, kept in the bundle, and the nearest of them to a cell."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor

from napari_amil.core.base.types import Image

MOST_CONTROLS = 500
"""Control cells that are kept; as many of each patient as can be."""
_QUALITY = 85  # of the JPEG that holds the thumbnails
_COLUMNS = 25


@dataclass(frozen=True, eq=False)
class ControlSample:
    """Some control cells of the training: their boxes, pictures and embeddings.

    Parameters
    ----------
    z
        ``(n_controls, k)`` float32 embeddings.
    boxes
        ``(n_controls, 4)`` float32, ``y0, x0, y1, x1`` in pixels of their images.
    images
        Name of the image of each.
    sheet
        ``(n_bytes,)`` uint8: a JPEG of all thumbnails, 25 in a row; empty where the encoder sees no pixels.
    """

    z: Tensor
    boxes: Tensor
    images: tuple[str, ...]
    sheet: Tensor

    def __len__(self) -> int:
        return len(self.z)

    @classmethod
    def from_cells(
        cls, z: Tensor, boxes: NDArray[np.floating], images: Sequence[str], crops: NDArray[np.uint8] | None
    ) -> Self:
        """Return the sample of these cells; ``crops`` are ``(n_controls, 3, size, size)``."""
        sheet = b"" if crops is None else _as_jpeg(crops)
        stored = torch.frombuffer(bytearray(sheet), dtype=torch.uint8) if sheet else torch.empty(0).byte()
        return cls(z.float().cpu(), torch.as_tensor(np.asarray(boxes, np.float32)), tuple(images), stored)

    def nearest(self, z: Tensor, count: int = 5) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the nearest control cells of each of some cells, the nearest first.

        Parameters
        ----------
        z
            ``(n_cells, k)`` embeddings.
        count
            Number of cells; at most as many as the sample holds.

        Returns
        -------
        rows
            ``(n_cells, count)`` rows of the sample.
        distance
            ``(n_cells, count)`` Euclidean distance in the embedding.
        """
        found = torch.cdist(z.cpu().double(), self.z.double()).topk(min(count, len(self)), largest=False)
        return found.indices.numpy(), found.values.numpy()

    def thumbnails(self, rows: NDArray[np.int64] | Sequence[int]) -> list[Image]:
        """Return the pictures ``(size, size, 3)`` of some of the cells; none if none are stored."""
        if not len(self.sheet):
            return []
        sheet = np.asarray(PillowImage.open(io.BytesIO(self.sheet.numpy().tobytes())).convert("RGB"))
        side = sheet.shape[1] // min(_COLUMNS, len(self))
        corners = [(side * (int(row) // _COLUMNS), side * (int(row) % _COLUMNS)) for row in rows]
        return [sheet[y : y + side, x : x + side] for y, x in corners]

    def state_dict(self) -> dict[str, Tensor]:
        """Return tensors from which `from_state` makes the same sample."""
        names = torch.frombuffer(bytearray("\n".join(self.images).encode()), dtype=torch.uint8)
        return {"z": self.z, "boxes": self.boxes, "sheet": self.sheet, "images": names}

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> Self:
        """Return the sample that `state_dict` wrote."""
        images = state["images"].numpy().tobytes().decode().split("\n")
        return cls(state["z"], state["boxes"], tuple(images), state["sheet"])


def balanced_rows(patients: Sequence[Any], most: int = MOST_CONTROLS, seed: int = 0) -> NDArray[np.int64]:
    """Return at most ``most`` rows ``(n,)``, sorted: of each patient as many as can be.

    Parameters
    ----------
    patients
        ``(n_cells,)`` patient of each cell.
    """
    order = np.random.default_rng(seed).permutation(len(patients))
    _, codes = np.unique(np.asarray(patients)[order], return_inverse=True)
    turn = np.empty(len(order), dtype=np.int64)  # index of the cell within its patient
    for code in np.unique(codes):
        turn[codes == code] = np.arange((codes == code).sum())
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


def _as_jpeg(crops: NDArray[np.uint8]) -> bytes:
    """Return one JPEG with crops ``(n, 3, size, size)`` side by side."""
    n, _, side, _ = crops.shape
    columns = min(_COLUMNS, n)
    sheet = np.full((-(-n // columns) * columns, side, side, 3), 255, dtype=np.uint8)
    sheet[:n] = np.moveaxis(crops, 1, 3)
    tiled = sheet.reshape(-1, columns, side, side, 3).swapaxes(1, 2).reshape(-1, columns * side, 3)
    written = io.BytesIO()
    PillowImage.fromarray(tiled).save(written, "JPEG", quality=_QUALITY)
    return written.getvalue()

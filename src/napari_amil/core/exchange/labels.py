"""Label images: every pixel says to which cell it belongs, as napari, Cellpose or StarDist write them."""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import polygon
from skimage.measure import find_contours

from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.files import decoding
from napari_amil.core.base.types import Cells, polygon_area
from napari_amil.core.images.tiff import open_tiff

SUFFIXES = (".png", ".tif", ".tiff")
ENDINGS = ("_labels", "_label", "_masks", "_mask", "_cp_masks")
"""Suffixes that the name of a label image adds to that of its image."""
FOLDERS = ("labels", "masks")
"""Folders in which a label image may have the very name of its image."""

_LARGEST_LABEL = 2**62
_MAX_RATIO, _MAX_BYTES = 2_000, 1 << 30


def is_label_image(name: str) -> bool:
    """Return whether a file or its page (``a_labels.tif#2``) is named or placed as label images are."""
    path = PurePath(re.sub(r"#\d+$", "", name))
    named = path.stem.lower().endswith(ENDINGS)
    placed = any(part.lower() in FOLDERS for part in path.parts[:-1])
    return path.suffix.lower() in SUFFIXES and (named or placed)


def read_label_image(path: Path, page: int = 0) -> NDArray[np.int64]:
    """Return the labels ``(height, width)`` of a PNG or TIFF of 8, 16 or 32 bits; 0 is background.

    Raises
    ------
    AmilError
        If the file holds no whole numbers in one plane, or only one number.
    """
    values = _read(path, page)
    if values.ndim != 2:
        raise AmilError(
            f"The label image '{path}' is a colour picture; save the numbers of the cells themselves, "
            "as a Labels layer does."
        )
    if values.dtype.kind == "f" and not (np.isfinite(values) & (values == np.round(values))).all():
        raise AmilError(f"The label image '{path}' holds fractions; number the cells 1, 2, 3 and so on.")
    if values.dtype.kind not in "fiub" or np.abs(values).max(initial=0) > _LARGEST_LABEL:
        raise AmilError(f"The label image '{path}' holds no numbers of cells; number the cells from 1.")
    labels = values.astype(np.int64)
    if labels.min(initial=0) < 0:
        raise AmilError(f"The label image '{path}' holds negative numbers; number the cells from 1.")
    numbers = np.unique(labels[labels > 0])
    if len(numbers) == 1 and ndimage.label(labels > 0)[1] > 1:
        raise AmilError(
            f"The label image '{path}' marks all cells with the number {numbers[0]}; "
            "give each cell its own, for example with skimage.measure.label."
        )
    return labels


def _read(path: Path, page: int) -> NDArray[Any]:
    """Return the numbers of a file as they are stored."""
    with decoding(path, "cannot be read as a label image", "save it again"):
        if path.suffix.lower() in {".tif", ".tiff"}:
            with open_tiff(path) as file:
                _check_claim(file.series[0].nbytes, path)
                stack = np.asarray(file.asarray())
            if not stack.size:
                raise ValueError("it holds no picture")
            while stack.ndim > 2 and 1 in (stack.shape[0], stack.shape[-1]):  # as deep-learning programs save
                stack = stack[0] if stack.shape[0] == 1 else stack[..., 0]
            if stack.ndim == 3 and stack.shape[2] not in {3, 4}:
                return np.asarray(stack[min(page, len(stack) - 1)])
            return stack
        with PIL.Image.open(path, formats=("PNG",)) as picture:
            _check_claim(picture.width * picture.height, path)
            return np.asarray(picture)  # a palette stays numbers


def _check_claim(n_bytes: int, path: Path) -> None:
    """Refuse a file that claims more numbers than it can hold, or than fit into memory."""
    if n_bytes > _MAX_RATIO * path.stat().st_size or n_bytes > _MAX_BYTES:
        raise ValueError(f"it claims {n_bytes:,} bytes of labels in a file of {path.stat().st_size:,}")


def cells_of_labels(labels: NDArray[np.integer[Any]]) -> Cells:
    """Return the cells of a label image ``(height, width)``; their ids are the labels.

    The outline runs along the edges of the pixels, corners cut by half a pixel. Of a label in several
    pieces the largest counts; a label of under three pixels is no cell.
    """
    numbers, dense = np.unique(labels, return_inverse=True)
    dense = dense.reshape(labels.shape) + (1 if len(numbers) and numbers[0] != 0 else 0)
    numbers = numbers[numbers != 0]
    boxes, outlines, ids = [], [], []
    for number, window in enumerate(ndimage.find_objects(dense), start=1):
        found = outline_of_mask(dense[window] == number)
        if found is None:
            continue
        corner = np.array([side.start for side in window], dtype=np.float64)
        outlines.append((found + corner).astype(np.float32))
        boxes.append([*outlines[-1].min(axis=0), *outlines[-1].max(axis=0)])
        ids.append(int(numbers[number - 1]))
    areas = np.array([polygon_area(outline) for outline in outlines], dtype=np.float32)
    return Cells(
        np.array(boxes, np.float32).reshape(-1, 4), tuple(outlines), area_px=areas, cell_id=np.array(ids)
    )


def labels_of_cells(cells: Cells, shape: tuple[int, int]) -> NDArray[np.uint32]:
    """Return the label image ``(height, width)`` of cells; the labels are their ids, 0 is background.

    Where cells overlap, a pixel belongs to the smallest of them. `cells_of_labels` is the way back.

    Raises
    ------
    AmilError
        If an id does not fit into 32 bits or is 0.
    """
    if len(cells) and (cells.cell_id.min() < 1 or cells.cell_id.max() > np.iinfo(np.uint32).max):
        raise AmilError("A label image numbers its cells from 1 to 4294967295; give these cells other ids.")
    labels = np.zeros(shape, np.uint32)
    for row in np.argsort(-cells.area_px, kind="stable"):
        outline = cells.outlines[row] - 0.5  # pixel centres lie on whole numbers there
        inside = polygon(outline[:, 0], outline[:, 1], shape)
        labels[inside] = cells.cell_id[row]
    return labels


def outline_of_mask(mask: NDArray[np.bool_]) -> NDArray[np.float64] | None:
    """Return the outline ``(n_points, 2)`` of the largest piece of a mask, None if it is tiny."""
    if mask.size == 0:
        return None
    pieces, n_pieces = ndimage.label(mask)
    if n_pieces > 1:
        mask = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    if mask.sum() < 3:
        return None
    contour = max(find_contours(np.pad(mask, 1).astype(np.float32), 0.5), key=len)
    return np.asarray(contour[:-1] - 0.5)

"""Augmentation of training crops: cut, rotate, scale, paste overlapping cells, vary stain and focus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from napari_amil.core.base.settings import DetectorTrainingSettings
from napari_amil.core.detection.looks import other_microscope
from napari_amil.core.detection.network import RED, WHITE

_SMALLEST_PART = 0.3  # of a cell's area must be inside a crop, else the cell is no target
_PASTED = 0  # instead of the number of a cell: a copy of a red one
_MOST_STRETCH = 0.25  # natural logarithm of the factor by which one axis grows and the other shrinks


@dataclass(frozen=True, eq=False)
class AnnotatedField:
    """A normalised field at the network's scale with its cells.

    Parameters
    ----------
    pixels
        ``(height, width, 3)`` uint8, the normalised field times 255.
    labels
        ``(height, width)`` int32, each cell its own number.
    isolated
        Numbers of cells whose outline is whole; they may be pasted elsewhere.
    above
        ``(n_planes, height, width)`` int32, further cells, whose pixels are taken in the planes below.
    boxed
        Numbers of cells of which only the box is known: their label fills it.
    white
        Numbers of white cells; the others are red ones.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]
    isolated: tuple[int, ...]
    above: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 0, 0), np.int32))
    boxed: frozenset[int] = frozenset()
    white: frozenset[int] = frozenset()

    @property
    def planes(self) -> NDArray[np.int32]:
        """All cells ``(n_planes, height, width)``."""
        return np.concatenate([self.labels[None], self.above]) if len(self.above) else self.labels[None]


def training_crop(
    fields: Sequence[AnnotatedField], settings: DetectorTrainingSettings, rng: np.random.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return one random crop ``(3, side, side)`` and its Mask R-CNN target.

    The masks of pasted cells and of the cells below them are whole, since both stay visible. Half of the
    crops are stretched, as smears of elliptocytes look.
    """
    field = fields[int(rng.integers(len(fields)))]
    side = settings.crop_px
    zoom = np.exp(rng.uniform(np.log(0.75), np.log(1.35)))
    stretch = np.exp(rng.uniform(-1, 1) * _MOST_STRETCH) if rng.random() < 0.5 else 1.0
    pixels, labels = _window(field, (round(side / zoom * stretch), round(side / zoom / stretch)), rng)
    pixels, labels = _resize(pixels, labels, side)
    found = [(plane == number, number) for plane in labels for number in np.unique(plane) if number]
    numbers = [int(number) for _, number in found]
    pixels, masks = _paste_cells(pixels, [mask for mask, _ in found], field, settings.paste_overlaps, rng)
    numbers += [_PASTED] * (len(masks) - len(numbers))
    pixels, masks = _turn(pixels, masks, rng)
    pixels, masks = other_microscope(_restain(pixels, rng), masks, rng)
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return image, _target(masks, numbers, field, side)


def _window(
    field: AnnotatedField, size: tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return a random window of the field, padded with background where it is too small."""
    pixels, labels = field.pixels, field.planes
    missing = [max(wanted - length, 0) for wanted, length in zip(size, labels.shape[1:], strict=True)]
    if any(missing):
        pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), constant_values=255)
        labels = np.pad(labels, ((0, 0), (0, missing[0]), (0, missing[1])))
    room = (length - wanted + 1 for wanted, length in zip(size, labels.shape[1:], strict=True))
    y, x = (int(rng.integers(places)) for places in room)
    window = slice(y, y + size[0]), slice(x, x + size[1])
    cut = labels[:, window[0], window[1]]
    kept = np.bincount(cut.ravel(), minlength=labels.max() + 1)
    whole = np.bincount(labels.ravel(), minlength=labels.max() + 1)
    partial = kept < _SMALLEST_PART * whole
    return pixels[window].astype(np.float32) / np.float32(255), np.where(partial[cut], 0, cut).astype(
        np.int32
    )


def _resize(
    pixels: NDArray[np.float32], labels: NDArray[np.int32], side: int
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return a window and its planes of labels as a square of another size."""
    planes = torch.from_numpy(pixels.transpose(2, 0, 1))[None]
    resized = functional.interpolate(planes, (side, side), mode="bilinear", antialias=True)
    y, x = (((np.arange(side) + 0.5) * length / side).astype(np.int64) for length in labels.shape[1:])
    return resized[0].numpy().transpose(1, 2, 0), labels[:, y[:, None], x]


def _paste_cells(
    pixels: NDArray[np.float32],
    masks: list[NDArray[np.bool_]],
    field: AnnotatedField,
    share: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], list[NDArray[np.bool_]]]:
    """Lay copies of isolated cells of the same field over the edges of cells."""
    n_pasted = rng.binomial(len(masks), share) if field.isolated else 0
    if not n_pasted:
        return pixels, masks
    pixels, found = pixels.copy(), ndimage.find_objects(field.labels)
    for below in rng.permutation(len(masks))[:n_pasted]:
        number = field.isolated[rng.integers(len(field.isolated))]
        window = found[number - 1]
        stamp = field.labels[window] == number
        source = np.where(stamp[..., None], field.pixels[window].astype(np.float32) / 255, 1.0)
        turns = int(rng.integers(4))
        stamp, source = np.rot90(stamp, turns), np.rot90(source, turns)
        ys, xs = np.nonzero(masks[below])
        radius = 0.25 * (np.sqrt(stamp.sum()) + np.sqrt(len(ys))) * 1.13
        angle, reach = rng.uniform(0, 2 * np.pi), radius * rng.uniform(0.8, 2.1)
        centre = int(ys.mean() + reach * np.sin(angle)), int(xs.mean() + reach * np.cos(angle))
        pasted = _stamp(pixels, stamp, source, centre, rng.random())
        if pasted is not None:
            masks = [*masks, pasted]
    return pixels, masks


def _stamp(
    pixels: NDArray[np.float32],
    stamp: NDArray[np.bool_],
    source: NDArray[np.float32],
    centre: tuple[int, int],
    added: float,
) -> NDArray[np.bool_] | None:
    """Lay a cell into ``pixels``; return its mask, None if it falls outside.

    Where it lies on another the larger optical density counts, and of the smaller the share ``added``:
    in a thick stain densities add, in others an overlap is hardly darker than its cells.
    """
    height, width = stamp.shape
    y, x = centre[0] - height // 2, centre[1] - width // 2
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + height, pixels.shape[0]), min(x + width, pixels.shape[1])
    inner = slice(top - y, bottom - y), slice(left - x, right - x)
    if bottom <= top or right <= left or stamp[inner].sum() < _SMALLEST_PART * stamp.sum():
        return None
    below = pixels[top:bottom, left:right]
    pixels[top:bottom, left:right] = (
        np.minimum(below, source[inner]) * np.maximum(below, source[inner]) ** added
    )
    mask = np.zeros(pixels.shape[:2], dtype=bool)
    mask[top:bottom, left:right] = stamp[inner]
    return mask


def _turn(
    pixels: NDArray[np.float32], masks: list[NDArray[np.bool_]], rng: np.random.Generator
) -> tuple[NDArray[np.float32], list[NDArray[np.bool_]]]:
    """Turn by a random quarter and mirror at random: a smear has no upright."""
    turns, mirror = int(rng.integers(4)), bool(rng.integers(2))

    def move(plane: NDArray[np.generic]) -> NDArray[np.generic]:
        turned = np.rot90(plane, turns)
        return turned[:, ::-1] if mirror else turned

    return move(pixels), [move(mask) for mask in masks]  # type: ignore[return-value,misc]


def _restain(pixels: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Change stain strength per channel, background, focus and noise as fields differ among themselves."""
    density = -np.log(np.clip(pixels, 0.02, 1.0))
    density *= np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.12, 3)).astype(np.float32)
    if rng.random() < 0.4:
        density = ndimage.gaussian_filter(density, (*(rng.uniform(0.3, 1.6),) * 2, 0))
    shade = rng.normal(0, 0.03, 3).astype(np.float32)
    noisy = np.exp(-density - shade) + rng.uniform(0, 0.03) * rng.standard_normal(pixels.shape, np.float32)
    return np.clip(noisy, 0.0, 1.0).astype(np.float32)


def _target(
    masks: list[NDArray[np.bool_]], numbers: list[int], field: AnnotatedField, side: int
) -> dict[str, Tensor]:
    """Return boxes ``(n, 4)`` x0, y0, x1, y1, labels, masks ``(n, side, side)``, and which are drawn."""
    boxes, kept, known, kinds = [], [], [], []
    for mask, number in zip(masks, numbers, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows) < 6 or len(columns) < 6:
            continue
        boxes.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
        kept.append(mask)
        known.append(number not in field.boxed)
        kinds.append(WHITE if number in field.white else RED)
    planes = np.stack(kept) if kept else np.zeros((0, side, side), dtype=bool)
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(kinds, dtype=torch.int64),
        "masks": torch.from_numpy(planes.astype(np.uint8)),
        "drawn": torch.tensor(known, dtype=torch.bool),
    }

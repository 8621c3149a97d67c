"""Write a made-up slide: a pyramidal OME-TIFF with known zones, of any size and small on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from napari_amil.core.base.files import replacing
from napari_amil.core.base.types import Image
from napari_amil.core.cohort.cell_shapes import make_shape
from napari_amil.core.cohort.smear import CELL_DENSITY

ZONES = ("glass", "thick", "ideal", "feathered", "blurred")
"""Zones of a made-up slide; a number in its map is an index here."""
BLOCK_PX = 1024
"""Side in pixels of the square that a number in the map of zones stands for."""
TILE_PX = 512
PIXEL_UM = 0.19
"""Side of a pixel in micrometres: a normal cell of 40 pixels is 7.6 micrometres wide."""
_SHRINKS = (1, 4, 16, 64)
_LIGHT = np.array([226.0, 225.0, 222.0], dtype=np.float32)
_DIAMETER_PX = 40.0
_SPRITES = 24  # different cells of a block
_EMPTY = 0.1  # share of the places of the lattice without a cell


@dataclass(frozen=True)
class _Look:
    """Look of one zone: layers of cells on a lattice, its step in diameters, and the jitter in steps."""

    layers: int = 1
    spacing: float = 1.45
    stain: float = 1.0
    stretch: float = 1.0
    cell_type: str = "normal"
    blur_px: float = 0.8
    jitter: float = 0.13


_LOOKS = {
    "glass": _Look(layers=0),
    "thick": _Look(layers=3, spacing=1.0, jitter=0.5),
    "ideal": _Look(),
    # flat and pale, without central pallor, and spread out
    "feathered": _Look(spacing=2.0, stain=0.5, stretch=1.5, cell_type="spherocyte"),
    "blurred": _Look(blur_px=3.5),
}


@dataclass(frozen=True)
class SyntheticSlide:
    """A made-up slide.

    Parameters
    ----------
    zones
        ``(rows, columns)`` index in `ZONES` of each block of `BLOCK_PX` pixels.
    variants
        Different blocks of each zone, which repeat.
    seed
        Seed of everything random.
    """

    zones: NDArray[np.uint8]
    variants: int = 2
    seed: int = 0
    _blocks: dict[tuple[int, int, int], Image] = field(default_factory=dict)

    @classmethod
    def smear_of(cls, side_px: int, variants: int = 2, seed: int = 0) -> SyntheticSlide:
        """Return a smear from its thick head on the left to its feathered edge, glass around it."""
        n = -(-side_px // BLOCK_PX)
        y, x = (np.mgrid[:n, :n] + 0.5) / n
        bend = x + 0.35 * (y - 0.5) ** 2
        zones = np.digitize(bend, [0.06, 0.52, 0.72, 0.9])
        zones = np.array([0, 1, 2, 3, 0])[zones]
        zones[(y < 0.08) | (y > 0.92)] = 0
        zones[(zones == 2) & (y > 0.7)] = 4
        return cls(zones.astype(np.uint8), variants, seed)

    def zone_at(self, y: float, x: float) -> str:
        """Return the zone at a place in pixels."""
        return ZONES[self.zones[int(y // BLOCK_PX), int(x // BLOCK_PX)]]

    def write(self, path: Path, side_px: int) -> None:
        """Write the slide with four levels as JPEG; tiles that repeat are stored once."""
        with replacing(path) as partial:
            levels = [-(-side_px // shrink) for shrink in _SHRINKS]
            stores = [_Tiles(self, shrink, side) for shrink, side in zip(_SHRINKS, levels, strict=True)]
            with tifffile.TiffWriter(partial, bigtiff=True, ome=True) as tif:
                for store in stores:
                    first = store is stores[0]
                    tif.write(
                        store.encoded(),
                        shape=(store.side, store.side, 3),
                        dtype=np.uint8,
                        tile=(TILE_PX, TILE_PX),
                        photometric="ycbcr",
                        compression="jpeg",
                        subifds=len(stores) - 1 if first else None,
                        subfiletype=0 if first else 1,
                        metadata={"axes": "YXS", "PhysicalSizeX": PIXEL_UM, "PhysicalSizeXUnit": "µm"}
                        if first
                        else None,
                    )
            with tifffile.TiffFile(partial, mode="r+") as tif:
                for store, level in zip(stores, tif.series[0].levels, strict=True):
                    store.repeat(level.keyframe)

    def block(self, row: int, column: int, shrink: int) -> tuple[tuple[int, int, int], Image]:
        """Return the key and the pixels of one block at a scale, ``(1024 / shrink,) * 2 + (3,)``."""
        zone = int(self.zones[row, column])
        key = zone, (row * 7 + column * 3) % self.variants, shrink
        if key not in self._blocks:
            self._blocks[key] = self._drawn(*key)
        return key, self._blocks[key]

    def _drawn(self, zone: int, variant: int, shrink: int) -> Image:
        if shrink > 1:
            whole = PIL.Image.fromarray(self.block_of(zone, variant))
            return np.asarray(whole.reduce(shrink))
        return _photograph(_LOOKS[ZONES[zone]], (self.seed, zone), variant)

    def block_of(self, zone: int, variant: int) -> Image:
        """Return the pixels of one block in full resolution."""
        key = zone, variant, 1
        if key not in self._blocks:
            self._blocks[key] = self._drawn(*key)
        return self._blocks[key]


def _photograph(look: _Look, seed: tuple[int, int], variant: int) -> Image:
    """Return a block; the left side of each variant fits the right one of any, and the top the bottom."""
    of_zone, own = np.random.default_rng(seed), np.random.default_rng([*seed, variant + 1])
    thickness = np.zeros((BLOCK_PX, BLOCK_PX), np.float32)
    sprites = [_sprite(look, of_zone) for _ in range(_SPRITES)]
    n = round(BLOCK_PX / (look.spacing * _DIAMETER_PX))
    at_rim = np.ones((n, n), dtype=bool)
    at_rim[2:-2, 2:-2] = False
    for _ in range(look.layers):
        shared, inner = _places(look, n, of_zone), _places(look, n, own)
        for y, x, kind in np.concatenate([shared[at_rim], inner[~at_rim]]):
            if kind < 0:
                continue
            sprite = sprites[int(kind)]
            rows, columns = (
                (np.arange(len(sprite)) + int(start * BLOCK_PX / n)) % BLOCK_PX for start in (y, x)
            )
            thickness[np.ix_(rows, columns)] += sprite
    transmitted = np.exp(-thickness[..., None] * look.stain * CELL_DENSITY.astype(np.float32))
    seen = ndimage.gaussian_filter(transmitted, (look.blur_px, look.blur_px, 0), mode="wrap") * _LIGHT
    seen += 1.6 * own.standard_normal(seen.shape, dtype=np.float32)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


def _places(look: _Look, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return row and column of each cell in steps of the lattice, and its sprite, -1 for none."""
    places = np.moveaxis(np.indices((n, n)).astype(float), 0, 2) + rng.uniform(-1, 1, (n, n, 2)) * look.jitter
    kinds = np.where(rng.random((n, n)) < _EMPTY, -1, rng.integers(_SPRITES, size=(n, n)))
    return np.concatenate([places, kinds[..., None]], axis=2)


def _sprite(look: _Look, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the thickness of one cell, turned at random."""
    shape, turn = make_shape(look.cell_type, rng), rng.uniform(0, 2 * np.pi)
    unit = _DIAMETER_PX / 2 * look.stretch
    reach = int(np.ceil(shape.radius.max() * unit)) + 2
    y, x = (np.mgrid[-reach:reach, -reach:reach] + 0.5) / unit
    sine, cosine = np.sin(turn), np.cos(turn)
    thickness, relative = shape.thickness(cosine * y - sine * x, cosine * x + sine * y)
    return np.asarray(np.where(relative < 1, thickness, 0), dtype=np.float32)


class _Tiles:
    """The tiles of one level, of which each different one is encoded once."""

    def __init__(self, slide: SyntheticSlide, shrink: int, side: int) -> None:
        self.slide, self.shrink, self.side = slide, shrink, side
        self._numbers: dict[tuple[object, ...], int] = {}
        self._first: list[int] = []

    def encoded(self) -> Iterator[bytes]:
        """Yield the bytes of every tile, none for one that was there before."""
        n = -(-self.side // TILE_PX)
        for number, (row, column) in enumerate(np.ndindex(n, n)):
            key, blocks = self._content(row, column)
            if key in self._numbers:
                self._first.append(self._numbers[key])
                yield b""
                continue
            self._numbers[key] = number
            self._first.append(number)
            yield bytes(imagecodecs.jpeg_encode(blocks, level=90))

    def repeat(self, page: tifffile.TiffPage) -> None:
        """Let all tiles that are alike point at the first of them."""
        for tag, values in (("TileOffsets", page.dataoffsets), ("TileByteCounts", page.databytecounts)):
            page.tags[tag].overwrite([values[first] for first in self._first])

    def _content(self, row: int, column: int) -> tuple[tuple[object, ...], Image]:
        """Return the key of a tile, equal for tiles of equal content, and its pixels."""
        size = BLOCK_PX // self.shrink
        tile = np.full((TILE_PX, TILE_PX, 3), 255, np.uint8)
        key: list[object] = []
        if size >= TILE_PX:
            within = size // TILE_PX
            name, pixels = self.slide.block(row // within, column // within, self.shrink)
            y, x = (row % within) * TILE_PX, (column % within) * TILE_PX
            return (name, y, x), pixels[y : y + TILE_PX, x : x + TILE_PX]
        within = TILE_PX // size
        for i, j in np.ndindex(within, within):
            place = row * within + i, column * within + j
            if place[0] < self.slide.zones.shape[0] and place[1] < self.slide.zones.shape[1]:
                name, pixels = self.slide.block(*place, self.shrink)
                key.append((i, j, name))
                tile[i * size : (i + 1) * size, j * size : (j + 1) * size] = pixels
        return tuple(key), tile

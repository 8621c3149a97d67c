"""Find images that are cropped, mirrored or re-encoded copies, and neighbours that look like one slide."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree
from scipy.stats import binomtest
from skimage.feature import match_template
from skimage.measure import block_reduce

from napari_amil.core.base.types import Floats, Image

Thumbnail = NDArray[np.float32]

COPY = 0.7
"""Correlation from which one image is a copy of another. Of 40 fields of Chula RBC-12, crops of two thirds of
the area, half of them mirrored, saved again, reach at least 0.82; 300 pairs of other slides 0.43 at most."""
MOST_PAIRS = 2000
"""Pairs of images that are compared, those most alike in colour first; each takes some milliseconds."""
_BLOCK_PX, _TYPICAL_SIDE_PX = 8, 800
_FEWEST_BLOCKS, _FEWEST_OF_CELLS = 220, 48  # of the part that is looked for: lone cells are alike by chance
_COLOUR_RADIUS = 0.06  # colours of a crop lie as near to those of its original
_NEIGHBOURS = 12
_GAP = 3  # numbers of neighbours differ by so much at most
_ALIKE_SHARE = 0.05  # of pairs from afar are as alike in colour as those that count as alike
_ALIKE_P = 0.001
_FEWEST_ALIKE = 3


def thumbnail(image: Image) -> Thumbnail:
    """Return an image in grey, in blocks whose side depends on the scale alone, so that crops fit."""
    doublings = max(0, int(np.log2(max(image.shape[:2]) / _TYPICAL_SIDE_PX)))
    side = _BLOCK_PX * 2**doublings
    grey = image.astype(np.float32).mean(axis=2)
    height, width = (max(n // side, 1) * side for n in grey.shape)
    return np.asarray(block_reduce(grey[:height, :width], (side, side), np.mean), dtype=np.float32)


def correlation(first: Thumbnail, second: Thumbnail) -> float:
    """Return the largest correlation of the middle of the smaller one with a part of the other.

    The middle is half as high and wide; it is turned by quarters and mirrored.
    """
    small, large = sorted((first, second), key=np.size)
    height, width = small.shape
    middle = small[height // 4 : height - height // 4, width // 4 : width - width // 4]
    of_cells = middle < (float(middle.min()) + float(middle.max())) / 2
    if middle.size < _FEWEST_BLOCKS or of_cells.sum() < _FEWEST_OF_CELLS or large.std() == 0:
        return 0.0
    turned = [np.rot90(side, k) for k in range(4) for side in (middle, middle[:, ::-1])]
    fitting = [part for part in turned if (np.array(part.shape) <= large.shape).all()]
    return max((float(match_template(large, part).max()) for part in fitting), default=0.0)


def likely_pairs(colours: Mapping[str, Floats], patient: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return pairs of images of different patients that may be copies, most alike in colour first."""
    names = list(colours)
    if len(names) < 2:
        return []
    points = np.stack([colours[name] for name in names])
    k = min(len(names), _NEIGHBOURS + 1)
    distance, index = KDTree(points).query(points, k=k, distance_upper_bound=_COLOUR_RADIUS)
    found: dict[tuple[str, str], float] = {}
    for row, (apart, others) in enumerate(zip(distance.tolist(), index.tolist(), strict=True)):
        for d, other in zip(apart, others, strict=True):
            if other < len(names) and patient[names[row]] != patient[names[other]]:
                found[names[min(row, other)], names[max(row, other)]] = d
    return sorted(found, key=found.__getitem__)[:MOST_PAIRS]


def alike_neighbours(
    colours: Mapping[str, Floats], patient: Mapping[str, str]
) -> tuple[list[tuple[str, str]], int]:
    """Return neighbours by number under different patients that look like one slide, and how many there are.

    Two images are neighbours if they lie in one folder and their numbers follow each other. They look like
    one slide if the colours of background and stain are nearer than those of 95 % of the pairs from afar;
    nothing is returned unless many more neighbours are than chance explains (binomial test).
    """
    pairs = [(a, b) for a, b in _neighbours(colours) if patient[a] != patient[b]]
    names = list(colours)
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(names), size=(4000, 2)) if names else np.zeros((0, 2), np.int64)
    near = set(pairs)
    afar = [
        _apart(colours, names[a], names[b])
        for a, b in drawn.tolist()
        if patient[names[a]] != patient[names[b]] and not {(names[a], names[b]), (names[b], names[a])} & near
    ]
    if not pairs or not afar:
        return [], len(pairs)
    limit = float(np.quantile(afar, _ALIKE_SHARE))
    alike = [pair for pair in pairs if _apart(colours, *pair) < limit]
    chance = binomtest(len(alike), len(pairs), _ALIKE_SHARE, alternative="greater").pvalue
    return (alike if len(alike) >= _FEWEST_ALIKE and chance < _ALIKE_P else []), len(pairs)


def _apart(colours: Mapping[str, Floats], first: str, second: str) -> float:
    return float(np.linalg.norm(colours[first] - colours[second]))


def _neighbours(names: Mapping[str, Floats]) -> Iterator[tuple[str, str]]:
    """Yield images of one folder whose names are equal but for a last number, which follow each other."""
    numbered: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for name in names:
        path = PurePosixPath(name)
        match = re.fullmatch(r"(.*?)(\d+)", path.stem)
        if match:
            key = str(path.parent), match[1] + path.suffix
            numbered.setdefault(key, []).append((int(match[2]), name))
    for listed in numbered.values():
        listed.sort()
        for (number, name), (following, other) in pairwise(listed):
            if 0 < following - number <= _GAP:
                yield name, other

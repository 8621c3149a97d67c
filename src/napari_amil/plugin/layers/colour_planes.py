"""Colour images that were opened as grey planes, and joining them into one RGB layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image
from napari.layers._source import layer_source
from numpy.typing import NDArray

from napari_amil.core.base.errors import AmilError
from napari_amil.core.images.read import EXTENSIONS, page_sizes, read_image
from napari_amil.plugin.layers.planes import source_of, stack_of
from napari_amil.plugin.window.follow import COMPANION

_COLOURS = ("red", "green", "blue")
_N_COLOURS = 3
_YX = "yx"


@dataclass(frozen=True, eq=False)
class GreyPlanes:
    """Layers, or the planes of one layer, that are the colours of one image.

    Parameters
    ----------
    layers
        The layers that hold them.
    load
        Returns the image ``(h, w, 3)``.
    name
        Name of the joined image.
    """

    layers: tuple[Image, ...]
    load: Callable[[], NDArray[Any]]
    name: str

    def joined(self) -> Image:
        """Return the colour image, in the place of the planes.

        Raises
        ------
        AmilError
            If the file can no longer be read.
        """
        first, source = self.layers[0], source_of(self.layers[0])
        with layer_source(path=str(source) if source else None):
            return Image(
                self.load(), rgb=True, name=self.name, scale=first.scale[-2:], translate=first.translate[-2:]
            )


def grey_planes(chosen: Image | None, images: Iterable[Image]) -> GreyPlanes | None:
    """Return the planes that ``chosen`` is one of, if they are the colours of one image."""
    if chosen is None or chosen.rgb or COMPANION in chosen.metadata:
        return None
    return _of_file(chosen) or _of_three(chosen, [image for image in images if not image.rgb])


def _of_file(layer: Image) -> GreyPlanes | None:
    """Return a layer whose file holds one picture, though its array has an axis more: colours or alpha."""
    source, shape = source_of(layer), tuple(stack_of(layer).shape)
    if source is None or layer.ndim != _N_COLOURS or source.suffix.lower() not in EXTENSIONS:
        return None
    try:
        sizes = page_sizes(source) if source.is_file() else ()
    except AmilError:
        return None
    if len(sizes) != 1 or sizes[0] not in (shape[1:], shape[:2]) or math.prod(shape) == math.prod(sizes[0]):
        return None
    return GreyPlanes((layer,), lambda: read_image(source), layer.name)


def _of_three(chosen: Image, images: Sequence[Image]) -> GreyPlanes | None:
    """Return three layers of one size and type that lie over each other and are named or coloured alike."""
    shape = stack_of(chosen).shape
    alike = [
        image
        for image in images
        if image.ndim == len(_YX)
        and stack_of(image).shape == shape
        and image.dtype == chosen.dtype
        and (_stem(image), source_of(image)) == (_stem(chosen), source_of(chosen))
    ]
    if len(alike) != _N_COLOURS:
        return None
    colours = [_colour(image) for image in alike]
    order = [colours.index(colour) for colour in _COLOURS] if set(colours) == set(_COLOURS) else range(3)
    layers = tuple(alike[number] for number in order)
    return GreyPlanes(
        layers, lambda: np.stack([np.asarray(stack_of(image)) for image in layers], axis=2), _stem(chosen)
    )


def _stem(image: Image) -> str:
    """Return the name of a layer without its number or colour."""
    name = Path(str(image.name)).name.partition(" [")[0]
    words = [word for word in name.replace("_", " ").replace("-", " ").split() if not _is_colour(word)]
    return " ".join(words) or "image"


def _is_colour(word: str) -> bool:
    low = word.lower().strip(":()")
    return low in (*_COLOURS, "r", "g", "b", "c0", "c1", "c2", "c:0", "c:1", "c:2", "0", "1", "2")


def _colour(image: Image) -> str:
    """Return the colour of a layer by its name, else by its colour map."""
    words = str(image.name).lower().replace("_", " ").replace("-", " ").split()
    for colour in _COLOURS:
        if colour in words or colour[0] in words:
            return colour
    return str(image.colormap.name).lower()

"""Decode PNG, JPEG, BMP and WebP with Pillow."""

from __future__ import annotations

import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image

from napari_amil.core.images.refusals import MAX_PIXELS, MAX_RATIO, UnusableError, check_claim, check_size
from napari_amil.core.images.samples import Samples, with_alpha

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
"""Formats that Pillow decodes for us."""
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM")
_RATIOS = {"PNG": 1_100, "BMP": 256, "JPEG": MAX_RATIO}
"""Largest compression: deflate has 1,032, a run of BMP 255; WebP has no limit."""
_HEADER_BYTES = 10_000


def is_picture(start: bytes) -> bool:
    """Return whether the first 12 bytes of a file are those of a PNG, JPEG, BMP or WebP."""
    return start.startswith(_STARTS) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def picture_size(path: Path) -> tuple[int, int]:
    """Return height and width of a picture from its header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with PIL.Image.open(path, formats=FORMATS) as file:
            return file.height, file.width


def decode_picture(path: Path) -> Samples:
    """Return the samples of a picture; the EXIF orientation is not applied, as in napari.

    Palettes are looked up; CMYK is refused, since its colours depend on an ink profile. Of a moving
    picture the first frame counts.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata; what cannot be decoded raises
        try:
            with PIL.Image.open(path, formats=FORMATS) as file:
                return _decoded(file, path)
        except PIL.Image.DecompressionBombError as error:
            raise UnusableError(
                f"claims far more than {MAX_PIXELS:,} pixels, like a decompression bomb; save it as a tiled "
                "TIFF or as Zarr, or cut it into smaller fields."
            ) from error


def _decoded(file: PIL.Image.Image, path: Path) -> Samples:
    check_size(file.height, file.width)
    ratio = _RATIOS.get(str(file.format))
    if ratio is not None:
        n_bytes = file.height * file.width * len(file.getbands())
        check_claim(n_bytes, path.stat().st_size + _HEADER_BYTES, ratio)
    if _png_bits(path) == 16:
        return with_alpha(np.asarray(imagecodecs.png_decode(path.read_bytes())))
    indexed = file.mode in {"P", "PA"} or "transparency" in file.info
    image = file.convert("RGBA") if indexed else file
    if image.mode not in {"L", "LA", "RGB", "RGBA"}:
        raise UnusableError(f"has the colour mode {image.mode}, not grey or RGB; save it as RGB with 8 bits.")
    return with_alpha(np.asarray(image))


def _png_bits(path: Path) -> int:
    """Return the bits per sample that a PNG declares, 0 for other files."""
    with path.open("rb") as file:
        head = file.read(26)
    return head[24] if head.startswith(b"\x89PNG") and len(head) > 24 else 0

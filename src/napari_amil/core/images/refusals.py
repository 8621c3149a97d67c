"""Errors of unusable images, and limits on the sizes that a file may claim."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from napari_amil.core.base.errors import AmilError, ImageError

MAX_PIXELS = 80_000_000
"""Largest field in pixels, about 9,000 x 9,000; larger ones are read window by window or refused."""
MIN_SIDE_PX = 32
"""Smallest side of a field in pixels."""
MAX_SAMPLES = 8
"""Largest number of samples per pixel that is decoded."""
MAX_RATIO = 2_000
"""Largest plausible ratio of the size of an image in memory to its compressed size."""
_LONGEST_REASON = 160  # characters of a decoder's message that are shown


class UnusableError(Exception):
    """An image is refused; the message is the rest of a sentence that begins with the name of the file."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn every error while an image is read into an `ImageError` of one sentence.

    Decoders raise errors of any class on damaged files, so that no list of classes would be complete.
    """
    try:
        yield
    except AmilError:
        raise
    except UnusableError as error:
        raise ImageError(f"The image '{path}' {error}") from error
    except MemoryError as error:
        raise ImageError(
            f"The image '{path}' does not fit into memory; save it as a tiled TIFF or cut it into fields."
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON].rstrip(".") or type(error).__name__
        raise ImageError(
            f"The image '{path}' is damaged or cut short ({reason}); copy or export it again."
        ) from error


def check_size(height: int, width: int) -> None:
    """Refuse a field that is too small to hold cells or too large to be one field.

    Raises
    ------
    UnusableError
        If a side is below `MIN_SIDE_PX` or the area above `MAX_PIXELS`.
    """
    if min(height, width) < MIN_SIDE_PX:
        raise UnusableError(
            f"is only {width} x {height} pixels; give a field with sides of at least {MIN_SIDE_PX} pixels."
        )
    if height * width > MAX_PIXELS:
        raise UnusableError(
            f"has {width} x {height} pixels, more than {MAX_PIXELS:,}; save it as a tiled TIFF or as Zarr to "
            "detect and score its cells, or cut it into smaller fields."
        )


def check_claim(n_bytes: int, stored_bytes: int, ratio: int = MAX_RATIO) -> None:
    """Refuse an image that claims more bytes than its file can hold at a compression ratio.

    Raises
    ------
    UnusableError
        With both sizes.
    """
    if n_bytes > ratio * stored_bytes:
        raise UnusableError(
            f"claims {n_bytes:,} bytes of pixels but stores only {stored_bytes:,}; it is damaged or cut "
            "short: copy or export it again."
        )

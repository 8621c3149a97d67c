"""Check of compressed chunks of Zarr before the Blosc library decodes them."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

from napari_amil.core.base.optional import optional

_HEADER = struct.Struct("<BBBBIII")  # two versions, flags, type size; bytes, of a block, compressed
_STORED, _WHOLE_BLOCKS = 0x2, 0x10
_MOST_SPLITS, _FEWEST_ITEMS = 16, 128  # of a block: split into its bytes of equal rank only within these


def check_blosc(chunk: bytes, most_bytes: int) -> None:
    """Refuse a chunk whose lengths contradict each other; the library would read beyond its end.

    Parameters
    ----------
    chunk
        A chunk as Blosc 1 writes it: header, start of each block, and for each stream of a block its
        length and content (https://github.com/Blosc/c-blosc, README_CHUNK_FORMAT).
    most_bytes
        Size of a chunk of the array in bytes when it is decoded.

    Raises
    ------
    ValueError
        If the chunk is damaged.
    """
    if len(chunk) < _HEADER.size:
        raise ValueError("a chunk is cut off")
    _, _, flags, item, n_bytes, block, n_compressed = _HEADER.unpack_from(chunk)
    if n_compressed != len(chunk) or n_bytes > most_bytes or not item:
        raise ValueError("a chunk has a damaged header")
    if flags & _STORED:
        if n_bytes + _HEADER.size != n_compressed:
            raise ValueError("a chunk is cut off")
    elif n_bytes:
        _check_blocks(chunk, bool(flags & _WHOLE_BLOCKS), item, n_bytes, block)


def _check_blocks(chunk: bytes, whole: bool, item: int, n_bytes: int, block: int) -> None:
    n_blocks = math.ceil(n_bytes / block) if 0 < block <= n_bytes else 0
    first = _HEADER.size + 4 * n_blocks
    if not n_blocks or first > len(chunk):
        raise ValueError("a chunk has a damaged header")
    for number, start in enumerate(struct.unpack_from(f"<{n_blocks}I", chunk, _HEADER.size)):
        is_rest = number == n_blocks - 1 and n_bytes % block > 0
        split = not whole and not is_rest and item <= _MOST_SPLITS and block // item >= _FEWEST_ITEMS
        place = start
        for _ in range(item if split else 1):
            if not first <= place <= len(chunk) - 4:
                raise ValueError("a block of a chunk lies outside of it")
            place += 4 + struct.unpack_from("<I", chunk, place)[0]
        if place > len(chunk):
            raise ValueError("a block of a chunk is cut off")


def checked_store(path: Path) -> Any:  # noqa: ANN401
    """Return a store of Zarr that reads a folder and holds chunks against `check_blosc`.

    Its attribute ``most_bytes`` is 0, which checks nothing, until the array is known to use Blosc.
    """
    storage = optional("zarr").storage

    class CheckedStore(storage.WrapperStore):  # type: ignore[name-defined]
        most_bytes = 0

        async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:  # noqa: ANN401
            found = await super().get(key, prototype, byte_range)
            if found is not None and self.most_bytes and byte_range is None and not _is_metadata(key):
                check_blosc(found.to_bytes(), self.most_bytes)
            return found

    return CheckedStore(storage.LocalStore(path, read_only=True))


def open_with_checked_codec(path: Path) -> Any:  # noqa: ANN401
    """Return the array of version 3 in a folder, whose Blosc codec holds chunks against `check_blosc`.

    Unlike `checked_store` it sees the chunks within shards.
    """
    zarr = optional("zarr")

    class CheckedBlosc(zarr.codecs.BloscCodec):  # type: ignore[name-defined]
        async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:  # noqa: ANN401
            _check_within(chunk_bytes, chunk_spec)
            return await super()._decode_single(chunk_bytes, chunk_spec)

        def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:  # noqa: ANN401
            _check_within(chunk_bytes, chunk_spec)
            return super()._decode_sync(chunk_bytes, chunk_spec)

    zarr.registry.register_codec("blosc", CheckedBlosc)
    with zarr.config.set({"codecs.blosc": zarr.registry.fully_qualified_name(CheckedBlosc)}):
        return zarr.open(str(path), mode="r")


def _check_within(chunk: Any, spec: Any) -> None:  # noqa: ANN401
    """Check a chunk from zarr against the number of bytes of its shape and type."""
    item = spec.dtype.to_native_dtype().itemsize
    check_blosc(chunk.to_bytes(), math.prod(spec.shape) * item)


def _is_metadata(key: str) -> bool:
    name = key.rsplit("/", maxsplit=1)[-1]
    return name.startswith(".z") or name == "zarr.json"

"""Damaged chunks are refused before the library of Blosc, which such chunks can crash, sees them."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from numcodecs import blosc

from napari_amil.core.images.blosc import check_blosc
from napari_amil.core.images.ome_zarr import open_zarr
from napari_amil.core.images.refusals import UnusableError

VALUES = np.random.default_rng(0).integers(0, 40, 3000, dtype=np.uint16)


def chunk(cname: str = "lz4", shuffle: int = 1, blocksize: int = 0, values: np.ndarray = VALUES) -> bytes:
    return bytes(blosc.compress(values, cname.encode(), 5, shuffle, blocksize))


@pytest.mark.parametrize("blocksize", [0, 256, 1024])
@pytest.mark.parametrize("shuffle", [0, 1, 2])
@pytest.mark.parametrize("cname", ["blosclz", "lz4", "lz4hc", "zlib", "zstd"])
def test_sound_chunks_pass(cname: str, shuffle: int, blocksize: int) -> None:
    for values in (VALUES, VALUES.astype(np.float64), VALUES[:7], VALUES[:0], np.zeros(4000, np.uint8)):
        check_blosc(chunk(cname, shuffle, blocksize, values), values.nbytes)


def test_a_chunk_of_random_bytes_is_stored_and_passes() -> None:
    noise = np.random.default_rng(1).integers(0, 256, 900, dtype=np.uint8)
    assert len(chunk(values=noise)) == 916
    check_blosc(chunk(values=noise), 900)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda whole: whole[:10], "cut off"),
        (lambda whole: whole[:-1], "damaged header"),
        (lambda whole: whole[:3] + b"\0" + whole[4:], "damaged header"),  # items of no size
        (lambda whole: whole[:8] + bytes(4) + whole[12:], "damaged header"),  # blocks of no size
        (lambda whole: whole[:16] + b"\xff\xff\xff\x7f" + whole[20:], "outside"),
        (lambda whole: whole[:16] + b"\2\0\0\0" + whole[20:], "outside"),  # a block within the header
    ],
)
def test_a_damaged_chunk_is_refused(damage: Callable[[bytes], bytes], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_blosc(damage(chunk(blocksize=0)), VALUES.nbytes)


def test_the_length_of_a_stream_is_held_against_the_chunk() -> None:
    whole = chunk(shuffle=0, blocksize=0)
    start = int.from_bytes(whole[16:20], "little")
    longer = whole[:start] + (len(whole)).to_bytes(4, "little") + whole[start + 4 :]
    with pytest.raises(ValueError, match=r"outside|cut off"):
        check_blosc(longer, VALUES.nbytes)


def test_a_chunk_that_claims_more_than_the_array_is_refused() -> None:
    with pytest.raises(ValueError, match="damaged header"):
        check_blosc(chunk(), VALUES.nbytes - 1)


def test_what_passes_the_check_does_not_crash_the_library() -> None:
    rng, whole, n_passed = random.Random(0), chunk(blocksize=512), 0
    for _ in range(3000):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] = rng.randrange(256)
        try:
            check_blosc(bytes(damaged), VALUES.nbytes)
        except ValueError:
            continue
        n_passed += 1
        with suppress(RuntimeError):
            blosc.decompress(bytes(damaged))
    assert n_passed > 1000


CODEC = zarr.codecs.BloscCodec()
LAYOUTS: dict[str, dict[str, Any]] = {
    "version 2": {"zarr_format": 2, "compressors": blosc.Blosc()},
    "version 3": {"compressors": CODEC},
    "in shards": {"compressors": CODEC, "shards": (40, 50, 3)},
    "before another codec": {"compressors": [CODEC, zarr.codecs.GzipCodec()]},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_damaged_array_is_refused_when_it_is_read(tmp_path: Path, layout: str) -> None:
    values = np.random.default_rng(0).integers(0, 9, (40, 50, 3), dtype=np.uint8)
    path = tmp_path / "a.zarr"
    zarr.create_array(path, data=values, chunks=(20, 50, 3), **LAYOUTS[layout])
    assert np.array_equal(open_zarr(path).array[:], values)
    assert np.array_equal(open_zarr(path).array[5:9, 7:], values[5:9, 7:])
    unpack, pack = (gzip.decompress, gzip.compress) if "another" in layout else (bytes, bytes)
    for file in (file for file in path.rglob("*") if file.is_file() and "z" not in file.name):
        content = unpack(file.read_bytes())
        file.write_bytes(pack(content[:16] + b"\xff\xff\xff\x7f" + content[20:]))
    for wanted in (slice(None), slice(5, 9)):
        with pytest.raises(ValueError, match="a block of a chunk lies outside of it"):
            open_zarr(path).array[wanted]


@pytest.mark.parametrize(
    "codecs",
    [
        {"filters": [blosc.Blosc()], "compressors": numcodecs.Zlib()},
        {"filters": [blosc.Blosc()], "compressors": blosc.Blosc()},
    ],
)
def test_chunks_that_cannot_be_checked_are_refused(tmp_path: Path, codecs: dict[str, Any]) -> None:
    zarr.create_array(
        tmp_path / "a.zarr", shape=(40, 50), dtype="u1", chunks=(20, 50), zarr_format=2, **codecs
    )
    with pytest.raises(UnusableError, match="Blosc within other codecs; save it with Blosc alone"):
        open_zarr(tmp_path / "a.zarr")

"""Damaged chunks are refused before the library of Blosc, which such chunks can crash, sees them."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zarr
from numcodecs import blosc

from napari_amil.core.images.blosc import check_blosc
from napari_amil.core.images.ome_zarr import open_zarr

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


@pytest.mark.parametrize("version", [2, 3])
def test_a_damaged_array_is_refused_when_it_is_read(tmp_path: Path, version: int) -> None:
    values = np.random.default_rng(0).integers(0, 9, (40, 50, 3), dtype=np.uint8)
    packed = {"compressors": zarr.codecs.BloscCodec()} if version == 3 else {"compressors": blosc.Blosc()}
    zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(20, 50, 3), zarr_format=version, **packed)
    assert np.array_equal(open_zarr(tmp_path / "a.zarr").array[:], values)
    files = (path for path in (tmp_path / "a.zarr").rglob("*") if path.is_file())
    largest = max(files, key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    largest.write_bytes(content[:18] + content[28:])
    with pytest.raises(ValueError, match="chunk"):
        open_zarr(tmp_path / "a.zarr").array[:]

"""Arrays of a zip file come back; one that claims more than it holds is refused before memory is taken."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from napari_amil.core.base.arrays import read_arrays


def header(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return stream.getvalue()


def test_arrays_come_back(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6.0).reshape(2, 3), "texts": np.array(["x", "yy"]), "none": np.zeros((0, 4))}
    np.savez(tmp_path / "a.npz", **arrays)
    found = read_arrays(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values)


def test_a_header_that_claims_too_much_takes_no_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as parts:
        parts.writestr("a.npy", header((500_000_000,)) + bytes(80))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"'a\.npy' claims more numbers than it holds"):
        read_arrays(tmp_path / "a.npz")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_zip_that_claims_more_than_deflate_can_is_refused(tmp_path: Path) -> None:
    content = header((2,)) + bytes(16)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as parts:
        parts.writestr("a.npy", content)
    stored = bytearray((tmp_path / "a.npz").read_bytes())
    place = stored.rindex(b"PK\x01\x02") + 24  # uncompressed size in the central directory
    stored[place : place + 4] = (10**9).to_bytes(4, "little")
    (tmp_path / "a.npz").write_bytes(stored)
    with pytest.raises(ValueError, match="claims more bytes than it can hold"):
        read_arrays(tmp_path / "a.npz")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array([{"x": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_arrays(tmp_path / "a.npz")

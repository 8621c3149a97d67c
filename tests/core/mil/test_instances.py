"""Pixels and measurements travel together."""

from __future__ import annotations

import io

import numpy as np
import torch

from napari_amil.core.mil.instances import Instances, sizes_of, with_measurements

PIXELS = np.arange(5 * 3 * 4 * 4, dtype=np.uint8).reshape(5, 3, 4, 4)
MEASUREMENTS = np.arange(10, dtype=np.float64).reshape(5, 2)


def test_joined_arrays_are_indexed_stored_and_split_again() -> None:
    stored = io.BytesIO()
    np.save(stored, with_measurements(PIXELS, MEASUREMENTS), allow_pickle=False)
    stored.seek(0)
    joined = np.concatenate([np.load(stored), with_measurements(PIXELS, MEASUREMENTS)])
    assert sizes_of(joined) == (3, 2)
    cells = Instances.from_values(joined[[6, 0]])
    np.testing.assert_array_equal(cells.pixels.numpy(), PIXELS[[1, 0]])
    assert cells.measurements is not None
    assert cells.measurements.dtype == torch.float32
    np.testing.assert_array_equal(cells.measurements.numpy(), MEASUREMENTS[[1, 0]])


def test_plain_pixels_have_no_measurements() -> None:
    assert sizes_of(PIXELS) == (3, 0)
    cells = Instances.from_values(PIXELS)
    assert cells.measurements is None
    assert [len(part) for part in cells.split(2)] == [2, 2, 1]
    assert len(cells[torch.tensor([True, False, True, False, False])]) == 2

"""The nearest control cells are those of a full search, and their pictures come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import KDTree

from napari_amil.core.anomaly.control_sample import ControlSample, balanced_rows


@pytest.fixture
def sample() -> ControlSample:
    """Sixty cells in smooth colours of their own."""
    colours = np.random.default_rng(0).integers(0, 256, (60, 3, 1, 1))
    crops = np.broadcast_to(colours, (60, 3, 16, 16)).astype(np.uint8)
    boxes = np.arange(240, dtype=np.float32).reshape(60, 4)
    return ControlSample.from_cells(torch.randn(60, 5), boxes, [f"é{i}.png" for i in range(60)], crops)


def test_nearest_are_those_of_scipy(sample: ControlSample) -> None:
    z = torch.randn(7, 5)
    rows, distance = sample.nearest(z, 4)
    expected, expected_rows = KDTree(sample.z.numpy()).query(z.numpy(), 4)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(distance, expected, rtol=1e-6)


def test_a_control_cell_is_its_own_neighbour_and_no_more_are_found_than_there_are(
    sample: ControlSample,
) -> None:
    rows, distance = sample.nearest(sample.z[[9]], 100)
    assert rows.shape == (1, 60)
    assert (rows[0, 0], distance[0, 0]) == (9, 0.0)


def test_thumbnails_are_those_of_the_rows(sample: ControlSample) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (60, 3, 1, 1))[:, :, 0, 0]
    for row, thumbnail in zip((0, 24, 25, 59), sample.thumbnails([0, 24, 25, 59]), strict=True):
        assert thumbnail.shape == (16, 16, 3)
        np.testing.assert_allclose(thumbnail[8, 8], colours[row], atol=12)


def test_it_is_saved_and_loaded(sample: ControlSample) -> None:
    loaded = ControlSample.from_state(sample.state_dict())
    assert loaded.images == sample.images
    for name in ("z", "boxes", "sheet"):
        assert torch.equal(getattr(loaded, name), getattr(sample, name))


def test_without_pixels_there_are_no_thumbnails() -> None:
    sample = ControlSample.from_cells(torch.zeros(2, 3), np.zeros((2, 4)), ["a", "b"], None)
    assert ControlSample.from_state(sample.state_dict()).thumbnails([0]) == []


def test_every_patient_gets_as_many_cells_as_can_be() -> None:
    patients = ["a"] * 100 + ["b"] * 3 + ["c"] * 50
    rows = balanced_rows(patients, 23)
    assert len(set(rows)) == 23
    assert [sum(patients[row] == name for row in rows) for name in "abc"] == [10, 3, 10]
    assert list(balanced_rows(["a", "b"], 23)) == [0, 1]

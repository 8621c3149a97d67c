"""The combined distance weighs squares in units of control cells."""

from __future__ import annotations

import numpy as np
import pytest

from napari_amil.core.anomaly.combined import combined_distance


@pytest.mark.parametrize(("weight", "expected"), [(0.0, 3.0), (1.0, 4.0), (0.5, np.sqrt(12.5))])
def test_squares_are_weighed_in_control_units(weight: float, expected: float) -> None:
    found = combined_distance(np.array([6.0]), np.array([20.0]), (2.0, 5.0), weight)
    assert found == pytest.approx([expected])


def test_without_measurements_the_network_counts() -> None:
    found = combined_distance(np.array([6.0, np.nan]), np.array([np.nan, 5.0]), (2.0, 5.0), 0.3)
    assert found[0] == pytest.approx(3.0)
    assert np.isnan(found[1])

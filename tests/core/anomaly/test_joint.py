"""The joint distance is as rare among control cells as the mean of two rarities."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import lognorm

from napari_amil.core.anomaly.joint import JointDistance

RNG = np.random.default_rng(0)
NETWORK = np.exp(1.0 + 0.2 * RNG.standard_normal(4000))
SHAPES = np.exp(1.5 + 0.4 * RNG.standard_normal(4000))


def share(control: NDArray[np.float64], d: float) -> float:
    """Return the share of control cells that lie as far, by the lognormal distribution fitted to them."""
    logs = np.log(control)
    return float(lognorm.sf(d, s=logs.std(), scale=np.exp(logs.mean())))


def two(network: NDArray[np.float64], shapes: NDArray[np.float64], weight: float) -> JointDistance:
    """Return the joint distance of a network and of measurements that have a weight."""
    return JointDistance.fit([network, shapes], [1 - weight, weight], [True, False])


@pytest.mark.parametrize("weight", [0.2, 0.5, 1.0])
def test_its_share_of_control_cells_is_the_mean_of_two_shares(weight: float) -> None:
    joint = two(NETWORK, SHAPES, weight)
    (found,) = joint.distance([np.array([3.5]), np.array([9.0])])
    expected = (1 - weight) * share(NETWORK, 3.5) + weight * share(SHAPES, 9.0)
    assert share(NETWORK, float(found)) == pytest.approx(expected)


def test_a_cell_that_is_as_rare_in_both_keeps_its_distance() -> None:
    joint = two(NETWORK, NETWORK, 0.5)
    d = np.array([0.0, 2.0, 3.0, 20.0, 1e4])
    np.testing.assert_allclose(joint.distance([d, d]), d)
    np.testing.assert_allclose(two(NETWORK, SHAPES, 0.0).distance([d, d[::-1]]), d)


def test_a_cell_that_cannot_be_measured_counts_as_half_usual_and_an_unknown_cell_is_unknown() -> None:
    joint = two(NETWORK, np.append(SHAPES, np.nan), 0.5)
    found = joint.distance([np.array([4.0, 10.0, np.nan]), np.array([np.nan, np.nan, 5.0])])
    assert share(NETWORK, float(found[0])) == pytest.approx((share(NETWORK, 4.0) + 0.5) / 2)
    assert share(NETWORK, float(found[1])) == pytest.approx(256 * share(NETWORK, 10.0))
    assert np.isnan(found[2])


def test_the_most_anomalous_cells_are_still_told_apart() -> None:
    joint = two(NETWORK, SHAPES, 0.5)
    far = np.array([10.0, 20.0, 40.0, 80.0, 160.0])
    found = joint.distance([far, far])
    assert (np.diff(found) > 1).all()


def test_very_rare_to_the_network_alone_is_enough_but_odd_measurements_alone_are_not() -> None:
    joint = two(NETWORK, SHAPES, 0.5)
    (found,) = joint.distance([np.array([10.0]), np.array([np.exp(1.5)])])
    assert share(NETWORK, float(found)) == pytest.approx(256 * share(NETWORK, 10.0))
    (ordinary,) = joint.distance([np.array([np.exp(1.0)]), np.array([500.0])])
    assert ordinary < np.quantile(NETWORK, 0.85)


def test_loading_the_state_gives_the_same_distances() -> None:
    joint = two(NETWORK, SHAPES, 0.3)
    again = JointDistance.from_state(joint.state_dict())
    d = np.array([2.0, 9.0])
    np.testing.assert_array_equal(again.distance([d, d[::-1]]), joint.distance([d, d[::-1]]))


def test_three_scores_have_the_weighted_mean_of_their_shares() -> None:
    joint = JointDistance.fit([NETWORK, SHAPES, 10 * SHAPES], [0.25, 0.5, 0.25], [True, False, True])
    (found,) = joint.distance([np.array([3.5]), np.array([9.0]), np.array([60.0])])
    shares = share(NETWORK, 3.5), share(SHAPES, 9.0), share(10 * SHAPES, 60.0)
    assert share(NETWORK, float(found)) == pytest.approx(np.dot(shares, [0.25, 0.5, 0.25]))
    np.testing.assert_allclose(joint.shares([[3.5], [9.0], [60.0]]), [shares])
    (unknown,) = joint.distance([np.array([3.5]), np.array([9.0]), np.array([np.nan])])
    assert share(NETWORK, float(unknown)) == pytest.approx(np.dot([*shares[:2], 0.5], [0.25, 0.5, 0.25]))
    (alone,) = joint.distance([np.array([1.0]), np.array([1.0]), np.array([1e3])])
    assert share(NETWORK, float(alone)) == pytest.approx(256 * share(10 * SHAPES, 1e3))

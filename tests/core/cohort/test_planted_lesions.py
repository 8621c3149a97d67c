"""Planted lesions change what they say they change, and say where."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_amil.core.cohort.planted_lesions import LESIONS, Planted, plant_lesions

SIZE, RADIUS = 64, 20
FAR = np.hypot(*np.meshgrid(*[np.arange(SIZE) - SIZE / 2] * 2))


def discs(n: int = 6) -> NDArray[np.uint8]:
    """Return cells with a pale centre on white, one of them empty."""
    colour = np.where(FAR < RADIUS / 3, 190, np.where(FAR < RADIUS, 130, 255))
    pixels = np.stack([colour, colour - 20 * (FAR < RADIUS), colour, 255 * (FAR < RADIUS)])
    cells = np.repeat(pixels[None], n, axis=0).astype(np.uint8)
    cells[-1, :3], cells[-1, 3] = 255, 0
    return cells


@pytest.fixture(params=LESIONS)
def lesion(request: pytest.FixtureRequest) -> tuple[str, Planted]:
    return request.param, plant_lesions(discs(), request.param, seed=3)


def test_the_mask_of_a_lesion_is_where_pixels_changed(lesion: tuple[str, Planted]) -> None:
    _, found = lesion
    change = np.abs(found.pixels[:, :3].astype(int) - discs()[:, :3]).max(axis=1)
    np.testing.assert_array_equal(found.lesion, change > 10)
    assert found.planted.tolist() == [True] * 5 + [False]
    np.testing.assert_array_equal(found.pixels[-1], discs()[-1])
    share = found.lesion[:5].mean(axis=(1, 2)) * SIZE**2 / (np.pi * RADIUS**2)
    assert (share > 0.01).all()
    assert (share < 1.3).all()


def test_a_cell_has_the_same_lesion_whatever_cells_lie_beside_it(lesion: tuple[str, Planted]) -> None:
    name, found = lesion
    np.testing.assert_array_equal(plant_lesions(discs()[:2], name, seed=3).pixels, found.pixels[:2])
    assert (plant_lesions(discs(), name, seed=4).pixels != found.pixels).any()


def area(found: Planted) -> float:
    return float((found.pixels[:5, 3] > 0).mean() / (discs()[:5, 3] > 0).mean())


def darkness(found: Planted, where: NDArray[np.bool_]) -> float:
    """Return the mean darkness of some pixels beside that of the cells before."""
    return float((255.0 - found.pixels[:5, 1][:, where]).mean() / (255.0 - discs()[:5, 1][:, where]).mean())


def test_lesions_do_to_the_cell_what_they_are_called_for() -> None:
    made = {name: plant_lesions(discs(), name) for name in LESIONS}
    inside, middle = FAR < RADIUS, FAR < RADIUS / 4
    assert 0.75 < area(made["bite"]) < 0.97
    assert 1.02 < area(made["spicules"]) < 1.3
    assert area(made["stretched"]) == pytest.approx(1.0, abs=0.03)
    assert darkness(made["half stain"], inside) == pytest.approx(0.5, abs=0.06)
    assert darkness(made["pallor filled"], middle) > 1.5
    assert darkness(made["pallor widened"], inside) < 0.7
    assert darkness(made["target spot"], middle) > 1.3
    assert darkness(made["inclusion"], inside) > 1.01
    ring = (FAR > 0.4 * RADIUS) & (FAR < 0.55 * RADIUS)
    assert darkness(made["target spot"], ring) < 0.6


def test_a_stretched_cell_is_longer_than_wide() -> None:
    found = plant_lesions(discs(), "stretched")
    for mask in found.pixels[:5, 3] > 0:
        y, x = np.nonzero(mask)
        low, high = np.linalg.eigvalsh(np.cov(y, x))
        assert 1.35 < np.sqrt(high / low) < 2.6


def test_thin_and_small_cells_have_lesions_too() -> None:
    cells = discs(2)
    thin = (np.abs(np.arange(SIZE) - 32) < 2)[:, None] & (np.abs(np.arange(SIZE) - 32) < 24)
    cells[0, 3] = 255 * thin
    cells[0, :3] = np.where(thin, 120, 255)
    planted = {name: bool(plant_lesions(cells, name).planted[0]) for name in LESIONS}
    assert {"bite", "inclusion", "half stain", "stretched"} <= {n for n, yes in planted.items() if yes}

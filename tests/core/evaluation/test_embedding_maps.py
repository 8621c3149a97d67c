"""Layouts keep neighbours together, and thinning leaves out no rare cell."""

from __future__ import annotations

import numpy as np
import pytest

from napari_amil.core.base.errors import AmilError, MissingExtraError
from napari_amil.core.evaluation import embedding_maps
from napari_amil.core.evaluation.embedding_maps import laid_out_rows, neighbour_plane


@pytest.fixture
def cells() -> np.ndarray:
    """200 usual cells, and 20 that lie far from them."""
    z = np.random.default_rng(0).normal(size=(220, 6)).astype(np.float32)
    z[200:, 1] += 25
    return z


@pytest.mark.parametrize("most", [1000, 80])
def test_neighbours_stay_together_and_every_cell_has_a_place(cells: np.ndarray, most: int) -> None:
    rare = np.arange(220) >= 200
    place = neighbour_plane(cells, rare, most=most)
    assert place.shape == (220, 2)
    assert np.isfinite(place).all()
    apart = np.linalg.norm(place[:, None] - place[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert set(apart[200:].argmin(axis=1)) <= set(range(200, 220))


def test_a_cell_of_several_bags_has_one_place_and_other_neighbours(cells: np.ndarray) -> None:
    rare = np.arange(220) >= 200
    once = neighbour_plane(cells, rare)
    copies = neighbour_plane(np.repeat(cells, 4, axis=0), np.repeat(rare, 4))
    np.testing.assert_array_equal(copies, np.repeat(once, 4, axis=0))


def test_thinning_keeps_every_rare_cell() -> None:
    rare = np.zeros(1000, dtype=bool)
    rare[[3, 500, 999]] = True
    rows = laid_out_rows(rare, most=50)
    assert len(rows) == 50
    assert set(rows) >= {3, 500, 999}
    assert len(np.unique(rows)) == 50
    assert set(np.flatnonzero(~rare)) <= set(laid_out_rows(~rare, most=50))  # even if they are too many
    assert laid_out_rows(rare, most=1000).tolist() == list(range(1000))


def test_what_cannot_be_laid_out_is_said(cells: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    none = np.zeros(220, dtype=bool)
    with pytest.raises(AmilError, match="no layout 'circle'; choose one of tsne, umap"):
        neighbour_plane(cells, none, "circle")

    def missing(_: str) -> None:
        raise MissingExtraError("umap", "umap")

    monkeypatch.setattr(embedding_maps, "optional", missing)
    with pytest.raises(MissingExtraError, match=r"napari-amil\[umap\]"):
        neighbour_plane(cells, none, "umap")

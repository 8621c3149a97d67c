"""Tiles cover a field, and each place belongs to one of them; at a seam two look."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_amil.core.detection.tiles import SEAM_SLACK_PX, away_from_seams, batch_of, padded_size, tiles

SHAPES = st.tuples(st.integers(32, 3000), st.integers(32, 3000))


@settings(deadline=None)
@given(SHAPES, st.integers(256, 1500))
def test_tiles_cover_the_field_and_stay_inside(shape: tuple[int, int], side: int) -> None:
    covered = [np.zeros(length, bool) for length in shape]
    for tile in tiles(shape, side):
        for axis, window in enumerate(tile):
            assert 0 <= window.start < window.stop <= shape[axis]
            assert window.stop - window.start <= side
            covered[axis][window] = True
    assert all(axis.all() for axis in covered)


@settings(deadline=None, max_examples=50)
@given(SHAPES, st.integers(256, 700), st.data())
def test_each_place_belongs_to_one_tile_that_holds_its_cell_whole(
    shape: tuple[int, int], side: int, data: st.DataObject
) -> None:
    y = data.draw(st.floats(0, shape[0], exclude_max=True, width=32))
    x = data.draw(st.floats(0, shape[1], exclude_max=True, width=32))
    owners = []
    for tile in tiles(shape, side):
        corner = np.array([tile[1].start, tile[0].start] * 2)
        box = torch.tensor(np.array([[x - 20, y - 20, x + 20, y + 20]]) - corner)
        if away_from_seams(box, tile, shape).item():
            owners.append(tile)
    assert len(owners) == 1
    for centre, window, length in zip((y, x), owners[0], shape, strict=True):
        assert window.start <= max(centre - 20, 0)
        assert window.stop >= min(centre + 20, length)


def test_two_tiles_look_at_a_seam() -> None:
    shape, looking = (256, 600), []
    for x in (230.0, 216.0 + SEAM_SLACK_PX - 1, 216.0, 216.0 - SEAM_SLACK_PX, 200.0):
        near = []
        for tile in tiles(shape, 256):
            box = torch.tensor([[x - 20, 100, x + 20, 140]]) - torch.tensor([tile[1].start, 0] * 2)
            near.append(bool(away_from_seams(box, tile, shape, SEAM_SLACK_PX).item()))
        looking.append(sum(near))
    assert looking == [1, 2, 2, 2, 1]


def test_tiles_of_one_padded_size_make_a_batch() -> None:
    assert padded_size(250, 256) == (256, 256)
    small, large = torch.zeros(3, 250, 256), torch.zeros(3, 256, 230)
    batch, sizes = batch_of([small, large], torch.device("cpu"))
    assert batch.shape == (2, 3, 256, 256)
    assert sizes == [(250, 256), (256, 230)]
    assert batch[0, :, 250:].min() == batch[1, :, :, 230:].min() == 1
    assert batch[0, :, :250].max() == batch[1, :, :, :230].max() == 0

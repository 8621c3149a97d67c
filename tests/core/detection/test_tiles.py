"""Tiles cover a field, and batches of them shrink where memory runs out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.errors import DeviceError
from napari_amil.core.base.events import Event, Warned, drain
from napari_amil.core.base.settings import DetectionSettings
from napari_amil.core.detection.tiles import (
    SEAM_SLACK_PX,
    TileRunner,
    away_from_seams,
    batch_of,
    padded_size,
    tiles,
)

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


CARD = torch.device("cpu:0")
"""Stands in for a graphics card: another device than ``cpu``, though the same memory."""
LIMITS = DetectionSettings(max_cells=20, tiles_at_once=4)


@pytest.fixture
def pixels() -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.rand(3, 96, 128) for _ in range(5)]


def limited(model: MaskRCNN, most: int, patch: pytest.MonkeyPatch) -> list[int]:
    """Let the backbone fail above ``most`` tiles; return the batches that it was asked for."""
    asked: list[int] = []
    forward = model.backbone.forward

    def forward_in_little_memory(images: Tensor) -> object:
        asked.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return forward(images)

    patch.setattr(model.backbone, "forward", forward_in_little_memory)
    return asked


def test_a_batch_finds_what_single_tiles_find(detector: MaskRCNN, pixels: list[Tensor]) -> None:
    together = drain(TileRunner(detector, LIMITS, CARD, with_maps=True).run(pixels))
    alone = drain(TileRunner(detector, LIMITS, torch.device("cpu")).run(pixels))
    assert len(together) == len(alone) == 5
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one["boxes"], other["boxes"], atol=1e-2, rtol=1e-3)
        assert len(one["maps"]) == len(one["boxes"]) > 0
        assert "maps" not in other


def test_half_as_many_tiles_when_memory_runs_out(
    detector: MaskRCNN, pixels: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = limited(detector, 1, monkeypatch)
    events: list[Event] = []
    runner = TileRunner(detector, LIMITS, CARD)
    assert len(drain(runner.run(pixels), events.append)) == 5
    assert asked == [4, 2, 1, 1, 1, 1, 1]
    said = [event.message for event in events if isinstance(event, Warned)]
    assert ["2 tiles at once" in said[0], "1 tile at once" in said[1], len(said)] == [True, True, 2]
    asked.clear()
    drain(runner.run(pixels[:2]))
    assert asked == [1, 1]


def test_the_cpu_goes_on_where_one_tile_is_too_many(
    detector: MaskRCNN, pixels: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = TileRunner(detector, LIMITS.model_copy(update={"tiles_at_once": 1}), CARD)
    detect = TileRunner._detect

    def fail_on_card(self: TileRunner, part: list[Tensor]) -> object:
        if self.device == CARD:
            raise RuntimeError("MPS backend out of memory")
        return detect(self, part)

    monkeypatch.setattr(TileRunner, "_detect", fail_on_card)
    events: list[Event] = []
    assert len(drain(runner.run(pixels), events.append)) == 5
    assert runner.device == torch.device("cpu")
    assert [type(event) for event in events] == [Warned]
    assert "going on on the CPU" in str(events[0])


def test_no_memory_at_all_is_a_sentence_and_other_errors_are_themselves(
    detector: MaskRCNN, pixels: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(detector, 0, monkeypatch)
    with pytest.raises(DeviceError, match="lower 'tile_px'"):
        drain(TileRunner(detector, LIMITS, torch.device("cpu")).run(pixels))

    def broken(_: Tensor) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(detector.backbone, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        drain(TileRunner(detector, LIMITS, CARD).run(pixels))

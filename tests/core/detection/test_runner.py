"""When memory runs out, fewer tiles at once, then the CPU; each time it is said."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.errors import DeviceError
from napari_amil.core.base.events import Event, Warned, drain
from napari_amil.core.base.settings import DetectionSettings
from napari_amil.core.detection.runner import TileRunner

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

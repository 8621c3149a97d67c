"""Tiles cover the field, candidates come out in pixels of the image, and the cap is announced."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.models.detection import MaskRCNN
from torchvision.ops import box_iou

from napari_amil.core.base.errors import DeviceError
from napari_amil.core.base.events import Event, Step, Warned, drain
from napari_amil.core.base.settings import DetectionSettings, NormalisationSettings
from napari_amil.core.base.types import polygon_area
from napari_amil.core.cohort.synth import SyntheticSmear
from napari_amil.core.detection.network_input import input_from_array, tiled_input
from napari_amil.core.detection.predict import find_candidates, find_in_input, roi_maps
from napari_amil.core.detection.select import Candidates
from napari_amil.core.images.fields import ArrayField

CPU = torch.device("cpu")
LIMITS = DetectionSettings(max_cells=40, cell_diameter_px=40)
SPARSE = DetectionSettings(candidate_overlap=0.1, cell_diameter_px=40)
SURE = DetectionSettings(candidate_score=1)


def found(
    model: MaskRCNN, field: NDArray[np.float32], limits: DetectionSettings, with_maps: bool = False
) -> tuple[Candidates, list[Event]]:
    events: list[Event] = []
    return drain(find_candidates(model, field, limits, CPU, with_maps), events.append), events


def test_candidates_are_cells_of_the_image(detector: MaskRCNN, normalised: NDArray[np.float32]) -> None:
    candidates, events = found(detector, normalised, LIMITS)
    cells = candidates.cells
    height, width = normalised.shape[:2]
    assert 0 < len(cells) <= 40
    assert (cells.boxes >= 0).all()
    assert (cells.boxes <= [height, width, height, width]).all()
    for box, outline in zip(cells.boxes, cells.outlines, strict=True):
        assert (outline >= box[:2] - 1e-3).all()
        assert (outline <= box[2:] + 1e-3).all()
    np.testing.assert_allclose(cells.area_px, [polygon_area(o) for o in cells.outlines], rtol=1e-5)
    edge = (cells.boxes[:, :2] < 2).any(axis=1) | (cells.boxes[:, 2:] > [height - 2, width - 2]).any(axis=1)
    np.testing.assert_array_equal(cells.touches_border, edge)
    assert (cells.detection_score >= 0.05).all()
    assert cells.cell_id.tolist() == list(range(1, len(cells) + 1))
    assert [e for e in events if isinstance(e, Step)][:1] == [Step("detect", 0, 1, "Finding cells")]
    assert candidates.maps is None


def test_the_cap_is_announced(detector: MaskRCNN, normalised: NDArray[np.float32]) -> None:
    all_of_them, quiet = found(detector, normalised, SPARSE)
    assert not any(isinstance(event, Warned) for event in quiet)
    assert len(all_of_them.cells) > 5
    few, loud = found(detector, normalised, SPARSE.model_copy(update={"max_cells": 5}))
    assert [event.message for event in loud if isinstance(event, Warned)] == [
        "More candidates were found than the cap of 5 cells allows; the best are kept, "
        "raise 'max_cells' to keep them all."
    ]
    best = np.sort(all_of_them.cells.detection_score)[::-1][:5]
    np.testing.assert_allclose(np.sort(few.cells.detection_score)[::-1], best, rtol=1e-4)


def test_boxes_and_outlines_grow_with_the_image(detector: MaskRCNN, normalised: NDArray[np.float32]) -> None:
    small, _ = found(detector, normalised, LIMITS)
    doubled = normalised.repeat(2, axis=0).repeat(2, axis=1)
    large, _ = found(detector, doubled, LIMITS.model_copy(update={"cell_diameter_px": 80.0}))
    assert large.diameter_px == 80.0
    assert large.cells.boxes.max() > 1.5 * small.cells.boxes.max()


def test_tiles_find_cells_everywhere_and_step_through(
    detector: MaskRCNN, normalised: NDArray[np.float32]
) -> None:
    wide = np.concatenate([normalised, normalised[:, ::-1]], axis=1)
    limits = SPARSE.model_copy(update={"tile_px": 256})
    candidates, events = found(detector, wide, limits)
    steps = [event for event in events if isinstance(event, Step)]
    assert [step.done for step in steps] == list(range(len(steps)))
    assert steps[-1].done == steps[-1].total == 4
    centres = (candidates.cells.boxes[:, 1] + candidates.cells.boxes[:, 3]) / 2
    assert (np.histogram(centres, bins=5, range=(0, wide.shape[1]))[0] > 0).all()


@pytest.mark.parametrize("tile_px", [256, 1280])
def test_maps_of_the_same_pass_are_the_maps_of_the_boxes(
    detector: MaskRCNN, normalised: NDArray[np.float32], tile_px: int
) -> None:
    limits = LIMITS.model_copy(update={"tile_px": tile_px})
    candidates, _ = found(detector, normalised, limits, with_maps=True)
    assert candidates.maps is not None
    assert candidates.maps.shape == (len(candidates.cells), 64, 14, 14)
    view = input_from_array(normalised, limits.cell_diameter_px)
    maps = roi_maps(detector, view, candidates.cells.boxes, CPU, tile_px)
    assert maps.dtype == np.float16
    np.testing.assert_allclose(maps, candidates.maps, atol=0.01)
    assert np.ptp(maps) > 1


def test_maps_keep_the_order_of_the_boxes(detector: MaskRCNN, normalised: NDArray[np.float32]) -> None:
    view = input_from_array(normalised, 40.0)
    boxes = np.array([[200, 250, 240, 290], [10, 10, 50, 50], [90, 240, 130, 280]], np.float32)
    maps = roi_maps(detector, view, boxes, CPU, 256)
    np.testing.assert_array_equal(roi_maps(detector, view, boxes[::-1], CPU, 256), maps[::-1])
    assert roi_maps(detector, view, boxes[:0], CPU).shape == (0, 64, 14, 14)


def test_an_empty_answer_is_an_empty_answer(detector: MaskRCNN, normalised: NDArray[np.float32]) -> None:
    nothing, _ = found(
        detector, normalised, LIMITS.model_copy(update={"candidate_score": 1.0}), with_maps=True
    )
    assert len(nothing.cells) == 0
    assert nothing.maps is not None
    assert nothing.maps.shape == (0, 64, 14, 14)


def test_out_of_memory_is_a_sentence(
    detector: MaskRCNN, normalised: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(detector.backbone, "forward", fail)
    with pytest.raises(DeviceError, match="lower 'tile_px'"):
        found(detector, normalised, LIMITS)
    with pytest.raises(DeviceError, match="lower 'tile_px'"):
        roi_maps(detector, input_from_array(normalised, 40.0), np.array([[0, 0, 9, 9]], np.float32), CPU)


def test_a_cell_at_a_seam_is_found_once(detector: MaskRCNN, normalised: NDArray[np.float32]) -> None:
    limits = DetectionSettings(candidate_score=0, candidate_overlap=0.3, cell_diameter_px=40, tile_px=256)
    candidates, _ = found(detector, np.tile(normalised, (2, 2, 1)), limits)
    boxes = torch.from_numpy(candidates.cells.boxes.copy())
    overlap = box_iou(boxes, boxes).fill_diagonal_(0)
    assert len(boxes) > 20
    assert overlap.max() <= 0.301


def test_a_large_field_gives_the_cells_of_one_in_memory(
    detector: MaskRCNN, smear: SyntheticSmear, normalised: NDArray[np.float32]
) -> None:
    limits = SPARSE.model_copy(update={"tile_px": 256})
    whole, _ = found(detector, normalised, limits)
    view = tiled_input(ArrayField(smear.image), limits, NormalisationSettings())
    events: list[Event] = []
    parts = drain(find_in_input(detector, view, limits, CPU), events.append)
    assert len(parts.cells) == len(whole.cells) > 5
    np.testing.assert_allclose(parts.cells.boxes, whole.cells.boxes, atol=0.01)
    np.testing.assert_allclose(parts.cells.detection_score, whole.cells.detection_score, atol=1e-4)
    assert sum(isinstance(event, Step) for event in events) == 3

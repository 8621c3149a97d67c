"""Average precision as the COCO challenge defines it, computed by its own library."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.optimize import linear_sum_assignment

from napari_amil.core.base.types import Cells

Pair = tuple[Cells, Cells]
"""The annotated cells of an image, and those that were found in it, with their scores."""
_MOST = 20_000  # detections of an image that count; COCO's own 100 would cut a full field
_ALL = [0, 1e10]


def average_precision(pairs: Sequence[Pair]) -> dict[str, float]:
    """Return ``ap50``, ``ap50_95`` and ``average_recall`` of boxes over images; NaN without annotated cells.

    ``ap50`` is the area below the precision-recall curve with boxes matched from an intersection over
    union of 0.5, ``ap50_95`` its mean over 0.5, 0.55 ... 0.95; ``average_recall`` is the mean recall over the
    same (Lin et al. 2014, arXiv 1405.0312, as pycocotools computes them).
    """
    if not sum(len(truth) for truth, _ in pairs):
        return dict.fromkeys(("ap50", "ap50_95", "average_recall"), float("nan"))
    with contextlib.redirect_stdout(io.StringIO()):  # the library tells every step
        measured = COCOeval(
            _dataset([truth for truth, _ in pairs], scored=False),
            _dataset([found for _, found in pairs], scored=True),
            "bbox",
        )
        measured.params.maxDets = [_MOST]
        measured.params.areaRng, measured.params.areaRngLbl = [_ALL], ["all"]
        measured.evaluate()
        measured.accumulate()
    precision = measured.eval["precision"][..., 0, 0, 0]  # (thresholds, recalls)
    recall = measured.eval["recall"][..., 0, 0, 0]
    return {
        "ap50": float(precision[0].mean()),
        "ap50_95": float(precision.mean()),
        "average_recall": float(recall.mean()),
    }


def _dataset(images: Sequence[Cells], *, scored: bool) -> COCO:
    """Return boxes as the library wants them."""
    annotations: list[dict[str, Any]] = []
    for image, cells in enumerate(images, start=1):
        for (y0, x0, y1, x1), score in zip(cells.boxes.tolist(), cells.detection_score, strict=True):
            box = [x0, y0, x1 - x0, y1 - y0]
            entry = {"id": len(annotations) + 1, "image_id": image, "category_id": 1, "bbox": box}
            entry |= {"area": box[2] * box[3], "iscrowd": 0}
            annotations.append(entry | {"score": float(score)} if scored else entry)
    dataset = COCO()
    numbers = [{"id": image} for image in range(1, len(images) + 1)]
    dataset.dataset = {"images": numbers, "categories": [{"id": 1}], "annotations": annotations}
    dataset.createIndex()
    return dataset


def matched(truth: Cells, found: Cells, least_iou: float = 0.5) -> int:
    """Return how many annotated cells have a found one of their own, boxes agreeing by ``least_iou``."""
    shares = box_iou(truth.boxes, found.boxes)
    fitting = shares >= least_iou
    rows, columns = linear_sum_assignment(np.where(fitting, -1 - shares, 0.0))
    return int(fitting[rows, columns].sum())


def box_iou(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the intersection over union of boxes y0, x0, y1, x1, ``(n_first, n_second)``."""
    one, other = first.astype(np.float64)[:, None], second.astype(np.float64)[None]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    common = np.clip(sides, 0, None).prod(axis=-1)
    areas = (one[..., 2:] - one[..., :2]).prod(axis=-1) + (other[..., 2:] - other[..., :2]).prod(axis=-1)
    return np.asarray(common / (areas - common))

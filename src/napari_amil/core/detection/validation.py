"""Detection metrics, and validation of a detector on annotated images."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.optimize import linear_sum_assignment
from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.events import drain
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.detection.predict import find_candidates

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
    """Return the number of annotated cells matched one to one with a found one by ``least_iou`` of boxes."""
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


@dataclass(frozen=True)
class DetectionCount:
    """Counts over one or more images; add them up, then ask for recall and precision.

    Parameters
    ----------
    n_truth, n_found
        Labelled cells; of these, matched one to one with a detection.
    n_judged, n_false
        Detections in images where every whole cell is labelled; of these, unmatched ones.
        Detections that touch the border are judged only if they match: half cells carry no label.
    n_doubled
        Unmatched detections whose box holds a centre that another detection matched better.
    """

    n_truth: int = 0
    n_found: int = 0
    n_judged: int = 0
    n_false: int = 0
    n_doubled: int = 0

    def __add__(self, other: DetectionCount) -> DetectionCount:
        return DetectionCount(*(a + b for a, b in zip(self.row(), other.row(), strict=True)))

    def row(self) -> tuple[int, int, int, int, int]:
        """Return the counts in order."""
        return self.n_truth, self.n_found, self.n_judged, self.n_false, self.n_doubled

    @property
    def recall(self) -> float:
        """Share of labelled cells that were found."""
        return self.n_found / self.n_truth if self.n_truth else float("nan")

    @property
    def precision(self) -> float:
        """Share of judged detections that are labelled cells."""
        return 1 - self.n_false / self.n_judged if self.n_judged else float("nan")


def count_centres(cells: Cells, centres: NDArray[np.float64], exhaustive: bool) -> DetectionCount:
    """Compare detections with labelled centres ``(n, 2)``, y and x in pixels.

    A centre counts as found when it lies inside a box matched to it one to one; among possible
    matchings the one with the most pairs, then the least distance between centres, is taken.
    """
    boxes = cells.boxes.astype(np.float64)
    within = (centres[:, None] >= boxes[None, :, :2]) & (centres[:, None] <= boxes[None, :, 2:])
    inside = np.asarray(within.all(axis=2), dtype=bool)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = np.linalg.norm(centres[:, None] - middle[None], axis=2)
    rows, columns = linear_sum_assignment(np.where(inside, distance, 1e6))
    matched = inside[rows, columns]
    loose = np.ones(len(cells), dtype=bool)
    loose[columns[matched]] = False
    judged = ~loose | ~cells.touches_border
    return DetectionCount(
        n_truth=len(centres),
        n_found=int(matched.sum()),
        n_judged=int(judged.sum()) if exhaustive else 0,
        n_false=int((loose & judged).sum()) if exhaustive else 0,
        n_doubled=int((loose & inside.any(axis=0)).sum()),
    )


@dataclass(frozen=True, eq=False)
class ValidationField:
    """A normalised field ``(height, width, 3)``, its annotated cells, and whether these are all."""

    normalised: NDArray[np.float32]
    cells: Cells
    complete: bool = True


@dataclass(frozen=True, eq=False)
class Validation:
    """Measures a detector as a user would use it: the same scale, tiles, filters and threshold.

    Parameters
    ----------
    fields
        Images of patients that the training does not see.
    settings
        Detection and selection.
    device
        Device of the network.
    """

    fields: Sequence[ValidationField]
    settings: RunSettings
    device: torch.device

    def __call__(self, model: MaskRCNN) -> dict[str, float]:
        """Return the figures of a network.

        ``ap50``, ``ap50_95`` (`average_precision`) of all candidates; ``recall`` and ``precision`` of
        the cells above the detection threshold, matched one to one from an intersection over union of 0.5;
        ``count_error``, the mean over images of the difference in number over the annotated number.
        Where not every cell of an image is annotated, it counts for ``recall`` and ``average_recall`` alone.
        """
        every = self.settings.selection.model_copy(update={"min_score": 0.0})
        ranked: list[Pair] = []
        chosen: list[Pair] = []
        for field in self.fields:
            work = find_candidates(model, field.normalised, self.settings.detection, self.device)
            candidates = drain(work)
            ranked.append((field.cells, candidates.select(every)))
            chosen.append((field.cells, candidates.select(self.settings.selection)))
        complete = [field.complete for field in self.fields]
        judged = [pair for pair, whole in zip(ranked, complete, strict=True) if whole]
        figures = average_precision(judged) | {"average_recall": average_precision(ranked)["average_recall"]}
        return figures | counted(chosen, complete)


def counted(pairs: Sequence[Pair], complete: Sequence[bool]) -> dict[str, float]:
    """Return ``recall``, ``precision`` and ``count_error`` of found cells; NaN where undefined."""
    hits = np.array([matched(truth, found) for truth, found in pairs], dtype=np.float64)
    known = np.array([len(truth) for truth, _ in pairs], dtype=np.float64)
    found = np.array([len(cells) for _, cells in pairs], dtype=np.float64)
    whole = np.array(complete, dtype=bool)
    error = np.abs(found - known)[whole] / np.maximum(known[whole], 1)
    return {
        "recall": float(hits.sum() / known.sum()) if known.sum() else float("nan"),
        "precision": float(hits[whole].sum() / found[whole].sum()) if found[whole].sum() else float("nan"),
        "count_error": float(error.mean()) if whole.any() else float("nan"),
    }

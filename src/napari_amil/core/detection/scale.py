"""Scale of a field: the cell diameter at which the detector finds cells of just that diameter."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional
from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.events import Event, Step
from napari_amil.core.base.settings import DetectionSettings, SelectionSettings
from napari_amil.core.base.types import Cells
from napari_amil.core.detection.network_input import NetworkInput
from napari_amil.core.detection.select import Candidates
from napari_amil.core.detection.tiles import TileRunner, Window
from napari_amil.core.images.foreground import REFERENCE_DIAMETER_PX, SAME_SCALE, foreground_mask
from napari_amil.core.images.samples import sample_windows

_DIAMETERS_PX = (250, 178, 127, 91, 65, 46, 33, 23, 17, 12, 9)  # assumed in turn, coarse to fine
_SIDE_PX = 320  # of the part that is looked at, at the network's scale: eight typical cells
_PROBE = DetectionSettings(candidate_score=0.5, max_cells=120)
_CUT_PX = 2.0  # a box this close to the border of that part is cut
_FEW = 2  # whole cells; fewer say nothing of the diameter
_SURE = 0.75  # mean score of cells at the right scale is 0.8 to 1, that of specks inside cells 0.55 to 0.75
_SURE_FIELD = 0.8  # the same for a whole detection; below it a search decides
_FEW_TO_TRUST = 5  # with fewer whole cells other images of the folder are asked as well
_AS_GOOD = 0.1  # by which the mean score at the diameter of other images may be lower
_PLAUSIBLE = (0.6, 1.6)  # found over given diameter that is passed over in silence
_CROWD, _CROWD_RATIO = 500, 25  # candidates, and candidates for each cell, of a field cut into specks
_NESTED, _NESTED_SHARE = 0.9, 0.25  # part of the smaller one that lies in the larger, and share of such cells
_MUCH_SMALLER = 0.4  # areas


@dataclass(frozen=True)
class Agreement:
    """The cells that the detector finds at an assumed diameter.

    Parameters
    ----------
    assumed_px
        Diameter in pixels of the image that the network takes for a typical one.
    found_px
        Median diameter of the whole cells found, NaN without any.
    score
        Mean detection score of all cells found, NaN without any.
    n_whole
        Number of whole cells found.
    """

    assumed_px: float
    found_px: float
    score: float
    n_whole: int

    @property
    def ratio(self) -> float:
        """Found over assumed diameter; it falls through 1 where the assumed diameter grows too large."""
        return self.found_px / self.assumed_px

    @property
    def tells(self) -> bool:
        """Whether the field has enough whole cells for its own median diameter to be trusted."""
        return self.n_whole >= _FEW_TO_TRUST

    @property
    def _fits(self) -> bool:
        """Whether the median diameter found has the magnification of the assumed diameter."""
        return SAME_SCALE[0] <= self.ratio <= SAME_SCALE[1]

    def yields_to(self, other: Agreement) -> bool:
        """Return whether the cells found at another diameter are of that size, and as well scored."""
        if self._fits and other.n_whole < min(self.n_whole, _FEW + 1):
            return False
        if not other.score >= np.nan_to_num(self.score) - _AS_GOOD:
            return False
        return not other.n_whole or other._fits

    @classmethod
    def from_boxes(
        cls,
        assumed_px: float,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        whole: NDArray[np.bool_],
    ) -> Agreement:
        """Return the agreement of boxes y0, x0, y1, x1 (or x, y) in pixels of the image."""
        sides = boxes[whole, 2:] - boxes[whole, :2]
        found = float(np.median(np.sqrt(sides.prod(axis=1)))) if len(sides) else float("nan")
        score = float(scores.mean()) if len(scores) else float("nan")
        return cls(assumed_px, found, score, int(whole.sum()))


@dataclass(frozen=True)
class DiameterEstimate:
    """Typical diameter of the cells of a field in pixels, with a confidence from 0 to 1."""

    diameter_px: float
    confidence: float


def seen_diameter(view: NetworkInput) -> float:
    """Return the diameter in pixels of the image that the network takes for a typical one."""
    return REFERENCE_DIAMETER_PX / view.scale


def same_scale(diameter_px: float, view: NetworkInput) -> bool:
    """Return whether cells of a diameter are of the size that the network expects in a field."""
    low, high = SAME_SCALE
    return bool(low <= diameter_px / seen_diameter(view) <= high)


def agreement(cells: Cells, view: NetworkInput) -> Agreement:
    """Return the agreement of the cells found in a field with its scale."""
    return Agreement.from_boxes(
        seen_diameter(view), cells.boxes, cells.detection_score, ~cells.touches_border
    )


def agreed_diameter(diameters: Sequence[float]) -> float | None:
    """Return the median diameter of several fields; None if they are of different magnification.

    At least two have to be known, that is no NaN, and most of those have to be near the median.
    """
    known = np.array([diameter for diameter in diameters if np.isfinite(diameter)])
    if len(known) < 2:
        return None
    median = float(np.median(known))
    ratio = known / median
    near = (SAME_SCALE[0] <= ratio) & (ratio <= SAME_SCALE[1])
    return median if near.sum() >= max(2, len(known) / 2) else None


def doubt(candidates: Candidates, cells: Cells, view: NetworkInput, selection: SelectionSettings) -> str:
    """Return the reason why the scale of a field may be wrong, from the cells found; empty if it is right.

    Parameters
    ----------
    candidates, cells
        All that was found, and the cells selected from it.
    view
        The field at the scale in question.
    selection
        The settings that selected them.
    """
    found = agreement(cells, view)
    sure = _sure(candidates, selection)
    if found.n_whole <= _FEW:
        return f"only {found.n_whole} whole cells are found"
    if not same_scale(found.found_px, view):
        return f"the cells found measure {found.found_px:.0f} px"
    if found.score < _SURE_FIELD:
        return f"the mean detection score is only {found.score:.2f}"
    if len(candidates.cells) > max(_CROWD, _CROWD_RATIO * len(cells)):
        return f"{len(candidates.cells)} candidates give only {len(cells)} cells"
    if sure.sum() > 2 * len(cells):
        return "most objects found are smaller or larger than a cell"
    if _nested_share(candidates, sure) > _NESTED_SHARE:
        return "many cells found lie inside others"
    return ""


def diameter_confidence(cells: Cells, view: NetworkInput) -> float:
    """Return the confidence in the diameter of a field, from 0 to 1: the mean detection score of its cells.

    Half of it counts where the whole cells found are of another magnification than the one assumed, or too
    few. NaN where no detector found the cells.
    """
    found = agreement(cells, view)
    agrees = found.n_whole > _FEW and same_scale(found.found_px, view)
    return found.score if agrees else found.score / 2


def given_doubt(cells: Cells, view: NetworkInput, *, strict: bool = False) -> str:
    """Return the reason why the sizes of cells contradict the scale of a field; empty if they fit.

    ``strict`` takes every other magnification for wrong, otherwise unusual cells pass.
    """
    found = agreement(cells, view)
    low, high = SAME_SCALE if strict else _PLAUSIBLE
    if found.n_whole <= _FEW or low <= found.ratio <= high:
        return ""
    return f"the cells measure {found.found_px:.0f} px"


def find_diameter(
    model: MaskRCNN, view: NetworkInput, device: torch.device
) -> Generator[Event, None, DiameterEstimate | None]:
    """Find the largest diameter that the detector agrees with; yield a `Step` for each that is tried.

    A part of the field is shown to the detector as if its cells had a diameter of 250 px, 178 px and so
    on. The median diameter of what it finds, over the assumed one, passes 1 at the right scale, where
    its scores are high; specks inside cells give such a passage too, with low scores. Returns None where
    there is no passage with high scores.
    """
    runner = TileRunner(model, _PROBE, device)
    windows = _busiest_windows(view)
    coarser: Agreement | None = None
    for number, assumed in enumerate(_DIAMETERS_PX):
        if assumed > min(view.shape):
            continue
        yield Step("scale", number, len(_DIAMETERS_PX), "Looking for the size of the cells")
        here = yield from _probe(runner, view, windows[assumed], float(assumed))
        if here.n_whole < _FEW:
            continue
        if here.ratio >= 1 and here.score >= _SURE and (coarser is None or coarser.ratio < 1):
            return _passage(coarser, here)
        coarser = here
    return None


def _sure(candidates: Candidates, selection: SelectionSettings) -> NDArray[np.bool_]:
    return np.asarray(candidates.cells.detection_score >= max(selection.min_score, _PROBE.candidate_score))


def _nested_share(candidates: Candidates, sure: NDArray[np.bool_]) -> float:
    """Return the share of well-scored candidates that lie inside much larger ones."""
    areas = candidates.cells.area_px[candidates.pairs]
    nested = (candidates.share > _NESTED) & (areas.min(axis=1) < _MUCH_SMALLER * areas.max(axis=1))
    nested &= sure[candidates.pairs].all(axis=1)
    return float(nested.sum() / max(sure.sum(), 1))


def _passage(coarser: Agreement | None, here: Agreement) -> DiameterEstimate:
    """Return the diameter at which the ratio is 1, between two that were tried, on logarithmic scales."""
    if coarser is None:
        return DiameterEstimate(here.found_px, here.score)
    above, below = np.log(here.ratio), np.log(coarser.ratio)
    part = above / (above - below)
    diameter = here.assumed_px * (coarser.assumed_px / here.assumed_px) ** part
    return DiameterEstimate(float(diameter), here.score)


def _busiest_windows(view: NetworkInput) -> dict[int, Window]:
    """Return for each assumed diameter the window of the image to look at, where cells are densest."""
    covered = [(foreground_mask(view.part(window)), window) for window in sample_windows(view.shape)]
    mask, window = max(covered, key=lambda item: item[0].mean())
    corner = np.array([axis.start for axis in window])
    chosen: dict[int, Window] = {}
    for diameter in _DIAMETERS_PX:
        side = _SIDE_PX * diameter // round(REFERENCE_DIAMETER_PX)
        density = ndimage.uniform_filter(mask.astype(np.float32), min(side, *mask.shape), mode="constant")
        centre = corner + np.unravel_index(int(density.argmax()), mask.shape)
        starts = np.clip(centre - side // 2, 0, np.maximum(np.array(view.shape) - side, 0))
        rows, columns = (
            slice(int(start), int(min(start + side, length)))
            for start, length in zip(starts, view.shape, strict=True)
        )
        chosen[diameter] = rows, columns
    return chosen


def _probe(
    runner: TileRunner, view: NetworkInput, window: Window, assumed_px: float
) -> Generator[Event, None, Agreement]:
    """Return the agreement of the cells found in a window at an assumed diameter with that diameter."""
    scale = REFERENCE_DIAMETER_PX / assumed_px
    pixels = _resized(view.part(window), scale)
    (found,) = yield from runner.run([pixels])
    boxes, scores = found["boxes"].numpy(), found["scores"].numpy()
    limits = np.array([pixels.shape[2], pixels.shape[1]]) - _CUT_PX
    whole = np.all(boxes[:, :2] > _CUT_PX, axis=1) & np.all(boxes[:, 2:] < limits, axis=1)
    return Agreement.from_boxes(assumed_px, (boxes / scale).astype(np.float32), scores, whole)


def _resized(normalised: NDArray[np.float32], scale: float) -> Tensor:
    """Return a normalised part ``(height, width, 3)`` as a tensor ``(3, h, w)`` at another scale."""
    pixels = torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))[None]
    size = [max(round(length * scale), 1) for length in normalised.shape[:2]]
    return functional.interpolate(pixels, size, mode="bilinear", antialias=scale < 1)[0]

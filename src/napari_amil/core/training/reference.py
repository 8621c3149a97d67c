"""What scores are held against, and how it follows from the distances of control cells."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.anomaly.calibration import Calibration, parts_of_patients
from napari_amil.core.anomaly.gaussian.refits import ControlMoments, drawn_patients
from napari_amil.core.anomaly.joint import JointDistance, anomaly_of
from napari_amil.core.anomaly.morphology.refits import MorphologyRefits
from napari_amil.core.anomaly.morphology.statistics import ControlMorphology, left_out_distances, whole_cells
from napari_amil.core.anomaly.novelty import BagNovelty
from napari_amil.core.anomaly.patients import patient_codes
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.events import Event, Warned
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.training.loop import FittedModel


@dataclass(frozen=True, eq=False)
class Reference:
    """What scores are held against.

    Parameters
    ----------
    calibration
        Anomaly of control cells that were left out.
    moments
        Sums over the control cells of each patient; None with a single one.
    novelty
        The known classes, and bags of them that were left out.
    morphology
        What is usual among the measurements of control cells; None without these.
    joint
        How the anomaly of a cell is made of two distances; None where it is the network's alone.
    refits
        What is usual for each draw of the patients; None with a single one, or where ``joint`` is.
    n_networks
        Networks that were trained without a part of the patients for it.
    """

    calibration: Calibration
    moments: ControlMoments | None = None
    novelty: BagNovelty | None = None
    morphology: ControlMorphology | None = None
    joint: JointDistance | None = None
    refits: MorphologyRefits | None = None
    n_networks: int = 0


@dataclass(frozen=True, eq=False)
class ControlCells:
    """Control cells of which some things are known.

    Boxes that hold no whole cell may be among them; nothing is held against these.

    Parameters
    ----------
    left_out, seen
        ``(n,)`` distances to a Gaussian that was fitted without a cell's part (NaN where there is none), and
        to that of all.
    measurements
        ``(n, n_measurements)``, or None.
    part
        ``(n,)`` number of the part with which a cell was left out; None where none was.
    patients
        ``(n,)`` names; None where they are one.
    """

    left_out: Tensor
    seen: Tensor
    measurements: NDArray[Any] | None
    part: NDArray[np.int64] | None = None
    patients: NDArray[Any] | None = None

    def reference(self, weight: float) -> Generator[Event, None, Reference]:
        """Return what anomalies are held against; yield a warning where morphology or patients are too few.

        Parameters
        ----------
        weight
            `ModelSettings.morphology_weight`.
        """
        cells = self._without_empty_boxes()
        left_out, seen = cells.left_out.double().numpy(), cells.seen.double().numpy()
        usual, joint, refits = None, None, None
        if cells.measurements is not None:
            try:
                usual = ControlMorphology.fit(cells.measurements)
                inside = usual.distance(cells.measurements)
                outside = inside if cells.part is None else left_out_distances(cells.measurements, cells.part)
            except AmilError as error:
                empty = " and the columns 'morph_<name>_z' stay empty" if usual is None else ""
                yield Warned(f"{error} Until then only the embedding says how unusual a cell is{empty}.")
            else:
                joint = JointDistance.of(left_out, outside, weight) if weight else None
                left_out, seen = anomaly_of(joint, left_out, outside), anomaly_of(joint, seen, inside)
                refits = None if joint is None else self._refits()
        known = np.isfinite(left_out)
        patients = None if cells.patients is None else cells.patients[known]
        if patients is None or len(np.unique(patients)) < 2:
            yield Warned(
                "All control cells are of one patient: no p-value can say how others differ; add some."
            )
        calibration = Calibration(left_out[known], patients, float(seen.mean()))
        return Reference(calibration, morphology=usual, joint=joint, refits=refits)

    def _refits(self) -> MorphologyRefits | None:
        """Return what is usual for each draw of the patients (of all, as `ControlMoments` draws them)."""
        if self.patients is None or self.measurements is None:
            return None
        codes, whole = patient_codes(self.patients), self._whole
        drawn = drawn_patients(int(codes.max()) + 1).numpy()
        return MorphologyRefits.fit(self.measurements[whole], codes[whole], drawn)

    def said_of_boxes(self) -> Iterator[Warned]:
        """Yield a warning where boxes of control bags hold no whole cell."""
        empty = ~self._whole
        if empty.any():
            first = "" if self.patients is None else f", the first of '{self.patients[empty.argmax()]}'"
            yield Warned(
                f"{empty.sum()} of {len(empty)} control boxes hold no whole cell and are left out of the "
                f"calibration{first}: nothing is in them, or a pointer or printed line crosses it."
            )

    @property
    def _whole(self) -> NDArray[np.bool_]:
        """Which boxes hold a whole cell; all where no cell was measured."""
        if self.measurements is None:
            return np.ones(len(self.seen), dtype=bool)
        return whole_cells(self.measurements)

    def _without_empty_boxes(self) -> ControlCells:
        """Return the control cells without boxes that hold no whole cell."""
        kept = self._whole
        columns = (self.measurements, self.part, self.patients)
        return ControlCells(
            self.left_out[kept], self.seen[kept], *(None if c is None else c[kept] for c in columns)
        )


def plain_reference(
    bags: BagArrays, fitted: FittedModel, settings: RunSettings, measurements: NDArray[Any] | None = None
) -> Generator[Event, None, Reference]:
    """Return what anomalies are held against without a network trained for it: p-values come out small.

    The parameters are those of `napari_amil.core.training.left_out.fit_reference`.
    """
    control, patients = bags.control_cells()
    several = len(set(patients)) > 1
    cells = ControlCells(
        fitted.left_out,
        fitted.left_out,
        None if measurements is None else measurements[control],
        parts_of_patients(patients) if several else None,
        np.array(patients) if several else None,
    )
    return (yield from cells.reference(settings.model.morphology_weight))

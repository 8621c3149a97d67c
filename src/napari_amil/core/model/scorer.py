"""Everything behind the detector: network, anomaly model, class names and a sample of control cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

from napari_amil.core.anomaly.control_sample import ControlSample
from napari_amil.core.anomaly.model import AnomalyModel
from napari_amil.core.mil.class_calibration import ClassCalibration
from napari_amil.core.mil.clinical import ClinicalCodes
from napari_amil.core.mil.model import AmilModel


@dataclass(frozen=True, eq=False)
class Scorer:
    """A network and the anomaly model that was fitted to its embeddings.

    Parameters
    ----------
    model
        Network from cells to embeddings, and from bags to classes.
    anomaly
        Anomaly of cells and novelty of bags.
    classes
        Names of the classes in the order of the logits.
    in_channels
        Channels of the input of the encoder.
    n_measurements
        Number of measurements that the model embeds; 0 if none.
    threshold
        Probability of the class that is not the control from which on a bag is taken for it, chosen on
        bags of the training that the networks had not seen; NaN where there was no such choice.
    control
        Name of the control class.
    controls
        Control cells of the training; None in older bundles.
    class_calibration
        Temperature and class sets; None in older bundles, and where no network was trained without some
        patients.
    """

    model: AmilModel
    anomaly: AnomalyModel
    classes: tuple[str, ...]
    in_channels: int
    n_measurements: int = 0
    controls: ControlSample | None = None
    class_calibration: ClassCalibration | None = None
    threshold: float = math.nan
    control: str = ""

    @property
    def control_label(self) -> int:
        """Number of the control class; the first where its name is not known (older bundles)."""
        return self.classes.index(self.control) if self.control in self.classes else 0

    @property
    def clinical(self) -> ClinicalCodes | None:
        """Columns of the clinical values that the model reads; None where it reads none."""
        return None if self.model.fusion is None else self.model.fusion.codes

    @property
    def temperature(self) -> float:
        """By which logits are divided before they become probabilities; 1 without a calibration."""
        return 1.0 if self.class_calibration is None else float(self.class_calibration.temperature)

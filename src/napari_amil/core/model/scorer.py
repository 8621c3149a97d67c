"""Everything behind the detector: network, anomaly model, class names and a sample of control cells."""

from __future__ import annotations

from dataclasses import dataclass

from napari_amil.core.anomaly.control_sample import ControlSample
from napari_amil.core.anomaly.model import AnomalyModel
from napari_amil.core.mil.class_calibration import ClassCalibration
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

"""Predictions of a fitted model on test bags, kept as tensors and measured later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_amil.core.anomaly.channels import LATENT, column_of
from napari_amil.core.anomaly.model import AnomalyModel
from napari_amil.core.anomaly.scorer import CellInputs
from napari_amil.core.base.errors import AmilError
from napari_amil.core.base.types import Floats
from napari_amil.core.evaluation.metrics import bag_metrics, cell_metrics
from napari_amil.core.mil.batch import BagArrays
from napari_amil.core.mil.class_calibration import ClassCalibration, class_probability
from napari_amil.core.mil.model import AmilOutput
from napari_amil.core.training.loop import FittedModel
from napari_amil.core.training.steps import aggregate, score_bags


@dataclass(frozen=True, eq=False)
class Predictions:
    """Class probabilities of bags, and scores of their cells.

    Parameters
    ----------
    probabilities
        ``(n_bags, n_classes)`` of the classes.
    lengths
        ``(n_bags,)`` int64 number of cells of each bag.
    p
        ``(n_cells,)`` conformal p-values, bag after bag.
    cells
        ``name -> (n_cells,)`` scores, each larger for more unusual.
    bags
        ``name -> (n_bags,)`` further values of the bags.
    """

    probabilities: Floats
    lengths: NDArray[np.int64]
    p: Floats
    cells: Mapping[str, Floats]
    bags: Mapping[str, Floats] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """Return everything as tensors."""
        arrays = {"probabilities": self.probabilities, "lengths": self.lengths, "p": self.p}
        for group, columns in {"cells": self.cells, "bags": self.bags}.items():
            arrays |= {f"{group}/{name}": values for name, values in columns.items()}
        return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Predictions:
        """Return the predictions from the result of `tensors`."""
        arrays = {name: value.numpy() for name, value in tensors.items()}
        columns: dict[str, dict[str, Floats]] = {"cells": {}, "bags": {}}
        for name, values in arrays.items():
            group, _, column = name.partition("/")
            if column:
                columns[group][column] = values
        return cls(arrays["probabilities"], arrays["lengths"], arrays["p"], **columns)

    def metrics(
        self, labels: NDArray[np.int64], classes: Sequence[str], cell_type: NDArray[Any]
    ) -> dict[str, float]:
        """Return the metrics of bags and, where ``cell_type (n_cells,)`` is known, of cells."""
        found = bag_metrics(labels, self.probabilities, classes)
        return found | (cell_metrics(cell_type, self.cells) if (cell_type != "").any() else {})


def predict(
    fitted: FittedModel,
    anomaly: AnomalyModel,
    bags: BagArrays,
    device: torch.device,
    inputs: CellInputs | None = None,
    classes: ClassCalibration | None = None,
) -> Predictions:
    """Return the predictions for bags that the model was not trained on.

    Of cells ``anomaly``, the channels of which it is made, and `cell_scores`; of bags ``novelty`` and
    ``novelty_p``, NaN where the anomaly model has none.

    Parameters
    ----------
    inputs
        Inputs of the channels other than the embedding, bag after bag.
    classes
        Calibration of the class probabilities; without one they are the softmax of the logits.

    Raises
    ------
    AmilError
        If a logit is not finite.
    """
    inputs = inputs or CellInputs()
    measured = inputs.measurements
    output, distance = score_bags(fitted.model, fitted.gaussian, bags, device, measured)
    given = {LATENT: distance.double().cpu().numpy()}
    if anomaly.pooled is not None:
        distance = anomaly.pooled(distance, anomaly.pooled_scores(inputs))
        output = aggregate(fitted.model, output.latent, distance, bags, device, measured)
    if not bool(output.logits.isfinite().all()):
        raise AmilError("A logit is not finite, so no class can be named; lower the learning rate.")
    lengths = bags.lengths.numpy()
    channels = anomaly.channel_scores(replace(inputs, scores=given))
    joint = anomaly.anomaly(channels)
    scores: dict[str, NDArray[np.floating]] = {"anomaly": joint}
    scores |= {column_of(name): values for name, values in channels.items()}
    scores |= cell_scores(output, lengths, bags.control_label)
    embedded = output.latent.cpu(), distance, bags.lengths
    columns = {"novelty": anomaly.bag_novelty(embedded), "novelty_p": anomaly.novelty_p(embedded)}
    logits = output.logits.double().cpu().numpy()
    return Predictions(
        class_probability(logits, classes),
        lengths,
        _floats(anomaly.calibration.p_value(joint)),
        {name: _floats(values) for name, values in scores.items() if not np.isnan(values).all()},
        columns,
    )


def cell_scores(
    output: AmilOutput, lengths: NDArray[np.int64], control: int
) -> dict[str, NDArray[np.floating]]:
    """Return the scores that the network gives to each cell ``(n_cells,)``.

    ``attention_x_n`` and ``pool_weight`` as in the table of cells; ``contribution_predicted`` is what
    the cell adds to the logit of the class that its bag is taken for, and ``contribution_disease``
    what it adds to the mean logit of the diseases above that of the control class, whatever the bag is
    taken for. ``sic`` is 1 minus the probability of the control class of the single-instance classifier.
    """
    bag = np.repeat(np.arange(len(lengths)), lengths)
    contribution = output.contribution.cpu().numpy()  # (n_cells, n_classes)
    predicted = output.logits.argmax(dim=1).cpu().numpy()[bag]
    diseases = np.delete(contribution, control, axis=1)
    scores = {
        "attention_x_n": output.attention.cpu().numpy() * lengths[bag],
        "pool_weight": output.pool_weight.cpu().numpy(),
        "contribution_predicted": contribution[np.arange(len(bag)), predicted],
        "contribution_disease": diseases.mean(axis=1) - contribution[:, control],
    }
    if output.sic_logits is not None:
        scores["sic"] = 1.0 - output.sic_logits.softmax(dim=2).mean(dim=1)[:, control].cpu().numpy()
    return scores


def _floats(values: NDArray[Any]) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float64)

"""What a model says of bags: scores by hand, and back from the tensors that keep them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_amil.core.base.settings import ModelSettings
from napari_amil.core.evaluation.predictions import Predictions, cell_scores
from napari_amil.core.mil.model import AmilModel


def test_scores_of_cells_follow_from_the_output() -> None:
    settings = ModelSettings(latent_dim=4, attention_dim=4, measurement_columns=0, pooling="attention")
    model = AmilModel(settings, 3).eval()
    lengths = np.array([2, 3])
    with torch.no_grad():
        output = model.aggregate(torch.randn(5, 4), torch.from_numpy(lengths))
    scores = cell_scores(output, lengths, control=1)
    np.testing.assert_allclose(scores["attention_x_n"][:2].sum(), 2.0, rtol=1e-5)
    np.testing.assert_allclose(scores["attention_x_n"][2:].sum(), 3.0, rtol=1e-5)
    contribution = output.contribution.numpy()
    predicted = output.logits.argmax(dim=1).numpy()[[0, 0, 1, 1, 1]]
    np.testing.assert_allclose(scores["contribution_predicted"], contribution[range(5), predicted])
    expected = (contribution[:, 0] + contribution[:, 2]) / 2 - contribution[:, 1]
    np.testing.assert_allclose(scores["contribution_disease"], expected, rtol=1e-5)
    assert ((scores["sic"] > 0) & (scores["sic"] < 1)).all()


def test_predictions_survive_as_tensors() -> None:
    said = Predictions(
        np.array([[0.2, 0.8]]),
        np.array([2]),
        np.array([0.1, 0.9]),
        {"anomaly": np.array([3.0, 1.0])},
        {"novelty_p": np.array([0.5])},
    )
    again = Predictions.of_tensors(said.tensors())
    for name in ("probabilities", "lengths", "p"):
        np.testing.assert_array_equal(getattr(again, name), getattr(said, name))
    np.testing.assert_array_equal(again.cells["anomaly"], [3.0, 1.0])
    np.testing.assert_array_equal(again.bags["novelty_p"], [0.5])


def test_cells_are_measured_only_where_their_type_is_known() -> None:
    said = Predictions(np.array([[0.2, 0.8]]), np.array([2]), np.ones(2), {"anomaly": np.array([3.0, 1.0])})
    labels, classes = np.array([1]), ("control", "ill")
    assert "cell_auroc_anomaly" not in said.metrics(labels, classes, np.array(["", ""]))
    found = said.metrics(labels, classes, np.array(["normal", "burr"]))
    assert found["cell_auroc_anomaly"] == pytest.approx(0.0)

"""The published early stop counts small losses and never starts again."""

from __future__ import annotations

import pytest

from napari_amil.core.base.settings import TrainingSettings
from napari_amil.core.training.state import early_stop_reached

LOSSES = [1.0, 2e-4, 1.0, 2e-4, 2e-4, 3e-4, 1e-5]


@pytest.mark.parametrize(
    ("early_stop", "stop_count", "n_epochs"),
    [
        ("cumulative", 1, 2),
        ("cumulative", 3, 5),
        ("cumulative", 4, 7),  # a loss of stop_loss itself does not count
        ("consecutive", 1, 2),
        ("consecutive", 2, 5),
        ("consecutive", 3, None),
        ("cumulative", 5, None),
        ("none", 1, None),
    ],
)
def test_the_epoch_that_ends_the_training(early_stop: str, stop_count: int, n_epochs: int | None) -> None:
    settings = TrainingSettings.parse({"early_stop": early_stop, "stop_count": stop_count, "stop_loss": 3e-4})
    ends = [n for n in range(len(LOSSES) + 1) if early_stop_reached(LOSSES[:n], settings)]
    assert (ends[0] if ends else None) == n_epochs

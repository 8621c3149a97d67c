"""A draw of patients has the fit that its cells would have by themselves."""

from __future__ import annotations

import numpy as np

from napari_amil.core.anomaly.morphology.refits import MorphologyRefits
from napari_amil.core.anomaly.morphology.statistics import ControlMorphology
from napari_amil.core.morphology.measures import NAMES

RNG = np.random.default_rng(0)
PATIENTS = np.repeat(np.arange(3), 30)
MEASUREMENTS = RNG.normal(size=(90, len(NAMES))) + PATIENTS[:, None]


def test_each_draw_is_fitted_to_the_cells_of_its_patients() -> None:
    drawn = np.array([[0, 1, 2], [2, 2, 0]])
    refits = MorphologyRefits.fit(MEASUREMENTS, PATIENTS, drawn)
    stored = MorphologyRefits(refits.state_dict()).fits
    cells = RNG.normal(size=(7, len(NAMES)))
    twice = np.concatenate([MEASUREMENTS[60:], MEASUREMENTS[60:], MEASUREMENTS[:30]])
    for fit, expected in zip(stored, (MEASUREMENTS, twice), strict=True):
        distance = ControlMorphology.fit(expected).distance(cells)
        np.testing.assert_allclose(fit.distance(cells), distance, rtol=1e-4)


def test_a_draw_of_too_few_cells_is_passed_over() -> None:
    measurements = np.where(PATIENTS[:, None] == 0, np.nan, MEASUREMENTS)
    fit, fallback = MorphologyRefits.fit(measurements, PATIENTS, np.array([[1, 2, 2], [0, 0, 0]])).fits
    expected = ControlMorphology.fit(measurements)
    np.testing.assert_allclose(fallback.distance(MEASUREMENTS), expected.distance(MEASUREMENTS), rtol=1e-4)
    assert not np.allclose(fit.distance(MEASUREMENTS), expected.distance(MEASUREMENTS), rtol=1e-2)

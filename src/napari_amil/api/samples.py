"""Made-up smears and cohorts to try everything on, made in a second, without a download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_amil.api.models import Place
from napari_amil.api.progress import Finished
from napari_amil.core import pipeline


def sample_smear(seed: int = 0) -> NDArray[np.uint8]:
    """Return a made-up field ``(height, width, 3)``, RGB, with normal and abnormal red cells."""
    return pipeline.synthetic_smear(seed, pipeline.SynthSettings()).image


def make_cohort(folder: Place, patients: int = 6, samples: int = 2, seed: int = 0) -> Path:
    """Make a cohort of made-up smears, ``class/patient/image``, and return its folder.

    Parameters
    ----------
    folder
        Folder to write it into.
    patients
        Patients of each class: controls and two diseases.
    samples
        Samples of each patient.
    seed
        The same seed makes the same cohort.
    """
    settings = pipeline.SynthCohortSettings(patients=patients, samples=samples, seed=seed)
    Finished().run(pipeline.writing_synthetic_cohort(Path(folder), settings))
    return Path(folder)

"""See, cell by cell, which cells of a blood smear are unusual, how sure that is, and why.

A blood sample is a bag of cells of which only the bag has a label. A Mask R-CNN finds the
cells, an encoder embeds each one, a Gaussian fitted to cells of healthy controls gives each
cell an anomaly score, an attention network says how much it matters, and both together pool
the bag (Kazeminia et al., MICCAI 2022).

The names below are the public Python interface (`napari_amil.api`); each is imported when it is
first used. ``napari_amil.core`` holds the science and knows neither Qt nor napari;
``napari_amil.plugin`` shows it; ``napari_amil.cli`` runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_amil.core.base.lazy_names import lazy_names

__version__ = "0.1.0"

if TYPE_CHECKING:
    from napari_amil.api.cell_typing import classify
    from napari_amil.api.detection import Detections, detect
    from napari_amil.api.models import Model, load_model
    from napari_amil.api.progress import AmilWarning
    from napari_amil.api.results import Results, load_results
    from napari_amil.api.samples import make_cohort, sample_smear
    from napari_amil.api.scoring import Evaluation, evaluate, score
    from napari_amil.api.training import Calibration, Training, calibrate, train
    from napari_amil.core.base.errors import AmilError
    from napari_amil.core.pipeline.cell_typing import Typed
else:
    __getattr__, __dir__ = lazy_names(__name__, __file__)

__all__ = [
    "AmilError",
    "AmilWarning",
    "Calibration",
    "Detections",
    "Evaluation",
    "Model",
    "Results",
    "Training",
    "Typed",
    "__version__",
    "calibrate",
    "classify",
    "detect",
    "evaluate",
    "load_model",
    "load_results",
    "make_cohort",
    "sample_smear",
    "score",
    "train",
]

"""A small made-up smear and a detector with random weights stand in for large ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchvision.models.detection import MaskRCNN

from napari_amil.core.cohort.synth import SyntheticSmear, SynthSettings, synthetic_smear
from napari_amil.core.detection.augment import AnnotatedField
from napari_amil.core.detection.network import build_detector
from napari_amil.core.detection.train import first_annotation
from napari_amil.core.images.normalise import normalise


@pytest.fixture(scope="session")
def smear() -> SyntheticSmear:
    """A field of 256 x 320 pixels with normal cells that keep apart."""
    settings = SynthSettings(
        height=256, width=320, n_cells=24, abnormal={}, overlapping=0, faint=0, n_platelets=2
    )
    return synthetic_smear(5, settings)


@pytest.fixture(scope="session")
def normalised(smear: SyntheticSmear) -> NDArray[np.float32]:
    return normalise(smear.image)


@pytest.fixture(scope="session")
def annotated(normalised: NDArray[np.float32]) -> AnnotatedField:
    field = first_annotation(normalised)
    assert field is not None
    return field


@pytest.fixture(scope="session")
def detector() -> MaskRCNN:
    """The light network as it is built: it finds nonsense, but every part of it runs."""
    torch.manual_seed(0)
    return build_detector().eval()

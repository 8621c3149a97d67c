"""One model, one file: every tensor that a score needs, and a card that says where it comes from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from napari_amil.core.anomaly.calibration import Calibration
from napari_amil.core.anomaly.control_sample import ControlSample
from napari_amil.core.anomaly.gaussian.mahalanobis import LatentGaussian
from napari_amil.core.anomaly.gaussian.refits import ControlMoments
from napari_amil.core.anomaly.joint import JointDistance
from napari_amil.core.anomaly.morphology.refits import MorphologyRefits
from napari_amil.core.anomaly.morphology.statistics import ControlMorphology
from napari_amil.core.anomaly.novelty import BagNovelty
from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.files import regular_file
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.tensorfile import write_tensors
from napari_amil.core.detection.network import Backbone, build_detector
from napari_amil.core.mil.model import AmilModel
from napari_amil.core.model.scorer import Scorer
from napari_amil.core.morphology.measures import NAMES

FORMAT = "napari-amil bundle"
FORMAT_VERSION = 2
_FIRST_PARTS = ("model", "gaussian", "calibration")
_LATER_PARTS = ("moments", "novelty", "morphology", "controls", "joint", "refits")
INTENDED_USE = "For research only; not a medical device and not for diagnosis."


@dataclass(frozen=True, eq=False)
class Bundle:
    """A detector, a scorer or both, with the settings that they were trained with.

    Parameters
    ----------
    settings
        Settings of the run; normalisation and crops must stay as they were in training.
    detector
        Mask R-CNN, or None.
    backbone
        Which one (`build_detector`).
    scorer
        Everything behind the detector, or None.
    card
        What it was trained on, how long, with which results; plain JSON values.
    """

    settings: RunSettings
    detector: MaskRCNN | None = None
    backbone: Backbone = "light"
    scorer: Scorer | None = None
    card: dict[str, Any] = field(default_factory=dict)

    def need_detector(self) -> MaskRCNN:
        """Return the detector.

        Raises
        ------
        BundleError
            If the bundle has none.
        """
        if self.detector is None:
            raise BundleError(
                "This bundle holds no detector; choose another bundle or give cells with your images."
            )
        return self.detector

    def need_scorer(self) -> Scorer:
        """Return the scorer.

        Raises
        ------
        BundleError
            If the bundle has none.
        """
        if self.scorer is None:
            raise BundleError(
                "This bundle finds cells but cannot score them; choose one made by 'napari-amil train'."
            )
        return self.scorer

    def with_card(self, **entries: Any) -> Bundle:  # noqa: ANN401
        """Return the bundle with more entries on its card."""
        return replace(self, card={**self.card, **entries})


def starter_path() -> Path:
    """Return the path of the bundle that ships with the program."""
    return Path(str(resources.files("napari_amil") / "starter" / "starter.safetensors"))


def save_bundle(bundle: Bundle, path: Path) -> None:
    """Write a bundle as one safetensors file, atomically; its header holds the card."""
    tensors: dict[str, Tensor] = {}
    header: dict[str, Any] = {"settings": bundle.settings.model_dump(mode="json"), "card": bundle.card}
    if bundle.detector is not None:
        tensors |= _prefixed("detector/", bundle.detector.state_dict())
        header["backbone"] = bundle.backbone
    if bundle.scorer is not None:
        scorer = bundle.scorer
        for name in _FIRST_PARTS + _LATER_PARTS:
            part = getattr(scorer, name)
            tensors |= {} if part is None else _prefixed(f"{name}/", part.state_dict())
        header |= {"classes": list(scorer.classes), "in_channels": scorer.in_channels}
        header |= {"n_measurements": scorer.n_measurements, "measurements": list(NAMES)}
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "bundle": json.dumps(header)}
    write_tensors(tensors, metadata, path)


def read_card(path: Path) -> dict[str, Any]:
    """Return header and card of a bundle without reading its tensors.

    Raises
    ------
    BundleError
        If the file is missing, not a bundle, or of another format version.
    """
    try:
        with safetensors.safe_open(regular_file(path, BundleError), framework="numpy") as stored:
            metadata = stored.metadata() or {}
    except (OSError, safetensors.SafetensorError) as error:
        raise BundleError(f"Cannot read the bundle '{path}': {error}.") from error
    if metadata.get("format") != FORMAT:
        raise BundleError(
            f"'{path}' is a safetensors file but no bundle of napari-amil; choose another file."
        )
    if metadata["format_version"] != str(FORMAT_VERSION):
        raise BundleError(
            f"The bundle '{path}' has format version {metadata['format_version']}, but this program reads "
            f"version {FORMAT_VERSION}; install the version of napari-amil that made it."
        )
    header: dict[str, Any] = json.loads(metadata["bundle"])
    return header


def load_bundle(path: Path | None = None) -> Bundle:
    """Return the bundle in ``path``, or the starter bundle, ready to be used (evaluation mode, CPU).

    Raises
    ------
    BundleError
        As `read_card`; also if tensors are missing or do not fit.
    """
    path = path or starter_path()
    header = read_card(path)
    tensors = safetensors.torch.load_file(path)
    settings = RunSettings.parse(header["settings"])
    backbone: Backbone = header.get("backbone", "light")
    try:
        detector = None
        if "backbone" in header:
            detector = build_detector(backbone)
            detector.load_state_dict(_unprefixed("detector/", tensors))
            detector.eval()
        scorer = _load_scorer(header, settings, tensors) if "classes" in header else None
    except (KeyError, RuntimeError) as error:
        raise BundleError(f"The tensors of the bundle '{path}' do not fit its settings: {error}.") from error
    return Bundle(settings, detector, backbone, scorer, header["card"])


def _load_scorer(header: dict[str, Any], settings: RunSettings, tensors: dict[str, Tensor]) -> Scorer:
    """Return the scorer that the tensors hold."""
    classes = tuple(header["classes"])
    sizes = header["in_channels"], header["n_measurements"]
    model = AmilModel(settings.model, len(classes), *sizes)
    model.load_state_dict(_unprefixed("model/", tensors))
    gaussian = LatentGaussian(model.embedding_dim)
    gaussian.load_state_dict(_unprefixed("gaussian/", tensors))
    calibration = Calibration.from_state(_unprefixed("calibration/", tensors))
    moments, novelty, morphology, controls, joint, refits = (
        _unprefixed(f"{name}/", tensors) for name in _LATER_PARTS
    )
    same_measures = tuple(header.get("measurements", NAMES)) == NAMES
    if (settings.model.measured or joint) and not same_measures:
        raise BundleError(
            "The model uses measurements that this program does not make; install the version of "
            "napari-amil that made it."
        )
    return Scorer(
        model.eval(),
        gaussian,
        calibration,
        classes,
        *sizes,
        ControlMoments.from_state(moments) if moments else None,
        BagNovelty.from_state(novelty) if novelty else None,
        ControlMorphology.from_state(morphology) if morphology and same_measures else None,
        ControlSample.from_state(controls) if controls else None,
        JointDistance.from_state(joint) if joint else None,
        MorphologyRefits(refits) if refits and same_measures else None,
    )


def _prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def _unprefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

"""Bundles: a detector and a scorer in one safetensors file, with settings and a card of their origin."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast, get_args

import safetensors.torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from napari_amil.core.anomaly.channels import MORPH
from napari_amil.core.anomaly.control_sample import ControlSample
from napari_amil.core.anomaly.model import AnomalyModel
from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.files import decoding
from napari_amil.core.base.settings import RunSettings
from napari_amil.core.base.tensorfile import write_tensors
from napari_amil.core.detection.network import Backbone, build_detector, kinds_of
from napari_amil.core.mil.class_calibration import ClassCalibration
from napari_amil.core.mil.clinical import ClinicalCodes
from napari_amil.core.mil.model import AmilModel
from napari_amil.core.model import format_2
from napari_amil.core.model.card import FORMAT, FORMAT_VERSION, OLDER_VERSION, read_header, starter_path
from napari_amil.core.model.scorer import Scorer
from napari_amil.core.morphology.names import MEASUREMENTS

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
        Training data, time and results; plain JSON values.
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


def save_bundle(bundle: Bundle, path: Path) -> None:
    """Write a bundle as one safetensors file, atomically; its header holds the card."""
    tensors: dict[str, Tensor] = {}
    header: dict[str, Any] = {"settings": bundle.settings.model_dump(mode="json"), "card": bundle.card}
    if bundle.detector is not None:
        tensors |= _prefixed("detector/", bundle.detector.state_dict())
        header["backbone"] = bundle.backbone
    if bundle.scorer is not None:
        scorer, measured = bundle.scorer, MEASUREMENTS[bundle.settings.model.cells]
        fitted, header["anomaly"] = scorer.anomaly.state()
        tensors |= _prefixed("model/", scorer.model.state_dict()) | _prefixed("anomaly/", fitted)
        tensors |= {} if scorer.controls is None else _prefixed("controls/", scorer.controls.state_dict())
        classes = scorer.class_calibration
        tensors |= {} if classes is None else _prefixed("classes/", classes.state_dict())
        header |= {"classes": list(scorer.classes), "in_channels": scorer.in_channels}
        header |= {"n_measurements": scorer.n_measurements, "measurements": list(measured)}
        if scorer.clinical is not None:
            header["clinical"] = scorer.clinical.record()
        if not math.isnan(scorer.threshold):
            header["threshold"] = scorer.threshold
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION), "bundle": json.dumps(header)}
    write_tensors(tensors, metadata, path)


def load_bundle(path: Path | None = None) -> Bundle:
    """Return the bundle in ``path``, or the starter bundle, ready to be used (evaluation mode, CPU).

    Raises
    ------
    BundleError
        As `read_card`; also if tensors are missing, do not fit or are not finite, or a name is unusable.
    """
    path = path or starter_path()
    version, header = read_header(path)
    with decoding(path, "cannot be read as a bundle", "copy or export it again", BundleError):
        tensors = safetensors.torch.load_file(path)
    settings = RunSettings.parse(header["settings"])
    if version == OLDER_VERSION and "classes" in header:
        header, tensors = format_2.converted(header, tensors)
    _check_finite(tensors, path)
    backbone: Backbone = _known_backbone(header.get("backbone", "light"), path)
    try:
        detector = None
        if "backbone" in header:
            weights = _unprefixed("detector/", tensors)
            detector = build_detector(backbone, kinds_of(weights))
            detector.load_state_dict(weights)
            detector.eval()
        scorer = _load_scorer(header, settings, tensors) if "classes" in header else None
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise BundleError(f"The tensors of the bundle '{path}' do not fit its settings: {error}.") from error
    return Bundle(settings, detector, backbone, scorer, header["card"])


def _check_finite(tensors: dict[str, Tensor], path: Path) -> None:
    """Refuse tensors with NaN or infinite values: results from them would look valid."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise BundleError(
                f"The tensor '{name}' of the bundle '{path}' holds values that are not finite; use an "
                "undamaged copy, or train again with a lower learning rate."
            )


def _known_backbone(name: object, path: Path) -> Backbone:
    """Return the name of a backbone, or refuse it."""
    for known in get_args(Backbone):
        if name == known:
            return cast(Backbone, known)
    raise BundleError(
        f"The bundle '{path}' has the detector backbone '{name}', but this program knows "
        f"{' and '.join(get_args(Backbone))}; install the version of napari-amil that made it."
    )


def _load_scorer(header: dict[str, Any], settings: RunSettings, tensors: dict[str, Tensor]) -> Scorer:
    """Return the scorer that the tensors hold."""
    classes = tuple(header["classes"])
    repeated = [name for name in classes if classes.count(name) > 1]
    if repeated:
        raise BundleError(
            f"The bundle names the class '{repeated[0]}' twice, so that its scores are ambiguous."
        )
    sizes = header["in_channels"], header["n_measurements"]
    codes = ClinicalCodes.from_record(header["clinical"]) if "clinical" in header else None
    model = AmilModel(settings.model, len(classes), *sizes, codes)
    later = ("reference_", "profile.")  # which older bundles do not have
    unmoved = {name: v for name, v in model.state_dict().items() if name.startswith(later)}
    model.load_state_dict(unmoved | _unprefixed("model/", tensors))
    names = _usable(header, settings)
    anomaly = AnomalyModel.from_state(_unprefixed("anomaly/", tensors), names, settings.model)
    if anomaly.gaussian.latent_dim != model.embedding_dim:
        raise ValueError(f"embeddings have {model.embedding_dim} numbers, not {anomaly.gaussian.latent_dim}")
    controls = _unprefixed("controls/", tensors)
    sample = ControlSample.from_state(controls) if controls else None
    calibrated = _unprefixed("classes/", tensors)
    calibration = ClassCalibration.from_state(calibrated) if calibrated else None
    threshold, control = header.get("threshold", math.nan), settings.control
    return Scorer(model.eval(), anomaly, classes, *sizes, sample, calibration, threshold, control)


def _usable(header: dict[str, Any], settings: RunSettings) -> dict[str, Any]:
    """Return the names of the parts of the anomaly model, without measurements that are made no longer.

    Raises
    ------
    BundleError
        If the scores need these measurements.
    """
    names: dict[str, Any] = header["anomaly"]
    made = MEASUREMENTS[settings.model.cells]
    if tuple(header.get("measurements", made)) == made:
        return names
    if settings.model.measured or MORPH in names["joined"]:
        raise BundleError(
            "The model uses measurements that this program does not make; install the version of "
            "napari-amil that made it."
        )
    return names | {"channels": [name for name in names["channels"] if name != MORPH]}


def _prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def _unprefixed(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

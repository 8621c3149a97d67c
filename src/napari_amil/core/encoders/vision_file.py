"""Vision models of other people in a local file: TorchScript, ONNX, or weights of a timm architecture."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.files import decoding, file_sha256
from napari_amil.core.base.optional import optional

FOLDER_VARIABLE = "NAPARI_AMIL_ENCODERS"
"""Environment variable that names a folder in which encoder files are looked for by name."""
TORCHSCRIPT, ONNX, WEIGHTS = (".pt", ".ts", ".torchscript"), ".onnx", ".safetensors"
_PICKLED = (".pth", ".bin", ".ckpt", ".pkl", ".tar")
_CLASSIFIERS = ("head.", "fc.", "classifier.", "head_dist.")


@dataclass(frozen=True, eq=False)
class VisionModel:
    """A network from images to features, and the SHA-256 of its file.

    Parameters
    ----------
    embed
        Maps standardised images ``(n, 3, size, size)`` to features ``(n, d)``.
    n_features
        Length d of the features.
    sha256
        Of the file.
    """

    embed: Callable[[Tensor], Tensor]
    n_features: int
    sha256: str


def find_file(file: str) -> Path:
    """Return the path of an encoder file, in the folder that ``NAPARI_AMIL_ENCODERS`` names if it moved.

    Raises
    ------
    BundleError
        If it is in neither place.
    """
    if not file:
        raise BundleError(
            "The encoder 'external' needs a file: set model.external_file to a TorchScript, ONNX or "
            "safetensors file."
        )
    given = Path(file)
    moved = Path(os.environ.get(FOLDER_VARIABLE, "."), given.name)
    for path in (given, moved):
        if path.is_file():
            return path.resolve()
    raise BundleError(
        f"There is no encoder file '{file}'; put it back, or name the folder that holds '{given.name}' with "
        f"the environment variable {FOLDER_VARIABLE}."
    )


def open_vision_model(file: str, architecture: str, size_px: int) -> VisionModel:
    """Return the model in a file; one that is open already and has not changed is not read again.

    Parameters
    ----------
    file
        Path; the suffix says the kind.
    architecture
        Name of the timm architecture whose weights a safetensors file holds.
    size_px
        Side of the images that it will see.

    Raises
    ------
    BundleError
        If the file is missing, a pickle, or holds no such model.
    MissingExtraError
        If timm or onnxruntime is not installed.
    """
    path = find_file(file)
    status = path.stat()
    return _opened(path, architecture, size_px, (status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=2)
def _opened(path: Path, architecture: str, size_px: int, _stamp: tuple[int, int]) -> VisionModel:
    suffix = path.suffix.lower()
    if suffix in TORCHSCRIPT:
        embed = _torchscript(path)
    elif suffix == ONNX:
        embed = _onnx(path)
    elif suffix == WEIGHTS:
        embed = _timm(path, architecture, size_px)
    else:
        raise BundleError(_unsuited(path))
    with decoding(
        path, f"cannot embed images of {size_px} pixels", "set model.external_size_px", BundleError
    ):
        n_features = int(embed(torch.zeros(1, 3, size_px, size_px)).shape[1])
    return VisionModel(embed, n_features, file_sha256(path))


def _unsuited(path: Path) -> str:
    if path.suffix.lower() in _PICKLED:
        return (
            f"'{path}' is a pickle, which can run any program and is never opened here; save its weights "
            "with safetensors.torch.save_file, or the model with torch.jit.trace, where you trust it."
        )
    kinds = ", ".join((*TORCHSCRIPT, ONNX, WEIGHTS))
    return f"'{path}' is no encoder file; give one of {kinds}."


def _torchscript(path: Path) -> Callable[[Tensor], Tensor]:
    """Return the function of a TorchScript file."""
    remedy = "write it with torch.jit.trace(model, image).save(file)"
    with decoding(path, "is no TorchScript file", remedy, BundleError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch calls the format deprecated
        model = torch.jit.load(str(path), map_location="cpu").eval()
    return _on_device_of_input(model)


def _timm(path: Path, architecture: str, size_px: int) -> Callable[[Tensor], Tensor]:
    """Return the function of a timm architecture with the weights of a file; nothing is downloaded."""
    timm = optional("timm")
    if architecture not in timm.list_models():
        raise BundleError(
            f"timm knows no architecture '{architecture}'; set model.external_architecture to one of "
            "timm.list_models(), such as 'vit_small_patch14_dinov2'."
        )
    options = {"pretrained": False, "num_classes": 0}
    try:
        model: nn.Module = timm.create_model(architecture, img_size=size_px, **options)
    except TypeError:  # a convolutional network takes images of any size
        model = timm.create_model(architecture, **options)
    with decoding(path, "holds no weights", "save them with safetensors.torch.save_file", BundleError):
        weights = safetensors.torch.load_file(path)
        kept = {name: value for name, value in weights.items() if not name.startswith(_CLASSIFIERS)}
        model.load_state_dict(kept)
    return _on_device_of_input(model.eval())


def _on_device_of_input(model: nn.Module) -> Callable[[Tensor], Tensor]:
    for parameter in model.parameters():  # a TorchScript module has no requires_grad_
        parameter.requires_grad_(False)

    def embed(images: Tensor) -> Tensor:
        return _flat(model.to(images.device)(images))

    return embed


def _onnx(path: Path) -> Callable[[Tensor], Tensor]:
    """Return the function of an ONNX file, which runs on the processor."""
    runtime = optional("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with decoding(path, "is no ONNX file", "export it again with torch.onnx.export", BundleError):
        try:
            session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ValueError(str(error)) from error
    name = session.get_inputs()[0].name

    def embed(images: Tensor) -> Tensor:
        found = session.run(None, {name: images.detach().cpu().numpy().astype(np.float32)})[0]
        return _flat(torch.from_numpy(np.asarray(found)).to(images.device))

    return embed


def _flat(found: Tensor | tuple[Tensor, ...]) -> Tensor:
    """Return features ``(n, d)``: the first output, the class token, or the mean of a feature map."""
    features = found[0] if isinstance(found, tuple | list) else found
    if features.ndim == 3:
        features = features[:, 0]
    if features.ndim == 4:
        features = features.mean(dim=(2, 3))
    if features.ndim != 2:
        raise ValueError(f"its output has {features.ndim} axes, not features (n, d)")
    return features.float()

"""COCO weights that a user brings along, as torchvision offers them."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.files import regular_file

_LEAST_FITTING = 200  # tensors of the backbone that a file must bring along


def load_coco_weights(model: MaskRCNN, path: Path) -> None:
    """Fill the ResNet-50 network from a user's file of torchvision COCO weights; heads stay untrained.

    Parameters
    ----------
    model
        The network (`napari_amil.core.detection.network.build_detector`).
    path
        State dict of ``maskrcnn_resnet50_fpn`` as .pth, of which nothing but tensors is loaded, or as
        .safetensors.

    Raises
    ------
    BundleError
        If the file is no such state dict.
    """
    state = _state(path)
    own = model.state_dict()
    fitting = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    if sum(key.startswith("backbone.") for key in fitting) < _LEAST_FITTING:
        raise BundleError(
            f"'{path}' holds no weights of maskrcnn_resnet50_fpn; give torchvision's COCO file."
        )
    model.load_state_dict(fitting, strict=False)


def _state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name."""
    regular_file(path, BundleError)
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises anything on a foreign file
        raise BundleError(
            f"'{path}' is not a file of torch weights; give torchvision's COCO file as .pth or .safetensors."
        ) from error

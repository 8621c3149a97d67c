"""COCO weights come from .pth or .safetensors files, and nothing else is taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torchvision.models.detection import MaskRCNN

from napari_amil.core.base.errors import BundleError
from napari_amil.core.detection.network import build_detector
from napari_amil.core.detection.weights import load_coco_weights


def test_foreign_weights_are_refused(tmp_path: Path, detector: MaskRCNN) -> None:
    text, other = tmp_path / "weights.txt", tmp_path / "other.pt"
    text.write_text("no weights")
    torch.save({"layer.weight": torch.zeros(3)}, other)
    with pytest.raises(BundleError, match=r"weights\.txt.*torchvision's COCO file"):
        load_coco_weights(detector, text)
    with pytest.raises(BundleError, match=r"other\.pt.*maskrcnn_resnet50_fpn"):
        load_coco_weights(detector, other)


def test_coco_weights_fill_the_backbone_of_the_large_network(tmp_path: Path) -> None:
    source = build_detector("resnet50")
    path = tmp_path / "coco.pt"
    half = torch.tensor(0.5)  # expanded: a file of 45 M weights that takes no space
    state = {key: half.expand(value.shape) for key, value in source.state_dict().items()}
    state["roi_heads.box_predictor.cls_score.weight"] = torch.zeros(91, 1024)  # 91 classes of COCO
    torch.save(state, path)
    load_coco_weights(source, path)
    filled = source.state_dict()
    assert float(filled["backbone.body.conv1.weight"].mean()) == 0.5
    assert filled["roi_heads.box_predictor.cls_score.weight"].shape == (2, 1024)


def test_safetensors_are_read_and_damaged_ones_refused(tmp_path: Path, detector: MaskRCNN) -> None:
    path = tmp_path / "coco.safetensors"
    path.write_bytes(b"cut")
    with pytest.raises(BundleError, match=r"coco\.safetensors' is not a file of torch weights"):
        load_coco_weights(detector, path)
    safetensors.torch.save_file({"layer.weight": torch.zeros(3)}, path)
    with pytest.raises(BundleError, match=r"coco\.safetensors' holds no weights of maskrcnn"):
        load_coco_weights(detector, path)

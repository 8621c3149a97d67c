"""The network, its weights and its losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.image_list import ImageList

from napari_amil.core.base.errors import BundleError
from napari_amil.core.detection.network import (
    FEATURE_CHANNELS,
    RED,
    ROI_SIZE,
    WHITE,
    LightBackbone,
    build_detector,
    detection_losses,
    kinds_of,
    load_coco_weights,
    with_white_cells,
)


def n_proposals(model: MaskRCNN, height: int, width: int) -> int:
    images = ImageList(torch.rand(1, 3, height, width), [(height, width)])
    strides = {"0": 4, "1": 8, "2": 16}
    features = {key: torch.randn(1, FEATURE_CHANNELS, height // s, width // s) for key, s in strides.items()}
    with torch.inference_mode():
        return len(model.rpn(images, features)[0][0])


def test_the_light_network_is_light(detector: MaskRCNN) -> None:
    n_parameters = sum(p.numel() for p in detector.parameters())
    assert 2.5e6 < n_parameters < 4.5e6
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in detector.modules())


def test_a_detector_learns_white_cells_without_forgetting_red_ones(detector: MaskRCNN) -> None:
    assert kinds_of(detector.state_dict()) == RED
    wider = with_white_cells(detector, "light").eval()
    assert kinds_of(wider.state_dict()) == WHITE
    assert with_white_cells(wider, "light") is wider
    old, new = detector.roi_heads, wider.roi_heads
    seen = torch.rand(3, 256)
    scores, boxes = new.box_predictor(seen)
    known, places = old.box_predictor(seen)
    torch.testing.assert_close(scores[:, :2], known)
    torch.testing.assert_close(scores[:, WHITE], torch.full((3,), -2.0))
    torch.testing.assert_close(boxes[:, :8], places)
    torch.testing.assert_close(boxes[:, 8:], places[:, 4:])
    maps = torch.rand(1, 64, 14, 14)
    torch.testing.assert_close(new.mask_predictor(maps)[:, :2], old.mask_predictor(maps))
    assert sum(p.numel() for p in wider.parameters()) < 1.001 * sum(p.numel() for p in detector.parameters())


def test_the_pyramid_has_strides_4_8_and_16() -> None:
    features = LightBackbone()(torch.rand(1, 3, 64, 96))
    assert {key: tuple(value.shape) for key, value in features.items()} == {
        "0": (1, 64, 16, 24),
        "1": (1, 64, 8, 12),
        "2": (1, 64, 4, 6),
    }


def test_no_image_of_a_batch_changes_another(detector: MaskRCNN) -> None:
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        together, alone = detector.backbone(images)["0"][:1], detector.backbone(images[:1])["0"]
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_the_mask_head_sees_maps_of_14_pixels(detector: MaskRCNN) -> None:
    assert detector.roi_heads.mask_roi_pool.output_size == (ROI_SIZE, ROI_SIZE)
    assert detector.backbone.out_channels == FEATURE_CHANNELS


def test_the_number_of_proposals_grows_with_the_field(detector: MaskRCNN) -> None:
    small, large = n_proposals(detector, 256, 256), n_proposals(detector, 960, 960)
    assert small <= 1000
    n_cells_of_a_full_field = 960 * 960 / (np.pi / 4 * 40**2)
    assert large > 2 * n_cells_of_a_full_field


def test_losses_are_finite_and_fall_when_one_crop_is_learned() -> None:
    torch.manual_seed(0)
    model = build_detector().train()
    image = torch.ones(1, 3, 128, 128)
    image[:, :, 40:80, 40:80] = 0.4
    mask = (image[:, 0] < 0.5).to(torch.uint8)
    target = {"boxes": torch.tensor([[40.0, 40, 80, 80]]), "labels": torch.tensor([1]), "masks": mask}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    totals = []
    for _ in range(6):
        losses = detection_losses(model, image, [target])
        assert set(losses) == {
            *("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask")
        }
        total = torch.stack(list(losses.values())).sum()
        totals.append(float(total.detach()))
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    assert all(0 < value < 100 for value in totals)
    assert totals[-1] < 0.8 * totals[0]


def test_a_crop_without_cells_has_losses_too() -> None:
    torch.manual_seed(0)
    model = build_detector().train()
    target = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, 128, 128, dtype=torch.uint8),
    }
    losses = detection_losses(model, torch.ones(1, 3, 128, 128), [target])
    assert all(torch.isfinite(value) for value in losses.values())


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


class Hostile:
    """Pickled, it makes a file when it is read."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.made,)  # type: ignore[return-value]


def test_weights_run_no_code(tmp_path: Path) -> None:
    made = tmp_path / "made"
    torch.save({"backbone.body.conv1.weight": Hostile(made)}, tmp_path / "hostile.pth")
    with pytest.raises(BundleError, match=r"hostile\.pth' is not a file of torch weights"):
        load_coco_weights(build_detector("light"), tmp_path / "hostile.pth")
    assert not made.exists()
    torch.load(tmp_path / "hostile.pth", weights_only=False)
    assert made.exists()

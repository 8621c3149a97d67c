"""Mask R-CNN for small round objects: layers, COCO weights and losses."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import fastrcnn_loss, maskrcnn_loss
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from napari_amil.core.base.errors import BundleError
from napari_amil.core.base.files import regular_file

Backbone = Literal["light", "resnet50"]
FEATURE_CHANNELS = 64
RED, WHITE = 1, 2
"""Classes of the detector; one that knows no white cells has the first alone."""
_UNLIKELY = -2.0  # logit of white cells before any was seen
ROI_SIZE = 14  # side of the RoI feature maps that the mask head sees
_WIDTHS = (48, 96, 192)  # at strides 4, 8 and 16
_MAX_PROPOSALS = 500
_PX_PER_ANCHOR = 150  # about the usual 2,000 for a field of 640 x 480
_PX_PER_PROPOSAL = 500  # a typical cell has 1,250: two to three proposals for each cell of a full field


def _norm(channels: int) -> nn.Module:
    """Return GroupNorm with groups of eight or more channels; it does not depend on the batch."""
    return nn.GroupNorm(max(channels // 16, 1), channels)


def _stage(inputs: int, outputs: int, n_blocks: int, stride: int) -> nn.Sequential:
    """Return residual blocks, the first of which changes width and stride."""
    shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), _norm(outputs))
    blocks = [BasicBlock(inputs, outputs, stride, shortcut, norm_layer=_norm)]
    blocks += [BasicBlock(outputs, outputs, norm_layer=_norm) for _ in range(n_blocks - 1)]
    return nn.Sequential(*blocks)


class LightBackbone(nn.Module):
    """A residual network of three stages with a 64-channel feature pyramid at strides 4, 8 and 16."""

    out_channels = FEATURE_CHANNELS

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 24, 3, 2, 1, bias=False), _norm(24), nn.ReLU(inplace=True),
            nn.Conv2d(24, _WIDTHS[0], 3, 2, 1, bias=False), _norm(_WIDTHS[0]), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.stages = nn.ModuleList(
            [_stage(_WIDTHS[0], _WIDTHS[0], 1, 1), _stage(*_WIDTHS[:2], 2, 2), _stage(*_WIDTHS[1:], 2, 2)]
        )
        self.fpn = FeaturePyramidNetwork(list(_WIDTHS), FEATURE_CHANNELS)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the pyramid of ``images (n, 3, h, w)``: keys ``0``, ``1``, ``2`` for strides 4, 8, 16."""
        features = OrderedDict()
        x = self.stem(images)
        for level, stage in enumerate(self.stages):
            x = stage(x)
            features[str(level)] = x
        return dict(self.fpn(features))


class _CoarseProposals(RegionProposalNetwork):
    """Proposals from strides 8 and 16 alone: stride 4 serves the heads, not four times the anchors.

    Outside training the numbers of proposals grow with the area of the tile, so that a large crowded
    tile loses no cell to a cap that was meant for a small one.
    """

    _tile_area_px = 0

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        self._tile_area_px = images.tensors.shape[-2] * images.tensors.shape[-1]
        proposals, losses = super().forward(images, {k: features[k] for k in ("1", "2")}, targets)
        return proposals, losses

    def pre_nms_top_n(self) -> int:
        """Return the number of anchors per level that compete: outside training at least one in 150 px^2."""
        cap = int(super().pre_nms_top_n())
        return cap if self.training else max(cap, self._tile_area_px // _PX_PER_ANCHOR)

    def post_nms_top_n(self) -> int:
        """Return the number of proposals that are kept: outside training at least one in 500 px^2."""
        cap = int(super().post_nms_top_n())
        return cap if self.training else max(cap, self._tile_area_px // _PX_PER_PROPOSAL)


def build_detector(backbone: Backbone = "light", n_kinds: int = 1) -> MaskRCNN:
    """Return an untrained Mask R-CNN with the classes background, red cell and, if wanted, white cell.

    ``light`` has 3 M parameters and sees cells of 40 px; ``resnet50`` is torchvision's standard
    network, to be started from a file of COCO weights (`napari_amil.core.detection.network`).
    """
    if backbone == "resnet50":
        model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=1 + n_kinds)
        model.backbone.register_forward_pre_hook(_as_imagenet)
    else:
        model = _light_detector(n_kinds)
    return model


def _as_imagenet(_backbone: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Centre and scale images 0..1 as torchvision's COCO weights expect them."""
    mean = inputs[0].new_tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = inputs[0].new_tensor([0.229, 0.224, 0.225])[:, None, None]
    return ((inputs[0] - mean) / deviation,)


def _light_detector(n_kinds: int) -> MaskRCNN:
    anchors = AnchorGenerator(((20, 36), (56, 88)), ((0.6, 1.0, 1.67),) * 2)
    model = MaskRCNN(
        LightBackbone(),
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_train=1000,
        rpn_pre_nms_top_n_test=1000,
        rpn_post_nms_top_n_train=_MAX_PROPOSALS,
        rpn_post_nms_top_n_test=_MAX_PROPOSALS,
        rpn_batch_size_per_image=128,
        box_batch_size_per_image=128,
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        box_head=TwoMLPHead(FEATURE_CHANNELS * 49, 256),
        box_predictor=FastRCNNPredictor(256, 1 + n_kinds),
        mask_roi_pool=MultiScaleRoIAlign(["0"], ROI_SIZE, 2),
        mask_head=MaskRCNNHeads(FEATURE_CHANNELS, (64, 64), 1),
        mask_predictor=MaskRCNNPredictor(64, 64, 1 + n_kinds),
    )
    rpn = model.rpn
    model.rpn = _CoarseProposals(
        anchors, rpn.head, 0.7, 0.3, 128, 0.5,
        {"training": 1000, "testing": 2000},
        {"training": _MAX_PROPOSALS, "testing": _MAX_PROPOSALS + 100}, 0.7,
    )  # fmt: skip
    return model


def kinds_of(state: Mapping[str, Tensor]) -> int:
    """Return the number of kinds of cells that a detector's weights distinguish."""
    return len(state["roi_heads.box_predictor.cls_score.bias"]) - 1


def knows_white(model: MaskRCNN) -> bool:
    """Return whether a detector has white cells as a class of their own."""
    return bool(model.roi_heads.box_predictor.cls_score.out_features > WHITE)


def with_white_cells(model: MaskRCNN, backbone: Backbone) -> MaskRCNN:
    """Return the detector with white cells as a class of their own, which it has yet to learn.

    Their boxes and outlines start from those of red cells, their score from what hardly any object gets.
    """
    state = model.state_dict()
    if knows_white(model):
        return model
    wider = build_detector(backbone, WHITE)
    for name in ("box_predictor.bbox_pred", "mask_predictor.mask_fcn_logits", "box_predictor.cls_score"):
        for part in ("weight", "bias"):
            known = state[f"roi_heads.{name}.{part}"]
            state[f"roi_heads.{name}.{part}"] = torch.cat([known, known[len(known) // 2 :]])
    state["roi_heads.box_predictor.cls_score.weight"][WHITE] = 0.0
    state["roi_heads.box_predictor.cls_score.bias"][WHITE] = _UNLIKELY
    wider.load_state_dict(state)
    return wider


def detection_losses(model: MaskRCNN, images: Tensor, targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the five losses of Mask R-CNN for ``images (n, 3, h, w)`` at the network's scale."""
    sizes = [(images.shape[2], images.shape[3])] * len(images)
    features = model.backbone(images)
    proposals, rpn_losses = model.rpn(ImageList(images, sizes), features, targets)
    _, roi_losses = model.roi_heads(features, proposals, sizes, targets)
    return {**rpn_losses, **roi_losses}


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


def box_and_mask_losses(
    model: MaskRCNN, images: Tensor, targets: list[dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Return the five losses for ``images (n, 3, h, w)``; only cells that are ``drawn`` teach the mask head.

    With every cell drawn this is what torchvision's own heads return.
    """
    sizes = [(images.shape[2], images.shape[3])] * len(images)
    features = model.backbone(images)
    proposals, losses = model.rpn(ImageList(images, sizes), features, targets)
    heads = model.roi_heads
    proposals, matched, labels, offsets = heads.select_training_samples(proposals, targets)
    seen = heads.box_head(heads.box_roi_pool(features, proposals, sizes))
    kind, box = fastrcnn_loss(*heads.box_predictor(seen), labels, offsets)
    teaching = [
        torch.where((label > 0) & _drawn(target, match))[0]
        for label, target, match in zip(labels, targets, matched, strict=True)
    ]
    regions = [region[rows] for region, rows in zip(proposals, teaching, strict=True)]
    cells = [match[rows] for match, rows in zip(matched, teaching, strict=True)]
    logits = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, regions, sizes)))
    masks, classes = [target["masks"] for target in targets], [target["labels"] for target in targets]
    mask = maskrcnn_loss(logits, regions, masks, classes, cells)
    return {**losses, "loss_classifier": kind, "loss_box_reg": box, "loss_mask": mask}


def _drawn(target: dict[str, Tensor], match: Tensor) -> Tensor:
    """Return a mask of proposals that match a cell with an outline; background matches cell 0, if any."""
    return target["drawn"][match] if len(target["drawn"]) else torch.zeros_like(match, dtype=torch.bool)

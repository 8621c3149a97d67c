"""The losses of Mask R-CNN where some cells are known by their box alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import fastrcnn_loss, maskrcnn_loss


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
    """Return which proposals match a cell with an outline; background matches cell 0, if there is one."""
    return target["drawn"][match] if len(target["drawn"]) else torch.zeros_like(match, dtype=torch.bool)

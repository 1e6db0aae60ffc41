"""SSD's training loss on a batch, with ignored regions.

torchvision's own, vectorised over the batch, plus one thing: a default box that lies in an
ignored region is neither a positive nor a hard negative, so that an object too small to judge
teaches nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from retrain.ssd import feature_maps

IGNORED_SHARE = 0.5
"""A default box is ignored when this share of it lies in an ignored region."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What one training image holds, in px of the network input.

    Attributes:
        boxes: [M, 4] float32 xyxy.
        labels: [M] int64 in 1..K-1.
        ignored: [I, 4] float32 xyxy.
    """

    boxes: torch.Tensor
    labels: torch.Tensor
    ignored: torch.Tensor


def ssd_loss(
    model: SSD,
    inputs: torch.Tensor,
    targets: list[Target],
    default_boxes: torch.Tensor,
    divisor: Callable[[int], float] = lambda positives: max(1, positives),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Classification and regression loss of a batch.

    Args:
        model: in training mode.
        inputs: [B, 3, h, w] normalised.
        targets: one an image.
        default_boxes: [A, 4] xyxy px of the network input.
        divisor: what both sums are divided by, of the number of positive default boxes: that
            number, or what :class:`retrain.engine.LossModule` makes of those of all processes.

    Returns:
        Two scalars.

    Source:
        Liu et al., "SSD", equations 1 to 3, and hard negatives at 3 to 1.
    """
    output = model.head(feature_maps(model, inputs))
    matches = [assign(model, target, default_boxes) for target in targets]
    classes = torch.stack([match[0] for match in matches])  # [B, A]
    wanted = torch.cat([match[1] for match in matches])  # [P, 4]
    free = torch.stack([match[2] for match in matches])  # [B, A]
    positive = classes > 0
    predicted = output["bbox_regression"].float()[positive]  # [P, 4]
    count = divisor(int(positive.sum()))
    regression = functional.smooth_l1_loss(predicted, wanted, reduction="sum") / count
    logits = output["cls_logits"].float()
    each = functional.cross_entropy(logits.transpose(1, 2), classes, reduction="none")  # [B, A]
    negative = _hard_negatives(each.detach(), positive, free, float(model.neg_to_pos_ratio))
    return each[positive | negative].sum() / count, regression


def assign(
    model: SSD, target: Target, default_boxes: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which default box answers for which object.

    Returns:
        Class of each default box [A] int64 (0 where none), the regression wanted of the positive
        ones [P, 4], and whether each may serve as a negative [A] bool.
    """
    classes = torch.zeros(len(default_boxes), dtype=torch.int64, device=default_boxes.device)
    free = ~_in_ignored(default_boxes, target.ignored)
    if not len(target.boxes):
        return classes, default_boxes.new_zeros(0, 4), free
    matched = model.proposal_matcher(box_iou(target.boxes, default_boxes))  # [A]
    positive = matched >= 0
    classes[positive] = target.labels[matched[positive]]
    wanted = model.box_coder.encode_single(target.boxes[matched[positive]], default_boxes[positive])
    return classes, wanted, free


def _in_ignored(boxes: torch.Tensor, ignored: torch.Tensor) -> torch.Tensor:
    if not len(ignored):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    top_left = torch.maximum(boxes[:, None, :2], ignored[None, :, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], ignored[None, :, 2:])
    shared = (bottom_right - top_left).clamp(min=0).prod(dim=2)  # [A, I]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)[:, None]
    covered = (shared >= IGNORED_SHARE * area).any(dim=1)
    overlaps: torch.Tensor = (box_iou(boxes, ignored) >= IGNORED_SHARE).any(dim=1)
    return covered | overlaps


def _hard_negatives(
    loss: torch.Tensor, positive: torch.Tensor, free: torch.Tensor, ratio: float
) -> torch.Tensor:
    """The ``ratio`` times as many negatives as positives of each image that cost most."""
    allowed = free & ~positive
    ranked = loss.masked_fill(~allowed, float("-inf"))
    wanted = (ratio * positive.sum(dim=1)).long().clamp(max=loss.shape[1])  # [B]
    most = int(wanted.max())
    chosen = torch.zeros_like(positive)
    if not most:
        return chosen
    best = ranked.topk(most, dim=1).indices  # [B, most]
    within = torch.arange(most, device=loss.device)[None] < wanted[:, None]
    chosen.scatter_(1, best, within)
    return chosen & allowed

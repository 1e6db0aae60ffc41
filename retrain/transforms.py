"""Augmentation policies by name, on small uint8 images, through torchvision v2.

Randomness: v2 draws from torch's global generator, so a sample is made inside a forked generator
with a seed of its own. It is then a pure function of (seed, epoch, position), whoever makes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from retrain.loss import Target

Sample: TypeAlias = tuple[torch.Tensor, Target]
"""Pixels uint8 [3, h, w] and what they show."""
Augment: TypeAlias = Callable[[torch.Tensor, Target, int], Sample]
"""Pixels, target and seed to an augmented sample of the same size."""

_FILL = 124
"""Grey that a zoomed-out image lies on: near the mean colour, hence near zero for the network."""
_MIN_SIDE_PX = 2.0
_MIN_VISIBLE = 0.4
"""Objects of which a crop keeps less become ignored regions: half a wheel is no vehicle."""


def augmentation(policy: str, size_hw: tuple[int, int], share: float) -> Augment | None:
    """The policy "none", "flip" or "ssd" for inputs of one size.

    Args:
        policy: "ssd" is photometric distortion, zoom-out, crop by overlap and flip.
        size_hw: of the network input; what comes in and goes out.
        share: in 0..1, of the images that are zoomed out or cropped.

    Source:
        Liu et al., "SSD", section 2.2 (data augmentation) and section 3.6 (zoom out).
    """
    if policy == "none":
        return None
    steps: list[torch.nn.Module] = [v2.RandomHorizontalFlip(0.5)]
    if policy == "ssd":
        geometry = v2.RandomChoice(
            [
                v2.RandomZoomOut(fill=_FILL, side_range=(1.0, 2.0), p=1.0),
                v2.RandomIoUCrop(min_scale=0.4, sampler_options=[0.0, 0.3, 0.5, 0.7]),
            ]
        )
        steps = [
            # not RandomPhotometricDistort: it also swaps channels, which makes a red light blue
            v2.RandomApply([v2.ColorJitter(brightness=0.25, contrast=0.3, saturation=0.3)], p=0.6),
            v2.RandomApply([geometry], p=share),
            v2.Resize(list(size_hw), antialias=False),
            *steps,
        ]
    return _seeded(v2.Compose(steps))


def _seeded(transform: v2.Compose) -> Augment:
    def augment(pixels: torch.Tensor, target: Target, seed: int) -> Sample:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return _apply(transform, pixels, target)

    return augment


def _is_geometry(step: torch.nn.Module) -> bool:
    return isinstance(step, v2.RandomApply) and isinstance(step.transforms[0], v2.RandomChoice)


def _apply(transform: v2.Compose, pixels: torch.Tensor, target: Target) -> Sample:
    """Objects and ignored regions travel together, told apart by their label."""
    canvas = (int(pixels.shape[1]), int(pixels.shape[2]))
    boxes = torch.cat([target.boxes, target.ignored])
    labels = torch.cat([target.labels, target.labels.new_zeros(len(target.ignored))])
    entry = {
        "image": tv_tensors.Image(pixels),
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=canvas),
        "labels": labels,
    }
    if not len(boxes):  # the crop asks for an object to hold on to
        entry.pop("boxes")
        entry.pop("labels")
        steps = [s for s in transform.transforms if not _is_geometry(s)]
        return v2.Compose(steps)(entry)["image"].as_subclass(torch.Tensor), target
    changed = transform(entry)
    boxes, labels = changed["boxes"].as_subclass(torch.Tensor), changed["labels"]
    wide = ((boxes[:, 2:] - boxes[:, :2]) >= _MIN_SIDE_PX).all(dim=1)
    objects = wide & (labels > 0)
    ignored = wide & (labels == 0)
    image = changed["image"].as_subclass(torch.Tensor)
    return image, Target(boxes[objects], labels[objects], boxes[ignored])

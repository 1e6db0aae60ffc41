"""What the channels of VEBI answer to, as average images."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from curation.explain.base import layers_of
from curation.explain.methods.vebi_features import (
    ACTIVATIONS,
    FeatureModel,
    activations,
    cells,
    shares,
)
from curation.kernel.detector import Detector, Network
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import FloatArray, ImageArray
from curation.superpixels import warp


class _Peak(NamedTuple):
    """Where a channel is strongest within a box."""

    strength: float
    image: int
    row: int
    column: int


def average_image(
    detector: Detector,
    model: FeatureModel,
    images: Sequence[ImageArray],
    boxes_xyxy: Sequence[FloatArray],
    feature: int,
    num_crops: int = 100,
) -> FloatArray:
    """[s, s, 3] float32 in 0..255: mean of what one channel answers to most.

    :func:`average_images` of one channel.
    """
    return average_images(detector, model, images, boxes_xyxy, [feature], num_crops)[0]


def average_images(
    detector: Detector,
    model: FeatureModel,
    images: Sequence[ImageArray],
    boxes_xyxy: Sequence[FloatArray],
    features: Sequence[int],
    num_crops: int = 100,
    on_image: Callable[[], None] = lambda: None,
) -> list[FloatArray]:
    """For each channel [s, s, 3] float32 in 0..255: mean of what it answers to most.

    Crops are taken from the network's input size, around the strongest cell in each of the
    ``num_crops`` boxes with the strongest response, moved inside where they reach over an edge.
    Their side is :func:`field_side` of the strongest. One image is held at a time, if ``images``
    reads them as they are asked for: one pass over all, then those with a crop once more.

    Args:
        detector: the one of the model; left as it was.
        model: names the channels.
        images: [H, W, 3] uint8 each.
        boxes_xyxy: [N, 4] px of each image.
        features: in 0..F-1, see
            :meth:`~curation.explain.methods.vebi_features.FeatureModel.relevant`.
        num_crops: that are averaged, fewer where there are fewer boxes.
        on_image: called after each image of the first pass.

    Raises:
        ExplanationFailed: the model is of another detector, or there is no box.

    Source:
        Oramas et al., ICLR 2019, section 3.2. We crop around objects' boxes, at the receptive
        field that is seen and not the theoretical one, which spans the image in deep layers.
    """
    model.require(detector)
    network = layers_of(detector).copy()
    places = [model.where(feature) for feature in features]
    names = [model.layers[layer] for layer, _ in places]
    wanted = list(dict.fromkeys(names))
    heaps: list[list[tuple[float, int, _Peak]]] = [[] for _ in features]
    sizes: dict[str, tuple[int, int]] = {}
    order = 0
    for number in range(len(images)):
        image, boxes = images[number], boxes_xyxy[number]
        with torch.no_grad():
            maps = activations(network, wanted, detector.preprocess([image]))
        by_name = dict(zip(wanted, maps, strict=True))
        sizes = {name: (one.shape[2], one.shape[3]) for name, one in by_name.items()}
        for heap, name, (_, channel) in zip(heaps, names, places, strict=True):
            heat = by_name[name][0, channel].float().cpu().numpy()  # [fh, fw]
            for box in shares(boxes, image).tolist():
                order -= 1  # of equals the first stays
                peak = _peak(heat, box, number)
                heapq.heappush(heap, (peak.strength, order, peak))
                if len(heap) > num_crops:
                    heapq.heappop(heap)
        on_image()
    if not all(heaps):
        raise ExplanationFailed("no box to take crops from: give images with objects")
    kept = [[peak for _, _, peak in sorted(heap, reverse=True)] for heap in heaps]
    sides = []
    for peaks, name, (_, channel) in zip(kept, names, places, strict=True):
        best = detector.preprocess([images[peaks[0].image]])
        unit = (channel, peaks[0].row, peaks[0].column)
        sides.append(field_side(network, name, best, unit))
    sums = [np.zeros((side, side, 3), np.float64) for side in sides]
    for number in sorted({peak.image for peaks in kept for peak in peaks}):
        image = images[number]
        for total, peaks, side, name in zip(sums, kept, sides, names, strict=True):
            for peak in peaks:
                if peak.image == number:
                    total += _crop(image, peak, side, sizes[name], detector.input_size_hw)
    return [
        (total / len(peaks)).astype(np.float32) for total, peaks in zip(sums, kept, strict=True)
    ]


def field_side(
    network: Network,
    name: str,
    inputs: torch.Tensor,
    unit: tuple[int, int, int],
    share: float = 0.9,
) -> int:
    """Side in px of the square around a unit that holds a share of its gradient's magnitude.

    Every activation lets the gradient through: where a channel is strongest, a ReLU6 is often
    saturated, and a closed path would make the field look smaller than it is.

    Args:
        network: left as it is; a copy is worked on.
        name: of the unit's layer, see :func:`~curation.explain.methods.vebi_features.layer_names`.
        inputs: [1, 3, h, w].
        unit: channel, row, column.
        share: in (0, 1]; 1 gives the whole receptive field.

    Returns:
        at least 1, at most the shorter side of the input.
    """
    channel, row, column = unit
    network = network.copy()
    _open(network.backbone)
    x = inputs.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        (out,) = activations(network, [name], x)
        (slope,) = torch.autograd.grad(out[0, channel, row, column], x)
    heat = slope[0].abs().sum(dim=0).double().cpu().numpy()  # [h, w]
    ys, xs = np.indices(heat.shape) + 0.5
    y = (row + 0.5) * heat.shape[0] / out.shape[2]
    x_px = (column + 0.5) * heat.shape[1] / out.shape[3]
    reach = np.maximum(np.abs(ys - y), np.abs(xs - x_px)) + 0.5  # half the square's side
    order = np.argsort(reach, axis=None, kind="stable")
    held = np.cumsum(heat.ravel()[order])
    last = int(np.searchsorted(held, share * held[-1] * (1 - 1e-12)))
    side = round(2 * float(reach.ravel()[order][last]))
    return max(1, min(side, int(heat.shape[0]), int(heat.shape[1])))


class _Open(nn.Module):
    """An activation with its own values and the gradient of the identity."""

    def __init__(self, bend: nn.Module) -> None:
        super().__init__()
        self.bend = bend

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        # a clone: the activation may work in place
        bent: torch.Tensor = self.bend(inputs.detach().clone())
        return bent + (inputs - inputs.detach())


def _open(module: nn.Module) -> None:
    """Opens every activation below a module."""
    for name, child in list(module.named_children()):
        if isinstance(child, ACTIVATIONS):
            setattr(module, name, _Open(child))
        else:
            _open(child)


def _peak(heat: FloatArray, box: Sequence[float], image: int) -> _Peak:
    rows, columns = cells(box, (heat.shape[0], heat.shape[1]))
    inside = heat[rows, columns]
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    strength = float(np.linalg.norm(inside))
    return _Peak(strength, image, rows.start + int(row), columns.start + int(column))


def _crop(
    image: ImageArray, peak: _Peak, side: int, map_hw: tuple[int, int], size_hw: tuple[int, int]
) -> FloatArray:
    """[side, side, 3] around the centre of a peak's cell."""
    seen = warp(image, size_hw).astype(np.float32)
    corner = []
    for cell, cells_along, length in zip((peak.row, peak.column), map_hw, size_hw, strict=True):
        start = round((cell + 0.5) * length / cells_along - side / 2)
        corner.append(min(max(start, 0), length - side))
    top, left = corner
    return seen[top : top + side, left : left + side]

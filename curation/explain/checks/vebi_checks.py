"""What the channels of VEBI answer to, as average images, and whether the scores stand on them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from curation.explain.base import layers_of
from curation.explain.methods.target_score import TargetScore, target_boxes
from curation.explain.methods.vebi_features import (
    ACTIVATIONS,
    FeatureModel,
    activations,
    cells,
    level_of,
    responses,
    shares,
)
from curation.kernel.detector import Detector, Network, ScoreKind
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import FloatArray, ImageArray, IntArray, ScoreTarget
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
    """[s, s, 3] float32 in 0..255: mean of what a channel answers to most.

    Crops are taken from the network's input size, around the strongest cell in each of the
    ``num_crops`` boxes with the strongest response, moved inside where they reach over an edge.
    Their side is :func:`field_side` of the strongest.

    Args:
        detector: the one of the model; left as it was.
        model: names the channel.
        images: [H, W, 3] uint8 each.
        boxes_xyxy: [N, 4] px of each image.
        feature: in 0..F-1, see :meth:`FeatureModel.relevant`.
        num_crops: that are averaged, fewer where there are fewer boxes.

    Raises:
        ExplanationFailed: the model is of another detector, or there is no box.

    Source:
        Oramas et al., ICLR 2019, section 3.2. We crop around objects' boxes, at the receptive
        field that is seen and not the theoretical one, which spans the image in deep layers.
    """
    model.require(detector)
    network = layers_of(detector).copy()
    layer, channel = model.where(feature)
    name, peaks, size = model.layers[layer], list[_Peak](), (1, 1)
    for number, (image, boxes) in enumerate(zip(images, boxes_xyxy, strict=True)):
        with torch.no_grad():
            (out,) = activations(network, [name], detector.preprocess([image]))
        heat = out[0, channel].float().cpu().numpy()  # [fh, fw]
        size = (heat.shape[0], heat.shape[1])
        peaks += [_peak(heat, box, number) for box in shares(boxes, image).tolist()]
    if not peaks:
        raise ExplanationFailed("no box to take crops from: give images with objects")
    peaks = sorted(peaks, key=lambda peak: -peak.strength)[:num_crops]  # stable
    best = detector.preprocess([images[peaks[0].image]])
    side = field_side(network, name, best, (channel, peaks[0].row, peaks[0].column))
    crops = [_crop(images[p.image], p, side, size, detector.input_size_hw) for p in peaks]
    mean: FloatArray = np.mean(crops, axis=0, dtype=np.float32)
    return mean


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


def ablation_curve(
    detector: Detector,
    model: FeatureModel,
    image: ImageArray,
    target: ScoreTarget,
    counts: Sequence[int] = (0, 1, 2, 5, 10, 20, 50),
    kind: ScoreKind = ScoreKind.LOG_ODDS,
    seed: int = 0,
) -> tuple[FloatArray, FloatArray]:
    """Scores of a target without its most relevant channels, and without as many others.

    Channels are set to zero in the whole image, not only in the box. The others are drawn at
    random from the same layers, n-th for n-th, since removing a channel of one layer costs more
    than in another; those that support the class come last among them.

    Args:
        detector: the one of the model; left as it was.
        model: names and weighs channels; those that support the class go first.
        image: [H, W, 3] uint8.
        target: whose score is taken.
        counts: numbers of channels to remove; both curves stop falling once the channels that
            support the class are gone.
        kind: unit of the score.
        seed: of the random order.

    Returns:
        [len(counts)] by relevance and [len(counts)] of others.

    Raises:
        ExplanationFailed: the model is of another detector.
    """
    model.require(detector)
    network = layers_of(detector).copy()
    x = detector.preprocess([image])
    with torch.no_grad():
        maps = activations(network, model.layers, x)
    box = shares(target_boxes(detector, image, [target]), image)
    relevance = model.weights[target.label] * responses(maps, box)[0]
    by_relevance = np.argsort(-relevance, kind="stable")
    by_relevance = by_relevance[relevance[by_relevance] > 0]
    others = _others(model, by_relevance, np.random.default_rng(seed))
    relevant, random = (
        np.array([_score_without(network, model, order[:n], x, target, kind) for n in counts])
        for order in (by_relevance, others)
    )
    return relevant.astype(np.float32), random.astype(np.float32)


def _others(model: FeatureModel, chosen: IntArray, rng: np.random.Generator) -> IntArray:
    """For each chosen channel another of its layer; unchosen ones while there are any."""
    taken = set(chosen.tolist())
    left = []
    for size, end in zip(model.channels, np.cumsum(model.channels).tolist(), strict=True):
        drawn = rng.permutation(np.arange(end - size, end)).tolist()
        left.append(sorted(drawn, key=lambda feature: feature not in taken))  # chosen ones first
    return np.array([left[model.where(feature)[0]].pop() for feature in chosen], np.int64)


def _score_without(
    network: Network,
    model: FeatureModel,
    removed: IntArray,
    x: torch.Tensor,
    target: ScoreTarget,
    kind: ScoreKind,
) -> float:
    """The score with these channels at zero; hooks are gone afterwards."""
    masks = [torch.ones(1, size, 1, 1).to(x) for size in model.channels]
    for feature in removed:
        layer, channel = model.where(int(feature))
        masks[layer][:, channel] = 0

    def hide(mask: torch.Tensor) -> Any:
        return lambda _module, _inputs, output: output * mask

    def hide_before(mask: torch.Tensor) -> Any:
        return lambda _module, inputs: (inputs[0] * mask,)

    scorer = TargetScore(network, target, kind)
    with ExitStack() as stack, torch.no_grad():
        for name, mask in zip(model.layers, masks, strict=True):
            level = level_of(name)
            if level < 0:
                module = network.backbone.get_submodule(name)
                stack.callback(module.register_forward_hook(hide(mask)).remove)
            elif level == scorer.place.level:  # a head's input
                head = network.class_heads[level]
                stack.callback(head.register_forward_pre_hook(hide_before(mask)).remove)
        return float(scorer(x)[0])

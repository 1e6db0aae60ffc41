"""Whether a detector's scores stand on the channels that VEBI names: they are taken away."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from curation.explain.base import layers_of
from curation.explain.methods.target_score import TargetScore, target_boxes
from curation.explain.methods.vebi_features import (
    FeatureModel,
    activations,
    level_of,
    responses,
    shares,
)
from curation.kernel.boxes import pairwise_iou
from curation.kernel.detector import Detector, Network, ScoreKind
from curation.kernel.types import Box, FloatArray, ImageArray, IntArray, ScoreTarget

COUNTS = (0, 1, 2, 5, 10, 20, 50)


def target_of(detector: Detector, image: ImageArray, box: Box, label: int) -> ScoreTarget:
    """The default box that answers best for an object: overlap times the class's probability.

    Args:
        detector: whose default boxes.
        image: [H, W, 3] uint8.
        box: of the object, px.
        label: of its class.
    """
    (proposals,) = detector.propose([image])
    overlap = pairwise_iou(proposals.boxes_xyxy, np.array([box], np.float32))[:, 0]  # [A]
    return ScoreTarget(int(np.argmax(overlap * proposals.probabilities[:, label])), label)


def ablation_curve(
    detector: Detector,
    model: FeatureModel,
    image: ImageArray,
    target: ScoreTarget,
    counts: Sequence[int] = COUNTS,
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

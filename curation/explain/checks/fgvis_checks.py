"""What FGVis claims, as measures: its defence against made-up evidence, and its deletions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from curation.explain.base import layers_of
from curation.explain.methods.fgvis import FGVis
from curation.explain.methods.fgvis_defence import guarded
from curation.explain.methods.target_score import score_of_logits
from curation.kernel.detector import Detector, Network, ScoreKind
from curation.kernel.types import BoolArray, FloatArray, ImageArray, ScoreTarget


def driven_to(
    detector: Detector, image: ImageArray, targets: Sequence[ScoreTarget], rules: FGVis
) -> BoolArray:
    """Whether a mask can make the detector see another class at a default box.

    The game is turned round: the log-odds of each target are raised by masking pixels of the
    image until its class is the likeliest there. Without the defence such a mask is adversarial
    noise; with it only what the image holds can be used.

    Args:
        detector: shows its layers.
        image: [H, W, 3] uint8.
        targets: T wrong classes at default boxes.
        rules: steps, learning rate and defence.

    Returns:
        [T] bool.

    Source:
        Wagner et al., section 4.1 and table 1.
    """
    x = detector.preprocess([image])
    network = guarded(layers_of(detector), x, targets, rules.defence)
    return np.array([_is_driven(network, x, target, rules) for target in targets], np.bool_)


def _is_driven(network: Network, x: torch.Tensor, target: ScoreTarget, rules: FGVis) -> bool:
    place = network.place(target.default_box)
    mask = torch.ones_like(x)
    for _ in range(rules.num_steps):
        mask.requires_grad_(True)
        with torch.enable_grad():
            logits = network.class_logits(network.maps(mask * x.detach()), place)  # [1, K]
            if int(logits[0].argmax()) == target.label:
                return True
            score = score_of_logits(logits, target.label, ScoreKind.LOG_ODDS).sum()
            (slope,) = torch.autograd.grad(score, mask)
        step = rules.learning_rate * slope / slope.abs().max().clamp_min(1e-30)
        mask = (mask.detach() + step).clamp(0, 1)
    return False


def deletion_curve(
    detector: Detector,
    image: ImageArray,
    target: ScoreTarget,
    pixels: FloatArray,
    num_points: int = 20,
    kind: ScoreKind = ScoreKind.PROBABILITY,
) -> FloatArray:
    """Scores as pixels are set to the mean colour in falling order of a map.

    Args:
        detector: scores the target.
        image: [H, W, 3] uint8.
        target: whose score.
        pixels: [h, w] map on the input's grid.
        num_points: steps; each removes an equal share of the pixels.
        kind: unit of the score.

    Returns:
        [num_points + 1] float32, the whole image first; the mean is the area under the curve,
        and lower is better.

    Source:
        Petsiuk et al., "RISE", BMVC 2018; used for FGVis by Wagner et al.
    """
    x = detector.preprocess([image])
    order = np.argsort(-pixels.ravel(), kind="stable")
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    scores = []
    with torch.no_grad():
        for point in range(num_points + 1):
            kept = rank >= round(order.size * point / num_points)
            mask = torch.from_numpy(kept.reshape(pixels.shape)).to(x)
            scores.append(float(detector.scores(x * mask, [target], kind)[0, 0]))
    return np.array(scores, np.float32)

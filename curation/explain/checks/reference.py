"""Shapley values of a detector's score, as near as patience allows: what methods are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from curation import superpixels
from curation.explain import coalitions
from curation.explain.base import check_segments
from curation.explain.coalitions import DoubleArray
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import ImageArray, ScoreTarget
from curation.superpixels import SegmentArray


class Reference(NamedTuple):
    """Shapley values of T targets over S segments, and how far to trust them."""

    values: DoubleArray
    """[T, S]; each row sums to score minus baseline score."""
    standard_errors: DoubleArray
    """[T, S]; 0 where all coalitions were scored."""
    split_half: DoubleArray
    """[T] Pearson correlation of the values from either half of the coalitions: r. The whole has
    2 r / (1 + r), and the best that an estimator can reach against it is the root of that. NaN
    where a half is constant."""


def converged_reference(
    detector: Detector,
    image: ImageArray,
    targets: Sequence[ScoreTarget],
    segments: SegmentArray,
    kind: ScoreKind,
    num_pairs: int,
    seed: int = 0,
    batch_size: int | None = None,
) -> Reference:
    """Shapley values by constrained regression on many pairs of coalitions.

    Exact once ``num_pairs`` reaches 2^(S-1) - 1. Memory is bounded: normal equations are added
    up in chunks, and of a coalition only its S bits and T scores are held.

    Args:
        detector: scores the targets.
        image: [H, W, 3] uint8.
        targets: T of them; share all forward rows.
        segments: [h, w] int32 in 0..S-1 on the detector's input grid.
        kind: unit of the score.
        num_pairs: 2 forward rows each. About 100 S for a split half above 0.9; fewer for
            log-odds than for probabilities.
        seed: of the coalitions; take another than an estimator's under test.
        batch_size: rows a pass; bounds memory, changes no value.

    Raises:
        ExplanationFailed: the segments do not fit or a score is not finite.
    """
    check_segments(segments, detector.input_size_hw)
    num_segments = superpixels.count(segments)
    if not targets:
        nothing = np.zeros((0, num_segments))
        return Reference(nothing, nothing, np.zeros(0))
    rng = np.random.default_rng(seed)
    inputs = detector.preprocess([image])
    design = coalitions.paired_design(num_pairs, num_segments, "kernel", rng)
    scores = coalitions.score(detector, inputs, segments, design, targets, kind, batch_size)
    values, errors = coalitions.fit(design, scores)
    if design.complete:
        return Reference(values, errors, np.ones(len(targets)))
    one, two = (
        coalitions.fit(half.design, scores.of(half.rows)).values for half in design.halves(rng)
    )
    agreement = [_pearson(a, b) for a, b in zip(one, two, strict=True)]
    return Reference(values, errors, np.array(agreement))


def _pearson(one: DoubleArray, two: DoubleArray) -> float:
    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return float("nan")
    return float(np.corrcoef(one, two)[0, 1])

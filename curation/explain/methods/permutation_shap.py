"""Shapley values from random orders in which the segments appear, and their reverses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from curation import superpixels
from curation.explain import coalitions
from curation.explain.base import check_segments, end_scores, masked_scores
from curation.explain.coalitions import DoubleArray
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, ImageArray, IntArray, ScoreTarget
from curation.superpixels import SegmentArray


@dataclass(frozen=True, slots=True)
class PermutationShap:
    """Mean gain of score as each segment joins those before it, over orders and their reverses.

    Needs no gradient; its forward rows serve all targets. Unbiased, and each order's gains sum
    to score minus baseline. An order and its reverse cost 2 (S - 1) rows.

    Args:
        num_samples: masked images, the image and the mean colour among them. As many pairs of
            orders are taken as fit, but at least one: it then costs 2 S rows all the same.
        kind: unit of the explained score.
        batch_size: masked images a forward pass; bounds memory, changes no value.
        seed: of the orders. Two model versions explained under one seed share them.

    Source:
        Castro et al., 2009; antithetic orders: Mitchell et al., 2022.
    """

    num_samples: int = 1024
    kind: ScoreKind = ScoreKind.LOG_ODDS
    batch_size: int | None = None
    seed: int = 0

    name: ClassVar[str] = "permutation_shap"

    def __post_init__(self) -> None:
        if self.num_samples < 1 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError("num_samples and batch_size must be at least 1")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the batch size is not part of it."""
        return {"num_samples": self.num_samples, "kind": str(self.kind), "seed": self.seed}

    def num_pairs(self, num_segments: int) -> int:
        """Orders taken, each with its reverse."""
        return max(1, (self.num_samples - 2) // max(1, 2 * (num_segments - 1)))

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Values of all targets, with sd / sqrt(n) over n pairs; NaN from a single pair."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        inputs = detector.preprocess([image])  # [1, 3, h, w]
        num_segments = superpixels.count(segments)
        count, rng = self.num_pairs(num_segments), np.random.default_rng(self.seed)
        full, empty = end_scores(detector, inputs, targets, self.kind)
        total, square = np.zeros((2, len(targets), num_segments))
        for _ in range(count):
            order = rng.permutation(num_segments)
            pair = np.zeros_like(total)
            for path in (order, order[::-1]):
                masks = _path(path)  # [S - 1, S]
                inner = masked_scores(
                    detector,
                    inputs,
                    segments,
                    masks.astype(np.float32),
                    targets,
                    self.kind,
                    self.batch_size,
                )
                along = np.concatenate([empty[None], inner, full[None]]).astype(np.float64)
                pair[:, path] += np.diff(along, axis=0).T / 2
            total += pair
            square += pair**2
        values = total / count
        spread = np.maximum(square / count - values**2, 0)
        errors = np.sqrt(spread / (count - 1)) if count > 1 else np.full_like(values, np.nan)
        found = coalitions.Fit(values, errors)
        ends = full.astype(np.float64), empty.astype(np.float64)
        return coalitions.attributions(self, segments, targets, found, *ends)


def _path(order: IntArray) -> DoubleArray:
    """[S - 1, S] masks: the first of an order, the first two, up to all but one."""
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return (rank[None] < np.arange(1, len(order))[:, None]).astype(np.float64)

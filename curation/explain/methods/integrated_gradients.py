"""Integrated gradients, by pixel and summed over superpixels: the whole image dims alike.

They differ from E2X in one line: one level for the whole image instead of one for each segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import torch

from curation.explain.base import (
    check_segments,
    end_scores,
    input_gradients,
    pixel_attributions,
    rows_per_pass,
)
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, FloatArray, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray

Rule: TypeAlias = Literal["midpoint", "gauss_legendre"]


@dataclass(frozen=True, slots=True)
class IntegratedGradients:
    """Path integral of the gradient from the mean colour to the image, for each pixel.

    Args:
        num_samples: K, steps of the rule.
        kind: unit of the explained score.
        rule: "midpoint" takes (k + 1/2) / K, all of one weight; "gauss_legendre" is exact for
            polynomials of degree 2 K - 1, but trusts the score to be smooth along the path.
        batch_size: dimmed images a forward pass; bounds memory, changes no value. None takes
            what suits the device.

    Source:
        Sundararajan et al., 2017. The published E2X code takes K evenly spaced levels with both
        ends, which weighs the ends double; we do not. The values sum to score minus baseline as
        K grows: ``completeness_error`` says how far off they are.
    """

    num_samples: int = 32
    kind: ScoreKind = ScoreKind.LOG_ODDS
    rule: Rule = "midpoint"
    batch_size: int | None = None

    name: ClassVar[str] = "integrated_gradients"

    def __post_init__(self) -> None:
        if self.num_samples < 1 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError("num_samples and batch_size must be at least 1")
        if self.rule not in get_args(Rule):
            raise ValueError(f"rule is {self.rule!r}, expected one of {get_args(Rule)}")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the batch size is not part of it."""
        return {"num_samples": self.num_samples, "kind": str(self.kind), "rule": self.rule}

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Integrated gradients of all targets; a quadrature, so without standard errors.

        The forward passes serve all targets; each target adds its backward passes.
        """
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        x = detector.preprocess([image])  # [1, 3, h, w]
        maps = self._maps(detector, x, targets)
        scores = end_scores(detector, x, targets, self.kind)
        return pixel_attributions(self, segments, targets, maps, scores)

    def _maps(
        self, detector: Detector, x: torch.Tensor, targets: Sequence[ScoreTarget]
    ) -> FloatArray:
        """[T, h, w]: sum over colours of x times the mean gradient along the path."""
        level, weight = nodes(self.rule, self.num_samples)
        rows = rows_per_pass(x, self.batch_size)
        total = x.new_zeros(len(targets), *x.shape[1:])  # [T, 3, h, w]
        for start in range(0, self.num_samples, rows):
            part = slice(start, start + rows)
            t = torch.from_numpy(level[part]).to(x)[:, None, None, None]  # [B, 1, 1, 1]
            w = torch.from_numpy(weight[part]).to(x)[:, None, None, None]  # [B, 1, 1, 1]
            dimmed = (t * x.detach()).requires_grad_(True)
            for row, slope in enumerate(input_gradients(detector, dimmed, targets, self.kind)):
                total[row] += (w * slope).sum(dim=0)
        maps: FloatArray = (total * x).sum(dim=1).float().cpu().numpy()
        return maps


@dataclass(frozen=True, slots=True)
class IntegratedGradientsSegments(IntegratedGradients):
    """Integrated gradients summed over each superpixel: the paper's ablation of E2X.

    Takes the same parameters and gives the same values; only the pixels are withheld, so that
    all that looks at the map sees what E2X's one value for each superpixel is compared with.

    Source:
        E2X, section on ablation; the paper averages over the pixels of a segment, which ranks
        segments by density. We sum, as for E2X, so that the values still add up.
    """

    name: ClassVar[str] = "integrated_gradients_segments"

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """One value a superpixel for all targets, without standard errors."""
        found = IntegratedGradients.explain(self, detector, image, targets, segments)
        return [replace(attribution, pixels=None) for attribution in found]


def nodes(rule: Rule, count: int) -> tuple[FloatArray, FloatArray]:
    """Levels [K] in 0..1 and weights [K] that sum to 1."""
    if rule == "gauss_legendre":
        point, weight = np.polynomial.legendre.leggauss(count)  # on -1..1
        return ((point + 1) / 2).astype(np.float32), (weight / 2).astype(np.float32)
    level = (np.arange(count) + 0.5) / count
    return level.astype(np.float32), np.full(count, 1 / count, np.float32)

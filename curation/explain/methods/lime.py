"""LIME for detections: a linear model of the score in which superpixels are shown or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import torch

from curation import superpixels
from curation.explain import coalitions
from curation.explain.base import (
    check_segments,
    end_scores,
    masked_scores,
    require_finite,
    rows_per_pass,
)
from curation.explain.coalitions import DoubleArray, Fit
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, FloatArray, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray

Fill: TypeAlias = Literal["mean", "noise"]

_NOISE = 12.8 / 255  # standard deviation of the fill, in pixel values of 0..1


@dataclass(frozen=True, slots=True)
class Lime:
    """Coefficients of a weighted ridge regression of the score on random coalitions.

    Needs no gradient; its forward rows serve all targets. An estimate near the Banzhaf index,
    not the Shapley value: the values do not sum to score minus baseline.

    Args:
        num_samples: K, rows of the design, the image itself first; at least 2.
        kind: unit of the explained score.
        kernel_width: rows at cosine distance d from the image weigh exp(-d^2 / (2 width^2)).
        ridge: penalty on squared coefficients; the intercept is free.
        fill: what is put in the place of a hidden superpixel: the "mean" colour, or "noise"
            about it of standard deviation 12.8 of 255, new for each row and pixel.
        num_features: keeps so many coefficients, largest first, and sets the others to 0. None
            keeps all.
        min_value: sets smaller coefficients to 0, in the unit of the score.
        batch_size: masked images a forward pass; bounds memory, changes no value.
        seed: of design and noise. Two model versions explained under one seed share both.

    Source:
        Ribeiro et al., 2016, as the published E2X code changes it for SSD. That is kind
        "probability", fill "noise", num_features 100, min_value 0.001 and 200, 500 or 2000
        samples (10 000 with 1000 superpixels for its reference); it explains only the five most
        probable classes of a default box, here every target can be explained.
    """

    num_samples: int = 1000
    kind: ScoreKind = ScoreKind.LOG_ODDS
    kernel_width: float = 0.25
    ridge: float = 1.0
    fill: Fill = "mean"
    num_features: int | None = None
    min_value: float = 0.0
    batch_size: int | None = None
    seed: int = 0

    name: ClassVar[str] = "lime"

    def __post_init__(self) -> None:
        if self.num_samples < 2 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError("num_samples must be at least 2 and batch_size at least 1")
        if self.kernel_width <= 0 or self.ridge <= 0:
            raise ValueError("kernel_width and ridge must be above 0")
        if self.num_features is not None and self.num_features < 1:
            raise ValueError("num_features must be at least 1")
        if self.fill not in get_args(Fill):
            raise ValueError(f"fill is {self.fill!r}, expected one of {get_args(Fill)}")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the batch size is not part of it."""
        return {
            "num_samples": self.num_samples,
            "kind": str(self.kind),
            "kernel_width": self.kernel_width,
            "ridge": self.ridge,
            "fill": self.fill,
            "num_features": self.num_features,
            "min_value": self.min_value,
            "seed": self.seed,
        }

    def masks(self, num_segments: int) -> FloatArray:
        """The design [K, S] of zeros and ones: all ones, then fair coins."""
        rng = np.random.default_rng(self.seed)
        masks = rng.integers(0, 2, (self.num_samples, num_segments)).astype(np.float32)
        masks[0] = 1
        return masks

    def row_weights(self, masks: FloatArray) -> DoubleArray:
        """[K] float64, how much each row of a design counts."""
        # the cosine between a row of k ones and S ones is sqrt(k / S)
        distance = 1 - np.sqrt(masks.mean(axis=1, dtype=np.float64))
        weights: DoubleArray = np.exp(-(distance**2) / (2 * self.kernel_width**2))
        return weights

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Coefficients of all targets, with standard errors from the residuals."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        inputs = detector.preprocess([image])  # [1, 3, h, w]
        masks = self.masks(superpixels.count(segments))
        if self.fill == "noise":
            scores = self._noisy_scores(detector, inputs, segments, masks, targets)
        else:
            scores = masked_scores(
                detector, inputs, segments, masks, targets, self.kind, self.batch_size
            )  # [K, T]
        found = ridge_fit(
            masks.astype(np.float64),
            scores.astype(np.float64),
            self.row_weights(masks),
            self.ridge,
        )
        found = found._replace(values=self._kept(found.values))
        full, empty = end_scores(detector, inputs, targets, self.kind)
        ends = full.astype(np.float64), empty.astype(np.float64)
        return coalitions.attributions(self, segments, targets, found, *ends)

    def _kept(self, values: DoubleArray) -> DoubleArray:
        """Values [T, S] with the small ones set to 0."""
        size = np.abs(values)
        kept = size >= self.min_value
        if self.num_features is not None:
            rank = np.argsort(np.argsort(-size, axis=1, kind="stable"), axis=1)
            kept &= rank < self.num_features
        return np.where(kept, values, 0)

    def _noisy_scores(
        self,
        detector: Detector,
        inputs: torch.Tensor,
        segments: SegmentArray,
        masks: FloatArray,
        targets: Sequence[ScoreTarget],
    ) -> FloatArray:
        """[K, T] scores where hidden superpixels hold noise."""
        height, width = segments.shape
        ends = [np.full((height, width, 3), value, np.uint8) for value in (0, 255)]
        black, white = detector.preprocess(ends)
        # normalised units for one pixel value of 0..1, by channel
        deviation = _NOISE * (white - black)[:, :1, :1].abs()  # [3, 1, 1]
        # drawn row after row, so that the size of a batch changes nothing
        rng = np.random.default_rng([self.seed, 1])
        rows = rows_per_pass(inputs, self.batch_size)
        result = np.empty((len(masks), len(targets)), np.float32)
        with torch.inference_mode():
            for start in range(0, len(masks), rows):
                part = masks[start : start + rows]
                shown = torch.from_numpy(part[:, None, segments]).to(inputs)  # [B, 1, h, w]
                noise = rng.standard_normal((len(part), 3, height, width), np.float32)
                hidden = torch.from_numpy(noise).to(inputs) * deviation
                mixed = inputs * shown + hidden * (1 - shown)
                scores = detector.scores(mixed, targets, self.kind)  # [B, T]
                result[start : start + len(part)] = scores.float().cpu().numpy()
        require_finite(result.T, targets)
        return result


def ridge_fit(masks: DoubleArray, scores: DoubleArray, weights: DoubleArray, ridge: float) -> Fit:
    """Weighted ridge regression with a free intercept.

    Args:
        masks: [K, S].
        scores: [K, T].
        weights: [K] positive.
        ridge: above 0.

    Returns:
        Coefficients [T, S], and standard errors from residuals over one minus their leverage
        (the jackknife over rows to first order); they leave the shrinkage out.
    """
    total = weights.sum()
    rows = masks - weights @ masks / total  # [K, S]
    y = scores - weights @ scores / total  # [K, T]
    gram = (rows * weights[:, None]).T @ rows
    influence = np.linalg.solve(gram + ridge * np.eye(len(gram)), (rows * weights[:, None]).T)
    slopes = influence @ y  # [S, T]
    leverage = (influence.T * rows).sum(axis=1) + weights / total  # [K]
    residual = (y - rows @ slopes) / (1 - leverage)[:, None]
    return Fit(slopes.T, np.sqrt((residual**2).T @ (influence.T**2)))

"""Shapley values from few masks: a Gaussian process that knows where the default box is.

Read :meth:`GPShap.explain`, then :mod:`curation.explain.coalition_gp`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from curation import superpixels
from curation.explain.allocation import Looked, in_turns
from curation.explain.base import check_segments, masked_scores
from curation.explain.belief import Posterior, believed
from curation.explain.coalition_fit import Layout
from curation.explain.coalition_gp import Float64Array
from curation.explain.coalitions import paired_design
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import (
    Attribution,
    Box,
    FloatArray,
    ImageArray,
    ScoreTarget,
)
from curation.superpixels import SegmentArray

__all__ = ["GPShap", "Posterior", "believed", "sample_masks"]


@dataclass(frozen=True, slots=True)
class GPShap:
    """Shapley values of superpixels, estimated from the scores of masked images.

    Needs no gradient, and the masked images serve every target: the cost is at most ``num_samples``
    forward passes and one for the places of the default boxes, whatever the number of targets.

    Args:
        num_samples: masked images at most, those of all and of no superpixel among them; at least
            4. Where there are no more masks than that, all are taken and the values are exact.
        first_samples: so many are masked before the regions that would be named are removed, see
            :mod:`~curation.explain.allocation`; None for seven eighths, 112 of 128. What is left
            is masked as the first were. 0: all are masked at once and no region is removed.
        certain: no more images are masked once it is as probable as this, for every target, that
            the superpixel that does most harm is in the region named first; above 1 all are.
        kind: unit of the explained score. Log-odds are nearest to a sum over superpixels.
        batch_size: masked images a forward pass; bounds memory, changes no value beyond
            rounding. None takes what suits the device.
        seed: of the masks. Two model versions explained under one seed share their masks.
        region_share: regions are made of weighted Banzhaf values, the difference that a
            superpixel makes while every other is shown with this probability. Shapley values
            average over all probabilities alike. Hardly anything shown says little of the image
            as it is, and with all shown planted causes are found less often.
        smooth: neighbours that look alike are believed to do alike, see
            :func:`~curation.explain.coalition_fit.fit`.

    Source:
        The masks are those of paired Leverage SHAP (Musco and Witter, 2025). In the place of its
        regression stands :mod:`~curation.explain.coalition_gp`.
    """

    num_samples: int = 128
    first_samples: int | None = None
    certain: float = 2.0
    kind: ScoreKind = ScoreKind.LOG_ODDS
    batch_size: int | None = None
    seed: int = 0
    region_share: float = 0.75
    smooth: bool = True

    name: ClassVar[str] = "gp_shap"

    def __post_init__(self) -> None:
        if self.num_samples < 4 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError("num_samples must be at least 4 and batch_size at least 1")
        if not 0 <= self.region_share <= 1:
            raise ValueError(f"region_share must lie in 0..1, not {self.region_share}")
        if 0 < self._first() < 4 or self._first() < 0 or self.certain < 0:
            raise ValueError("first_samples must be 0 or at least 4, and certain at least 0")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the batch size is not part of it."""
        return {
            "num_samples": self.num_samples,
            "first_samples": self._first(),
            "certain": self.certain,
            "kind": str(self.kind),
            "seed": self.seed,
            "region_share": self.region_share,
            "smooth": self.smooth,
        }

    def _first(self) -> int:
        """Images masked before any region is removed, or 0 where none is."""
        if self.first_samples is not None:
            return self.first_samples
        return max(4, self.num_samples * 7 // 16 * 2)

    def masks(self, num_segments: int) -> FloatArray:
        """The masks [N, S] of which the first are taken, the same for every image."""
        return sample_masks(num_segments, self.num_samples, np.random.default_rng(self.seed))

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Shapley values and their posterior standard deviations for all targets of an image."""
        return [
            self._attribution(target, segments, posterior)
            for target, posterior in zip(
                targets, self.posteriors(detector, image, targets, segments), strict=True
            )
        ]

    def repeat(
        self,
        detector: Detector,
        image: ImageArray,
        found: Sequence[Attribution],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """See :class:`~curation.explain.base.Repeats`; ``found`` is an answer of this method."""
        before = [each.belief for each in found if isinstance(each.belief, Posterior)]
        if not before:
            return []
        check_segments(segments, detector.input_size_hw)
        targets = [each.target for each in found]
        masks, first = before[0].masks, len(before[0].masks) - before[0].later
        x = detector.preprocess([image])
        scores = masked_scores(detector, x, segments, masks, targets, self.kind, self.batch_size)
        return [
            self._attribution(
                target,
                segments,
                believed(masks[:first], scores[:first, t], known.layout).and_more(
                    masks[first:], scores[first:, t]
                ),
            )
            for t, (target, known) in enumerate(zip(targets, before, strict=True))
        ]

    def _attribution(
        self, target: ScoreTarget, segments: SegmentArray, posterior: Posterior
    ) -> Attribution:
        values, errors = posterior.shapley()
        region_values, region_errors = posterior.banzhaf(self.region_share)
        return Attribution(
            target=target,
            segments=segments,
            values=values,
            standard_errors=errors,
            score=float(posterior.scores[0]),
            baseline_score=float(posterior.scores[1]),
            method=self.name,
            parameters=self.parameters,
            region_values=region_values,
            region_errors=region_errors,
            belief=posterior,
        )

    def posteriors(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Posterior]:
        """What the masked images tell of each target's score; arguments as of an explanation."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        x = detector.preprocess([image])  # [1, 3, h, w]
        size_wh = (image.shape[1], image.shape[0])
        boxes = detector.propose([image])[0].default_boxes_xyxy  # [A, 4]
        boxes = boxes[[target.default_box for target in targets]]  # [T, 4]
        layouts = _layouts(image, segments, boxes, self.smooth)

        def scored(masks: FloatArray) -> FloatArray:  # [N, T]
            return masked_scores(detector, x, segments, masks, targets, self.kind, self.batch_size)

        def looked(found: Sequence[Posterior]) -> list[Looked]:
            return [
                Looked(
                    self._of_regions(target, segments, posterior),
                    _is_seen(float(posterior.scores[0]), self.kind),
                    size_wh,
                    _as_box(box),
                )
                for target, posterior, box in zip(targets, found, boxes, strict=True)
            ]

        first = self._first() or self.num_samples
        masks = self.masks(superpixels.count(segments))  # [N, S]
        if len(masks) == 2 ** masks.shape[1] or first >= self.num_samples:
            scores = scored(masks)
            return [believed(masks, scores[:, t], layout) for t, layout in enumerate(layouts)]
        return in_turns(masks, scored, layouts, looked, self.num_samples, first, self.certain)

    def _of_regions(
        self, target: ScoreTarget, segments: SegmentArray, posterior: Posterior
    ) -> Attribution:
        values, errors = posterior.banzhaf(self.region_share)
        ends = float(posterior.scores[0]), float(posterior.scores[1])
        return Attribution(target, segments, values, errors, *ends, self.name, belief=posterior)


def sample_masks(num_segments: int, num_samples: int, rng: np.random.Generator) -> FloatArray:
    """Distinct masks in pairs of complements, as many of each size.

    Args:
        num_segments: S.
        num_samples: how many; one fewer are given where the number is odd, and all 2^S where
            there are no more.
        rng: source of sizes, members and order.

    Returns:
        [N, S] float32 of zeros and ones: all superpixels, none, then the pairs in random order,
        so that the first of them are a sample too.
    """
    ends = np.stack([np.ones(num_segments, np.float32), np.zeros(num_segments, np.float32)])
    if num_segments == 1:
        return ends
    kept = paired_design((num_samples - 2) // 2, num_segments, "leverage", rng).masks  # [P, S]
    kept = kept[rng.permutation(len(kept))]
    pairs = np.stack([kept, ~kept], axis=1).reshape(-1, num_segments)  # [2 P, S]
    return np.concatenate([ends, pairs.astype(np.float32)])


def _is_seen(score: float, kind: ScoreKind) -> bool:
    """Whether a target is found at even odds: the harm is then what supports it."""
    return score >= (0.5 if kind is ScoreKind.PROBABILITY else 0.0)


def _as_box(box_xyxy: FloatArray) -> Box:
    x1, y1, x2, y2 = (float(side) for side in box_xyxy)
    return x1, y1, x2, y2


def _layouts(
    image: ImageArray, segments: SegmentArray, boxes: FloatArray, smooth: bool
) -> list[Layout]:
    """What is known of the superpixels [S] before any score, for the default boxes [T, 4] px."""
    size_wh = (image.shape[1], image.shape[0])
    centres = superpixels.centroids_xy(segments) * (np.array(size_wh) / segments.shape[::-1])
    distances = [_distances(centres, box) for box in boxes]
    if not smooth:
        return [Layout(far) for far in distances]
    area = float(size_wh[0] * size_wh[1])
    one = Layout.of(distances[0], centres, superpixels.mean_colours_lab(image, segments), area)
    return [replace(one, distances=far) for far in distances]


def _distances(centres: Float64Array, box_xyxy: FloatArray) -> Float64Array:
    """[S], of centres [S, 2] px from the default box's, in units of half its width and height."""
    corners = box_xyxy.astype(np.float64).reshape(2, 2)
    half = np.maximum((corners[1] - corners[0]) / 2, 1.0)  # a pixel at least
    distances: Float64Array = np.linalg.norm((centres - corners.mean(axis=0)) / half, axis=1)
    return distances

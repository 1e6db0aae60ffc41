"""Shapley values from few masks: a Gaussian process that knows where the default box is.

Read :meth:`GPShap.explain`, then :mod:`curation.explain.coalition_gp`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from curation import superpixels
from curation.explain import coalition_gp
from curation.explain.base import check_segments, masked_scores
from curation.explain.coalitions import paired_design
from curation.explain.together import Coalitions
from curation.kernel.blas import one_thread
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import (
    Attribution,
    Estimate,
    FloatArray,
    ImageArray,
    IntArray,
    Pair,
    ScoreTarget,
)
from curation.superpixels import SegmentArray

# Masks that the kernel is fitted to; all of them enter the values. 320 instead of 192 raise the
# correlation with a converged reference by 0.001 and take three times as long.
_NUM_FIT = 192
# Scores that differ less than this, relative to their size, are equal: rounding of float32.
_FLAT = 1e-6


@dataclass(frozen=True, slots=True)
class GPShap:
    """Shapley values of superpixels, estimated from the scores of masked images.

    Needs no gradient, and the masked images serve every target: the cost is ``num_samples``
    forward passes and one for the places of the default boxes, whatever the number of targets.

    Args:
        num_samples: masked images, those of all and of no superpixel among them; at least 4.
            Where there are no more masks than that, all are taken and the values are exact.
        kind: unit of the explained score. Log-odds are nearest to a sum over superpixels.
        batch_size: masked images a forward pass; bounds memory, changes no value beyond
            rounding. None takes what suits the device.
        seed: of the masks. Two model versions explained under one seed share their masks.
        region_share: regions are made of weighted Banzhaf values, the difference that a
            superpixel makes while every other is shown with this probability. Shapley values
            average over all probabilities alike. Hardly anything shown says little of the image
            as it is, and with all shown planted causes are found less often.

    Source:
        The masks are those of paired Leverage SHAP (Musco and Witter, 2025). In the place of its
        regression stands :mod:`~curation.explain.coalition_gp`.
    """

    num_samples: int = 128
    kind: ScoreKind = ScoreKind.LOG_ODDS
    batch_size: int | None = None
    seed: int = 0
    region_share: float = 0.75

    name: ClassVar[str] = "gp_shap"

    def __post_init__(self) -> None:
        if self.num_samples < 4 or (self.batch_size is not None and self.batch_size < 1):
            raise ValueError("num_samples must be at least 4 and batch_size at least 1")
        if not 0 <= self.region_share <= 1:
            raise ValueError(f"region_share must lie in 0..1, not {self.region_share}")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the batch size is not part of it."""
        return {
            "num_samples": self.num_samples,
            "kind": str(self.kind),
            "seed": self.seed,
            "region_share": self.region_share,
        }

    def masks(self, num_segments: int) -> FloatArray:
        """The masks [N, S], the same for every image of S superpixels."""
        return sample_masks(num_segments, self.num_samples, np.random.default_rng(self.seed))

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Shapley values and their posterior standard deviations for all targets of an image."""
        result = []
        for target, posterior in zip(
            targets, self.posteriors(detector, image, targets, segments), strict=True
        ):
            values, errors = posterior.shapley()
            region_values, region_errors = posterior.banzhaf(self.region_share)
            result.append(
                Attribution(
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
            )
        return result

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
        masks = self.masks(superpixels.count(segments))  # [N, S]
        scores = masked_scores(
            detector, x, segments, masks, targets, self.kind, self.batch_size
        )  # [N, T]
        size_wh = (image.shape[1], image.shape[0])
        boxes = detector.propose([image])[0].default_boxes_xyxy  # [A, 4]
        result = []
        for column, target in enumerate(targets):
            distances = _distances(segments, boxes[target.default_box], size_wh)  # [S]
            result.append(believed(masks, scores[:, column], distances))
        return result


def believed(
    masks: FloatArray, scores: FloatArray, distances: coalition_gp.Float64Array
) -> Posterior:
    """What scores [N] of masks [N, S] tell; ``distances`` [S] as of :func:`coalition_gp.fit`."""
    with one_thread():
        return Posterior(masks, scores, distances, _kernel(masks, scores, distances))


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """What is believed of one target's score on any masked image.

    Attributes:
        masks: [N, S] float32 of zeros and ones, those of all and of no superpixel first.
        scores: [N] float32.
        distances: [S] of the superpixels from the default box, which the prior falls with.
        kernel: of the Gaussian process; None where no mask changes the score.
    """

    masks: FloatArray
    scores: FloatArray
    distances: coalition_gp.Float64Array
    kernel: coalition_gp.Kernel | None

    def shapley(self) -> tuple[FloatArray, FloatArray]:
        """Shapley values [S] float32 and their standard deviations [S]."""
        return self._scaled(coalition_gp.shapley)

    def banzhaf(self, shown: float) -> tuple[FloatArray, FloatArray]:
        """Weighted Banzhaf values, every other superpixel shown with that probability."""
        return self._scaled(functools.partial(coalition_gp.banzhaf, shown=shown))

    def pairs(self, groups: Sequence[IntArray], shown: float) -> list[list[Pair | None]]:
        """What disjoint groups of superpixels do beside each other, [G, G]; None of one and itself.

        See :class:`~curation.explain.together.Coalitions`; of scores that no mask changes all is 0.
        """
        y, spread = _standard(self.scores)
        if self.kernel is None:
            nothing = Pair(*[Estimate(0.0, 0.0)] * 3)
            return [[None if a is b else nothing for b in groups] for a in groups]
        with one_thread():
            known = Coalitions(self.masks.astype(np.float64), y, self.kernel)
            table = known.pairs(groups, shown)
        return [[None if pair is None else pair.times(spread) for pair in row] for row in table]

    def interactions(self, shown: float) -> FloatArray:
        """[S, S] float32, the interaction of every two superpixels; see there."""
        y, spread = _standard(self.scores)
        count = self.masks.shape[1]
        if self.kernel is None:
            return np.zeros((count, count), np.float32)
        with one_thread():
            known = Coalitions(self.masks.astype(np.float64), y, self.kernel)
            return (known.interactions(shown) * spread).astype(np.float32)

    def _scaled(
        self,
        index: Callable[
            [coalition_gp.Float64Array, coalition_gp.Float64Array, coalition_gp.Kernel],
            tuple[coalition_gp.Float64Array, coalition_gp.Float64Array],
        ],
    ) -> tuple[FloatArray, FloatArray]:
        y, spread = _standard(self.scores)
        num_segments = self.masks.shape[1]
        if self.kernel is None:
            even = (float(self.scores[0]) - float(self.scores[1])) / num_segments
            return (
                np.full(num_segments, even, np.float32),
                np.full(num_segments, spread, np.float32),
            )
        with one_thread():
            values, errors = index(self.masks.astype(np.float64), y, self.kernel)
        return (values * spread).astype(np.float32), (errors * spread).astype(np.float32)


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


def _distances(
    segments: SegmentArray, box_xyxy: FloatArray, size_wh: tuple[int, int]
) -> coalition_gp.Float64Array:
    """[S], of centres from the default box's, in units of half its width and height."""
    scale = np.array(size_wh) / segments.shape[::-1]
    centres = superpixels.centroids_xy(segments) * scale  # [S, 2] px of the image
    corners = box_xyxy.astype(np.float64).reshape(2, 2)
    half = np.maximum((corners[1] - corners[0]) / 2, 1.0)  # a pixel at least
    distances: coalition_gp.Float64Array = np.linalg.norm(
        (centres - corners.mean(axis=0)) / half, axis=1
    )
    return distances


def _standard(scores: FloatArray) -> tuple[coalition_gp.Float64Array, float]:
    """Scores [N] of mean 0 and deviation 1, unless they are all equal, and their deviation."""
    y = scores.astype(np.float64)
    spread = float(y.std())
    return (y - y.mean()) / (spread or 1.0), spread


def _kernel(
    masks: FloatArray, scores: FloatArray, distances: coalition_gp.Float64Array
) -> coalition_gp.Kernel | None:
    """The process for the scores of one target; None if they are equal but for rounding."""
    (y, spread), num_segments = _standard(scores), masks.shape[1]
    if spread <= _FLAT * max(1e-30, float(np.abs(scores).max())):  # nothing masked matters
        return None
    if len(masks) == 2**num_segments:  # all there are: interpolate, whatever the kernel
        return coalition_gp.Kernel(np.ones(num_segments), coalition_gp.END_NOISE)
    return coalition_gp.fit(masks[:_NUM_FIT].astype(np.float64), y[:_NUM_FIT], distances)

"""What the scores of masked images tell of a detection's score under any mask.

A thin layer over :mod:`~curation.explain.coalition_gp`, in the scores' own unit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from curation.explain import coalition_gp
from curation.explain.coalition_fit import Layout, fit
from curation.explain.together import Coalitions
from curation.kernel.blas import one_thread
from curation.kernel.types import Estimate, FloatArray, IntArray, Pair

# Masks that the kernel is fitted to; all of them enter the values. 320 instead of 192 raise the
# correlation with a converged reference by 0.001 and take three times as long.
_NUM_FIT = 192
# Scores that differ less than this, relative to their size, are equal: rounding of float32.
_FLAT = 1e-6

# Masks that show more than this share of the superpixels are those of regions that were removed.
_MOST_SHOWN = 0.8


def believed(masks: FloatArray, scores: FloatArray, layout: Layout) -> Posterior:
    """What scores [N] of masks [N, S] tell; ``layout`` of the S superpixels."""
    with one_thread():
        return Posterior(masks, scores, layout, _kernel(masks, scores, layout))


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """What is believed of one target's score on any masked image.

    Attributes:
        masks: [N, S] float32 of zeros and ones, those of all and of no superpixel first.
        scores: [N] float32.
        layout: of the superpixels; the prior falls with their distances from the default box.
        kernel: of the Gaussian process; None where no mask changes the score.
        later: so many of the masks, the last, were chosen by what the others told; the kernel is
            fitted to the others.
    """

    masks: FloatArray
    scores: FloatArray
    layout: Layout
    kernel: coalition_gp.Kernel | None
    later: int = 0

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

    def removals(self, groups: Sequence[IntArray]) -> list[Estimate]:
        """What the image as it is loses without each group; measured where it was masked so.

        See :class:`~curation.kernel.types.Belief`.
        """
        without = np.ones((len(groups), self.masks.shape[1]), np.float32)
        for row, group in zip(without, groups, strict=True):
            row[group] = 0
        known = {mask.tobytes(): float(s) for mask, s in zip(self.masks, self.scores, strict=True)}
        whole = float(self.scores[0])
        y, spread = _standard(self.scores)
        mean, errors = np.zeros(len(groups)), np.ones(len(groups))
        if self.kernel is not None and len(groups):
            with one_thread():
                mean, errors = coalition_gp.predicted(
                    self.masks.astype(np.float64), y, self.kernel, without.astype(np.float64)
                )
        centre = float(self.scores.astype(np.float64).mean())
        return [
            Estimate(whole - known[row.tobytes()], 0.0)
            if row.tobytes() in known
            else Estimate(whole - centre - float(value) * spread, float(error) * spread)
            for row, value, error in zip(without, mean, errors, strict=True)
        ]

    def removed(self) -> list[IntArray]:
        """Groups of superpixels without which the image as it is was scored, the last last.

        See :class:`~curation.kernel.types.Belief`; masks of more than a few are none of them.
        """
        later = self.masks[len(self.masks) - self.later :]
        return [np.flatnonzero(row == 0) for row in later if row.mean() > _MOST_SHOWN]

    def and_more(self, masks: FloatArray, scores: FloatArray) -> Posterior:
        """The same with further masks [M, S] and scores [M] under the same kernel."""
        if not len(masks):
            return self
        return replace(
            self,
            masks=np.concatenate([self.masks, masks]),
            scores=np.concatenate([self.scores, scores]),
            later=self.later + len(masks),
        )

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


def _standard(scores: FloatArray) -> tuple[coalition_gp.Float64Array, float]:
    """Scores [N] of mean 0 and deviation 1, unless they are all equal, and their deviation."""
    y = scores.astype(np.float64)
    spread = float(y.std())
    return (y - y.mean()) / (spread or 1.0), spread


def _kernel(masks: FloatArray, scores: FloatArray, layout: Layout) -> coalition_gp.Kernel | None:
    """The process for the scores of one target; None if they are equal but for rounding."""
    (y, spread), num_segments = _standard(scores), masks.shape[1]
    if spread <= _FLAT * max(1e-30, float(np.abs(scores).max())):  # nothing masked matters
        return None
    if len(masks) == 2**num_segments:  # all there are: interpolate, whatever the kernel
        return coalition_gp.Kernel(np.ones(num_segments), coalition_gp.END_NOISE)
    return fit(masks[:_NUM_FIT].astype(np.float64), y[:_NUM_FIT], layout)

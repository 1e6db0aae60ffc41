"""What superpixels do together: interactions and conditional effects, from the masks there are.

A score that falls only while two superpixels are both shown, an occluder and its shadow say, gives
each of them half of its harm at most. What they do to each other is linear in the score of a masked
image, as a Shapley value is, so the process of :mod:`~curation.explain.coalition_gp` gives it in
closed form, with its error, and no further image is masked.

In its kernel, a product of ``1 + t_i z'_i z''_i`` with ``z' = 2 z - 1``, a group of superpixels
that is shown or hidden as one keeps a product of such factors for each of the two; every superpixel
outside of the groups, shown with probability (1 + m) / 2, has the factor ``1 + t_j m z''_j``. What
superpixels do whatever else is shown adds to what a group does and takes no part in interactions.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from curation.explain.coalition_gp import Float64Array, Kernel
from curation.kernel.types import Estimate, IntArray, Pair

SHOWN: tuple[float, float] = (1.0, 0.0)
HIDDEN: tuple[float, float] = (0.0, 1.0)
DIFFERENCE: tuple[float, float] = (1.0, -1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Coalitions:
    """A process that has seen the scores of some masks; made once for all questions.

    Args:
        masks: [N, S] float64 of zeros and ones, distinct rows.
        scores: [N] float64.
        kernel: from :func:`~curation.explain.coalition_fit.fit`.
    """

    masks: Float64Array
    scores: Float64Array
    kernel: Kernel

    def pairs(self, groups: Sequence[IntArray], shown: float) -> list[list[Pair | None]]:
        """For each group (outer) and each other (inner) what the first does beside the second.

        Args:
            groups: of superpixels, 0..S-1, none in two of them.
            shown: the probability, in 0..1, with which every superpixel of neither is shown.

        Returns:
            [G, G]; None of a group and itself.

        Raises:
            ValueError: two groups share a superpixel, or one is empty.
        """
        _check(groups, self.masks.shape[1])
        solved, ones, lower, scale = self._solved()
        table: list[list[Pair | None]] = [[None] * len(groups) for _ in groups]
        for one, other in itertools.permutations(range(len(groups)), 2):
            asked = [
                [(groups[one], DIFFERENCE), (groups[other], state)] for state in (SHOWN, HIDDEN)
            ]
            with_scores = np.stack([self._with_scores(each, shown) for each in asked])  # [2, N]
            prior = np.array([[self._prior(a, b, shown) for b in asked] for a in asked])
            left = prior - with_scores @ cho_solve(lower, with_scores.T)
            # The mean is not known either; of a constant a difference is nought, so that what
            # remains is how the masks' scores stand in for it.
            missing = with_scores @ ones
            left = scale * (left + np.outer(missing, missing) / ones.sum())
            table[one][other] = _pair(with_scores @ solved, left)
        return table

    def interactions(self, shown: float) -> Float64Array:
        """[S, S] mean of the interaction of every two superpixels, zero on the diagonal.

        v with both minus v with either plus v with neither, while every other is shown with
        probability ``shown``: at 0.5 the Banzhaf interaction index (Grabisch and Roubens, 1999).
        """
        signs, strengths = 2 * self.masks - 1, self.kernel.strengths
        factors = 1 + (2 * shown - 1) * strengths * signs  # [N, S]
        log_scale = -np.log1p(strengths).sum()
        product = np.exp(np.log(factors).sum(axis=1) + log_scale)  # [N]
        solved = self._solved()[0]
        single = 2 * strengths * signs / factors  # [N, S]
        found: Float64Array = (single * (solved * product)[:, None]).T @ single
        found = (found + found.T) / 2  # equal to the last bit
        np.fill_diagonal(found, 0.0)
        return found

    def _solved(self) -> tuple[Float64Array, Float64Array, tuple[Float64Array, bool], float]:
        """Weights [N] of the scores, inverse times ones [N], the factor, and the scale s."""
        lower = cho_factor(self.kernel.covariance(self.masks), lower=True)
        ones = cho_solve(lower, np.ones(len(self.masks)))
        centred = self.scores - (ones @ self.scores) / ones.sum()
        solved = cho_solve(lower, centred)
        scale = float(solved @ centred) / max(1, len(self.masks) - 1)
        return solved, ones, lower, scale

    def _with_scores(
        self, functional: list[tuple[IntArray, tuple[float, float]]], shown: float
    ) -> Float64Array:
        """[N] covariance of a functional and the scores, as a share of s."""
        signs, strengths = 2 * self.masks - 1, self.kernel.strengths
        log_scale = -np.log1p(strengths).sum()
        free = np.ones(len(strengths), np.bool_)
        groups = np.ones(len(signs))
        for members, (if_shown, if_hidden) in functional:
            free[members] = False
            along = strengths[members] * signs[:, members]  # [N, g]
            groups = groups * (
                if_shown * np.prod(1 + along, axis=1) + if_hidden * np.prod(1 - along, axis=1)
            )
        rest = 1 + (2 * shown - 1) * strengths[free] * signs[:, free]
        product: Float64Array = groups * np.exp(np.log(rest).sum(axis=1) + log_scale)
        if self.kernel.linear is not None:
            product = product + signs @ (self.kernel.linear @ self._sum(functional, shown))
        return product

    def _prior(
        self,
        one: list[tuple[IntArray, tuple[float, float]]],
        other: list[tuple[IntArray, tuple[float, float]]],
        shown: float,
    ) -> float:
        """Covariance of two functionals before any score is known, as a share of s."""
        strengths = self.kernel.strengths
        m = 2 * shown - 1
        # A functional is a sum of corners: each group shown or hidden, with a factor.
        total = 0.0
        for factor, mean in _corners(one, len(strengths), m):
            for other_factor, other_mean in _corners(other, len(strengths), m):
                agreement = np.log1p(strengths * mean * other_mean).sum()
                total += factor * other_factor * float(np.exp(agreement))
        total *= float(np.exp(-np.log1p(strengths).sum()))
        linear = self.kernel.linear
        if linear is not None:
            total += float(self._sum(one, shown) @ linear @ self._sum(other, shown))
        return total

    def _sum(
        self, functional: list[tuple[IntArray, tuple[float, float]]], shown: float
    ) -> Float64Array:
        """[S], what a functional is of a sum over superpixels: the weight of each one's z'."""
        corners = _corners(functional, self.masks.shape[1], 2 * shown - 1)
        found: Float64Array = np.sum([factor * mean for factor, mean in corners], axis=0)
        return found


def _pair(values: Float64Array, covariance: Float64Array) -> Pair:
    """From the effect with the other shown and hidden, [2] and [2, 2]."""
    contrast = np.array([1.0, -1.0])
    beside, alone, both = np.sqrt(
        np.maximum(0.0, [covariance[0, 0], covariance[1, 1], contrast @ covariance @ contrast])
    )
    return Pair(
        Estimate(float(values[0]), float(beside)),
        Estimate(float(values[1]), float(alone)),
        Estimate(float(values[0] - values[1]), float(both)),
    )


def _corners(
    functional: list[tuple[IntArray, tuple[float, float]]], num_segments: int, m: float
) -> list[tuple[float, Float64Array]]:
    """The factor of each way to show or hide the groups, and the mean [S] of z' there."""
    corners: list[tuple[float, Float64Array]] = [(1.0, np.full(num_segments, m))]
    for members, weights in functional:
        grown = []
        for factor, mean in corners:
            for weight, sign in zip(weights, (1.0, -1.0), strict=True):
                if weight:
                    own = mean.copy()
                    own[members] = sign
                    grown.append((factor * weight, own))
        corners = grown
    return corners


def _check(groups: Sequence[IntArray], num_segments: int) -> None:
    every = np.concatenate([np.zeros(0, np.int64), *(np.asarray(g, np.int64) for g in groups)])
    if any(len(group) == 0 for group in groups):
        raise ValueError("a group of no superpixel does nothing; leave it out")
    if len(np.unique(every)) != len(every) or (every < 0).any() or (every >= num_segments).any():
        raise ValueError(f"groups must be disjoint and of superpixels in 0..{num_segments - 1}")

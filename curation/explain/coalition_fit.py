"""The kernel of :mod:`~curation.explain.coalition_gp` that a few scores make most probable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from curation.explain.coalition_gp import END_NOISE, Float64Array, Kernel, is_end

# Prior of the logarithms of rate at the centre, range, exponent, noise, and of the variance and the
# reach of what neighbours do alike: mean and deviation.
_PRIOR = np.array([(0.7, 1.5), (0.0, 1.0), (0.5, 0.7), (-6.9, 1.5), (-2.0, 1.5), (0.3, 0.5)])
_BOUNDS = [(-5.0, 5.0), (-3.0, 3.0), (-2.0, 2.5), (-13.0, 1.0), (-8.0, 4.0), (-2.0, 2.0)]
_SHARED = len(_PRIOR)
# Of log r_i about its prior, from references of trained detectors: 0.5, 1 and 2 do as well.
_DEVIATION = 1.0
_MAX_DEVIATION = 6.0
_MAX_ITERATIONS = 30
# CIELAB units within which colours are alike: 10 of 5, 10, 20, 40 and any were best in the order of
# superpixels that matter and cost least in the sign of those that harm, which an object beside them
# would pull to its own.
ALIKE_LAB = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where superpixels lie and what they look like: all that is known before the first score.

    Attributes:
        distances: [S], of each superpixel's centre from the default box's, in units of half its
            width and height.
        gaps: [S, S], squared distances of their centres, in mean superpixel areas; None where
            neighbours are not believed to do alike.
        alike: [S, S] in 0..1, how alike their colours are, positive semi-definite; with ``gaps``.
    """

    distances: Float64Array
    gaps: Float64Array | None = None
    alike: Float64Array | None = None

    @classmethod
    def of(
        cls,
        distances: Float64Array,
        centres: Float64Array,
        colours_lab: Float64Array,
        area: float,
    ) -> Self:
        """Of superpixels with these centres [S, 2] and mean colours [S, 3], CIELAB.

        ``area`` is that of the image, in the unit of the centres.
        """
        alike = np.exp(-_squared(colours_lab) / (2 * ALIKE_LAB**2))
        return cls(distances, _squared(centres) * (len(centres) / area), alike)


def _squared(points: Float64Array) -> Float64Array:
    """Squared distances [S, S] of points [S, D]."""
    found: Float64Array = ((points[:, None] - points[None]) ** 2).sum(axis=-1)
    return found


def fit(masks: Float64Array, scores: Float64Array, layout: Layout) -> Kernel:
    """The most probable kernel, given scores and where the superpixels lie.

    The rates have a prior that falls as a power of the distance, log r_i = a - p log(1 + d_i^2 /
    l^2) + e_i. What superpixels do whatever else is shown has the covariance

        L_ij = w t_i t_j exp(-gap_ij^2 / (2 k^2)) alike_ij,  t = tanh(r / 2),

    so that neighbours of one colour do alike, as far as they matter at all. a, l, p, the noise, w,
    k and all e_i are set together to their most probable values; the scale s and the mean are
    integrated out.

    Args:
        masks: [N, S] of zeros and ones, distinct rows.
        scores: [N], not all equal.
        layout: of the S superpixels.

    Returns:
        The kernel; deterministic.

    Source:
        Type II maximum likelihood with automatic relevance determination: Rasmussen and
        Williams, Gaussian Processes for Machine Learning, 2006, chapter 5.
    """
    objective = _Objective(2 * masks - 1, scores, layout, is_end(masks))
    start = np.r_[_PRIOR[:, 0], np.zeros(masks.shape[1])]
    limits = [*_BOUNDS, *[(-_MAX_DEVIATION, _MAX_DEVIATION)] * masks.shape[1]]
    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=limits,
        options={"maxiter": _MAX_ITERATIONS},
    )
    rates = objective.rates(found.x)
    return Kernel(rates, float(np.exp(found.x[3])), objective.linear(found.x, rates))


@dataclass(frozen=True, slots=True, eq=False)
class _Objective:
    """Negative logarithm of likelihood times prior, and its gradient."""

    signs: Float64Array
    scores: Float64Array
    layout: Layout
    is_end: npt.NDArray[np.bool_]

    def rates(self, theta: Float64Array) -> Float64Array:
        fall = np.log1p(self.layout.distances**2 * np.exp(-2 * theta[1]))  # [S]
        rates: Float64Array = np.exp(theta[0] - np.exp(theta[2]) * fall + theta[_SHARED:])
        return rates

    def linear(self, theta: Float64Array, rates: Float64Array) -> Float64Array | None:
        """L [S, S]; None where neighbours are not believed to do alike."""
        if self.layout.gaps is None or self.layout.alike is None:
            return None
        strengths = np.tanh(rates / 2)
        reach = np.exp(theta[4] - self.layout.gaps * (0.5 * np.exp(-2 * theta[5])))
        found: Float64Array = np.outer(strengths, strengths) * reach * self.layout.alike
        return found

    def __call__(self, theta: Float64Array) -> tuple[float, Float64Array]:
        rates, noise = self.rates(theta), np.exp(theta[3])
        half, linear = rates / 2, self.linear(theta, rates)
        product = np.exp((self.signs * half) @ self.signs.T - half.sum())  # [N, N]
        clean = product if linear is None else product + self.signs @ linear @ self.signs.T
        lower = cho_factor(clean + np.diag(np.where(self.is_end, END_NOISE, noise)), lower=True)
        inverse = cho_solve(lower, np.eye(len(clean)))
        ones = inverse.sum(axis=1)  # [N], inverse times the constant function
        weight, freedom = ones.sum(), len(clean) - 1
        solved = inverse @ (self.scores - (ones @ self.scores) / weight)  # [N]
        square = float(solved @ self.scores)
        value = 0.5 * (freedom * np.log(square / freedom) + np.log(weight))
        value += np.log(np.diag(lower[0])).sum()
        # d value / d covariance
        slope = inverse - np.outer(ones, ones) / weight
        slope = 0.5 * (slope - freedom / square * np.outer(solved, solved))  # [N, N]
        by_pair = slope * product
        by_log_rate = half * (((by_pair @ self.signs) * self.signs).sum(axis=0) - by_pair.sum())
        by_shared = np.zeros(2)
        if linear is not None:
            by_shared, more = self._of_linear(theta, rates, linear, slope)
            by_log_rate = by_log_rate + more
        gradient = np.r_[self._of_decay(theta, by_log_rate), 0.0, by_shared, by_log_rate]
        gradient[3] = np.diag(slope)[~self.is_end].sum() * noise
        shared, own = theta[:_SHARED], theta[_SHARED:]
        off = (shared - _PRIOR[:, 0]) / _PRIOR[:, 1], own / _DEVIATION
        value += 0.5 * float((off[0] ** 2).sum() + (off[1] ** 2).sum())
        gradient += np.r_[off[0] / _PRIOR[:, 1], off[1] / _DEVIATION]
        return float(value), gradient

    def _of_decay(self, theta: Float64Array, by_log_rate: Float64Array) -> Float64Array:
        """Gradient [3] by the rate at the centre, the range and the exponent."""
        scaled = self.layout.distances**2 * np.exp(-2 * theta[1])
        power = np.exp(theta[2])
        by_range = by_log_rate @ (2 * power * scaled / (1 + scaled))
        by_power = by_log_rate @ (-power * np.log1p(scaled))
        return np.array([by_log_rate.sum(), by_range, by_power])

    def _of_linear(
        self, theta: Float64Array, rates: Float64Array, linear: Float64Array, slope: Float64Array
    ) -> tuple[Float64Array, Float64Array]:
        """Gradient [2] by variance and reach of L, and what L adds to that by log r, [S]."""
        by_entry = (self.signs.T @ slope @ self.signs) * linear  # [S, S], times the entry
        gaps = self.layout.gaps
        assert gaps is not None
        by_reach = float((by_entry * gaps).sum() * np.exp(-2 * theta[5]))
        # d log tanh(r / 2) / d log r = r / sinh(r), and each t_i is in a row and a column
        by_log_rate = 2 * by_entry.sum(axis=1) * rates / np.sinh(np.minimum(rates, 500.0))
        return np.array([by_entry.sum(), by_reach]), by_log_rate

"""A Gaussian process over coalitions of superpixels, and the Shapley values of what it believes.

The score of an image of which only some superpixels are shown is a function of a mask z in
{0, 1}^S. Its prior covariance falls with what two masks disagree on::

    cov(v(z), v(z')) = s exp(-sum_i r_i [z_i != z'_i])

so that r_i says how much superpixel i matters, alone and together with others. A Shapley value is
linear in v, hence Gaussian too, with a mean and a variance in closed form. :func:`fit` finds the
rates, :func:`shapley` the values; neither knows of images or detectors.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

Float64Array: TypeAlias = npt.NDArray[np.float64]

# Two rows of masks, of all and of no superpixel, are known to this share of the prior variance:
# the values then sum to their difference.
END_NOISE = 1e-9
# Prior of the logarithms of rate at the centre, range, exponent and noise: mean and deviation.
_PRIOR = np.array([(0.7, 1.5), (0.0, 1.0), (0.5, 0.7), (-6.9, 1.5)])
_BOUNDS = [(-5.0, 5.0), (-3.0, 3.0), (-2.0, 2.5), (-13.0, 1.0)]
# Of log r_i about its prior, from references of trained detectors: 0.5, 1 and 2 do as well.
_DEVIATION = 1.0
_MAX_DEVIATION = 6.0
_MAX_ITERATIONS = 30
_MIN_NODES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """What decides the covariance.

    Attributes:
        rates: r, [S] float64, positive.
        noise: variance of what masks leave unexplained, as a share of s, at every mask but those
            of all and of no superpixel.
    """

    rates: Float64Array
    noise: float

    def covariance(self, masks: Float64Array) -> Float64Array:
        """[N, N] float64 of the scores of masks [N, S], as a share of s, with noise."""
        covariance = self.between(masks, masks)
        covariance[np.diag_indices(len(masks))] += self.noises(masks)
        return covariance

    def between(self, masks: Float64Array, others: Float64Array) -> Float64Array:
        """[N, M] float64 of what is to be known of masks [N, S] and [M, S], as a share of s."""
        half = self.rates / 2
        product: Float64Array = np.exp(((2 * masks - 1) * half) @ (2 * others - 1).T - half.sum())
        return product

    def noises(self, masks: Float64Array) -> Float64Array:
        """[N] float64, the noise of each mask."""
        return np.where(_is_end(masks), END_NOISE, self.noise)


def _is_end(masks: Float64Array) -> npt.NDArray[np.bool_]:
    share = masks.mean(axis=1)
    ends: npt.NDArray[np.bool_] = (share == 0) | (share == 1)
    return ends


def fit(masks: Float64Array, scores: Float64Array, distances: Float64Array) -> Kernel:
    """The most probable kernel, given scores and how far each superpixel is from the default box.

    The rates have a prior that falls as a power of the distance, log r_i = a - p log(1 + d_i^2 /
    l^2) + e_i. a, l, p, the noise and all e_i are set together to their most probable values; the
    scale s and the mean are integrated out.

    Args:
        masks: [N, S] of zeros and ones, distinct rows.
        scores: [N], not all equal.
        distances: [S], of each superpixel's centre from the default box's, in units of half its
            width and height.

    Returns:
        The kernel; deterministic.

    Source:
        Type II maximum likelihood with automatic relevance determination: Rasmussen and
        Williams, Gaussian Processes for Machine Learning, 2006, chapter 5.
    """
    objective = _Objective(2 * masks - 1, scores, distances**2, _is_end(masks))
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
    return Kernel(objective.rates(found.x), float(np.exp(found.x[3])))


@dataclass(frozen=True, slots=True, eq=False)
class _Objective:
    """Negative logarithm of likelihood times prior, and its gradient."""

    signs: Float64Array
    scores: Float64Array
    squares: Float64Array
    is_end: npt.NDArray[np.bool_]

    def rates(self, theta: Float64Array) -> Float64Array:
        fall = np.log1p(self.squares * np.exp(-2 * theta[1]))  # [S]
        rates: Float64Array = np.exp(theta[0] - np.exp(theta[2]) * fall + theta[4:])
        return rates

    def __call__(self, theta: Float64Array) -> tuple[float, Float64Array]:
        half, noise = self.rates(theta) / 2, np.exp(theta[3])
        clean = np.exp((self.signs * half) @ self.signs.T - half.sum())  # [N, N]
        noises = np.where(self.is_end, END_NOISE, noise)
        lower = cho_factor(clean + np.diag(noises), lower=True)
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
        by_pair = slope * clean
        by_log_rate = half * (((by_pair @ self.signs) * self.signs).sum(axis=0) - by_pair.sum())
        gradient = np.r_[self._of_decay(theta, by_log_rate), 0.0, by_log_rate]
        gradient[3] = np.diag(slope)[~self.is_end].sum() * noise
        off = (theta[:4] - _PRIOR[:, 0]) / _PRIOR[:, 1], theta[4:] / _DEVIATION
        value += 0.5 * float((off[0] ** 2).sum() + (off[1] ** 2).sum())
        gradient += np.r_[off[0] / _PRIOR[:, 1], off[1] / _DEVIATION]
        return float(value), gradient

    def _of_decay(self, theta: Float64Array, by_log_rate: Float64Array) -> Float64Array:
        """Gradient [3] by the rate at the centre, the range and the exponent."""
        scaled, power = self.squares * np.exp(-2 * theta[1]), np.exp(theta[2])
        by_range = by_log_rate @ (2 * power * scaled / (1 + scaled))
        by_power = by_log_rate @ (-power * np.log1p(scaled))
        return np.array([by_log_rate.sum(), by_range, by_power])


def shapley(
    masks: Float64Array, scores: Float64Array, kernel: Kernel
) -> tuple[Float64Array, Float64Array]:
    """Mean and standard deviation of the Shapley values, given the scores of some masks.

    A Shapley value is the average over m in -1..1 of the difference that superpixel i makes while
    every other is shown with probability (1 + m) / 2.

    Args:
        masks: [N, S] of zeros and ones, distinct rows, those of all and of no superpixel among
            them.
        scores: [N].
        kernel: from :func:`fit`.

    Returns:
        [S] values, which sum to the difference of the scores of all and of none, and [S]
        standard errors; of masks that are all there are, the exact values.

    Source:
        Bayesian quadrature of the linear functional (O'Hagan, 1991); Shapley values of
        Gaussian processes: Chau et al., 2023. The kernel, which makes both closed, is ours.
    """
    return _differences(masks, scores, kernel, *_quadrature(masks.shape[1]))


def banzhaf(
    masks: Float64Array, scores: Float64Array, kernel: Kernel, shown: float
) -> tuple[Float64Array, Float64Array]:
    """The same of weighted Banzhaf values: every other superpixel is shown with one probability.

    Args:
        masks: as of :func:`shapley`.
        scores: [N].
        kernel: from :func:`fit`.
        shown: the probability, in 0..1: 0.5 for the Banzhaf value, 1 for what the image gains by
            the superpixel.

    Returns:
        [S] values and [S] standard errors.

    Source:
        Weighted Banzhaf values: Marichal and Mathonet, 2011; as rankings that noise disturbs
        least: Wang and Jia, 2023, Li and Yu, 2023.
    """
    return _differences(masks, scores, kernel, np.array([2 * shown - 1]), np.ones(1))


def predicted(
    masks: Float64Array, scores: Float64Array, kernel: Kernel, others: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Mean [M] and standard deviation [M] of the scores of other masks [M, S], without noise."""
    lower = cho_factor(kernel.covariance(masks), lower=True)
    ones = cho_solve(lower, np.ones(len(masks)))  # [N]
    mean = (ones @ scores) / ones.sum()
    solved = cho_solve(lower, scores - mean)
    scale = float(solved @ (scores - mean)) / max(1, len(masks) - 1)
    across = kernel.between(masks, others)  # [N, M]
    left = 1 - np.einsum("nm,nm->m", across, cho_solve(lower, across))
    left = left + (1 - ones @ across) ** 2 / ones.sum()  # the mean is not known either
    return mean + across.T @ solved, np.sqrt(scale * np.maximum(left, 0))


def _differences(
    masks: Float64Array,
    scores: Float64Array,
    kernel: Kernel,
    nodes: Float64Array,
    weights: Float64Array,
) -> tuple[Float64Array, Float64Array]:
    """Posterior of a mean over nodes m of the differences that superpixels make."""
    lower = cho_factor(kernel.covariance(masks), lower=True)
    ones = cho_solve(lower, np.ones(len(masks)))  # [N]
    weight = ones.sum()
    centred = scores - (ones @ scores) / weight
    solved = cho_solve(lower, centred)  # [N]
    scale = float(solved @ centred) / max(1, len(masks) - 1)
    strengths = np.tanh(kernel.rates / 2)
    with_scores, prior = _moments(2 * masks - 1, strengths, nodes, weights)  # [S, N], [S]
    left = prior - np.einsum("sn,ns->s", with_scores, cho_solve(lower, with_scores.T))
    left = left + (with_scores @ ones) ** 2 / weight  # the mean is not known either
    return with_scores @ solved, np.sqrt(scale * np.maximum(left, 0))


def _moments(
    signs: Float64Array, strengths: Float64Array, nodes: Float64Array, weights: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Covariance [S, N] of differences and scores, and variance [S], as shares of s.

    With z' = 2 z - 1 the kernel is a product of 1 + t_i z'_i z''_i with t_i = tanh(r_i / 2);
    while every other superpixel is shown with probability (1 + m) / 2 its factor averages to
    1 + t_j m z''_j.
    """
    log_scale = -np.log1p(strengths).sum()
    with_scores = np.zeros(signs.T.shape)
    prior = np.zeros(len(strengths))
    for node, weight in zip(nodes, weights, strict=True):
        factors = 1 + node * strengths * signs  # [N, S]
        product = np.exp(np.log(factors).sum(axis=1) + log_scale)  # [N]
        with_scores += weight * (2 * strengths * signs * product[:, None] / factors).T
        pairs = 1 + node * strengths * nodes[:, None]  # [M, S], a node for each argument
        product = weights * np.exp(np.log(pairs).sum(axis=1) + log_scale)  # [M]
        prior += weight * (4 * strengths * product[:, None] / pairs).sum(axis=0)
    return with_scores, prior


@functools.cache
def _quadrature(num_segments: int) -> tuple[Float64Array, Float64Array]:
    """Nodes [M] in -1..1 and weights [M] of an average of a product of S factors 1 + t m.

    Such a product is a polynomial of degree S, for which (S + 1) / 2 nodes are exact. Fewer do
    where S is large: divided by its scale each factor is a mean of 1 and (1 +- m) / 2, and with
    m = cos x the powers of these fall off in frequency k at least as exp(-k^2 / 2 S), so that what
    more than sqrt(18 S) nodes see is below 1e-15. At 900 superpixels that is 130 instead of 451
    nodes and 0.1 s a target instead of 0.7; with 16 the values of a box as large as the image can
    lack a quarter of their sum.
    """
    exact = -(-(num_segments + 1) // 2)
    enough = math.ceil(math.sqrt(18 * num_segments)) + 2
    nodes, weights = np.polynomial.legendre.leggauss(max(_MIN_NODES, min(exact, enough)))
    return nodes, weights / 2

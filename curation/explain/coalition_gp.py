"""A Gaussian process over coalitions of superpixels, and the Shapley values of what it believes.

The score of an image of which only some superpixels are shown is a function of a mask z in
{0, 1}^S. Its prior covariance falls with what two masks disagree on::

    cov(v(z), v(z')) = s exp(-sum_i r_i [z_i != z'_i])

so that r_i says how much superpixel i matters, alone and together with others. To that may come
what superpixels do whatever else is shown, with a covariance L of its own, s z'^T L z'' with z' =
2 z - 1, by which neighbours that look alike do alike. A Shapley value is linear in v, hence
Gaussian too, with a mean and a variance in closed form. :func:`~curation.explain.coalition_fit.fit`
finds the kernel, :func:`shapley` the values; neither knows of images or detectors.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

Float64Array: TypeAlias = npt.NDArray[np.float64]

# Two rows of masks, of all and of no superpixel, are known to this share of the prior variance:
# the values then sum to their difference.
END_NOISE = 1e-9
# What decides alone has a rate at which tanh is 1 in float64, and then a factor 1 - t is nought:
# its logarithm, and the division by it that takes one superpixel out of a product, have no value.
_MOST_STRENGTH = 1 - 1e-12
_MIN_NODES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """What decides the covariance.

    Attributes:
        rates: r, [S] float64, positive.
        noise: variance of what masks leave unexplained, as a share of s, at every mask but those
            of all and of no superpixel.
        linear: L, [S, S] float64 positive semi-definite, as a share of s; None: all zero.
    """

    rates: Float64Array
    noise: float
    linear: Float64Array | None = None

    @property
    def strengths(self) -> Float64Array:
        """[S] float64 in 0..1, below 1: how much each matters, tanh(r / 2)."""
        return np.minimum(np.tanh(self.rates / 2), _MOST_STRENGTH)

    def covariance(self, masks: Float64Array) -> Float64Array:
        """[N, N] float64 of the scores of masks [N, S], as a share of s, with noise."""
        covariance = self.between(masks, masks)
        covariance[np.diag_indices(len(masks))] += self.noises(masks)
        return covariance

    def between(self, masks: Float64Array, others: Float64Array) -> Float64Array:
        """[N, M] float64 of what is to be known of masks [N, S] and [M, S], as a share of s."""
        half, signs, other_signs = self.rates / 2, 2 * masks - 1, 2 * others - 1
        found: Float64Array = np.exp((signs * half) @ other_signs.T - half.sum())
        return found if self.linear is None else found + signs @ self.linear @ other_signs.T

    def own(self, masks: Float64Array) -> Float64Array:
        """[N] float64, the prior variance of the score of each mask, as a share of s."""
        signs = 2 * masks - 1
        if self.linear is None:
            return np.ones(len(masks))
        found: Float64Array = 1 + np.einsum("ns,ns->n", signs @ self.linear, signs)
        return found

    def noises(self, masks: Float64Array) -> Float64Array:
        """[N] float64, the noise of each mask."""
        return np.where(is_end(masks), END_NOISE, self.noise)


def is_end(masks: Float64Array) -> npt.NDArray[np.bool_]:
    """[N], whether a mask shows all superpixels or none."""
    share = masks.mean(axis=1)
    ends: npt.NDArray[np.bool_] = (share == 0) | (share == 1)
    return ends


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
        kernel: from :func:`~curation.explain.coalition_fit.fit`.

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
        kernel: from :func:`~curation.explain.coalition_fit.fit`.
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
    left = kernel.own(others) - np.einsum("nm,nm->m", across, cho_solve(lower, across))
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
    signs, strengths = 2 * masks - 1, kernel.strengths
    with_scores, prior = _moments(signs, strengths, nodes, weights)  # [S, N], [S]
    if kernel.linear is not None:  # showing a superpixel moves its sign by 2, whatever the others
        with_scores = with_scores + 2 * kernel.linear @ signs.T
        prior = prior + 4 * np.diag(kernel.linear)
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

"""Least squares within an L1 ball: few weights, none of them large.

Read :func:`solve`; :func:`gaps` certifies what it returns.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

MU = 10.0
"""Largest sum of the absolute weights of a class, as VEBI publishes it."""

_TOLERANCE = 1e-4  # of the squares of the labels: how far above the least a fit may end
_MAX_STEPS = 5000
_CHECK_EVERY = 10
_Matrix = npt.NDArray[np.float64]


def project_l1(rows: _Matrix, radius: float) -> _Matrix:
    """The nearest points to rows [K, F] whose absolute values sum to at most ``radius``.

    Source:
        Duchi et al., "Efficient projections onto the l1-ball", ICML 2008.
    """
    sizes = np.abs(rows)
    falling = -np.sort(-sizes, axis=1)
    excess = np.cumsum(falling, axis=1) - radius
    ranks = np.arange(1, rows.shape[1] + 1)
    kept = (falling * ranks > excess).sum(axis=1).clip(min=1)  # coordinates that stay
    cut = np.take_along_axis(excess, kept[:, None] - 1, axis=1) / kept[:, None]
    return np.asarray(np.sign(rows) * np.maximum(sizes - np.maximum(cut, 0), 0))


def solve(features: _Matrix, wanted: _Matrix, mu: float = MU) -> _Matrix:
    """Weights [K, F] that minimise the squared error of each class within the L1 ball.

    Accelerated projected gradient, restarted where it overshoots, until the duality gap of each
    class is below a ten-thousandth of the sum of its squared labels.

    Args:
        features: [N, F].
        wanted: [N, K].
        mu: radius of the ball.
    """
    weights = np.zeros((wanted.shape[1], features.shape[1]))
    bound = 2 * float(np.linalg.norm(features, 2)) ** 2  # of the gradient's change
    if bound == 0:
        return weights
    allowed = _TOLERANCE * (wanted**2).sum(axis=0)  # [K]
    ahead, momentum = weights, 1.0
    for step in range(_MAX_STEPS):
        slope = _slope(features, wanted, ahead)
        moved = project_l1(ahead - slope / bound, mu)
        if np.sum((ahead - moved) * (moved - weights)) > 0:  # against the way it went
            momentum = 1.0
        following = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + (momentum - 1) / following * (moved - weights)
        weights, momentum = moved, following
        if step % _CHECK_EVERY == 0 and (gaps(features, wanted, weights, mu) <= allowed).all():
            break
    return weights


def gaps(features: _Matrix, wanted: _Matrix, weights: _Matrix, mu: float) -> _Matrix:
    """[K]: how far above the least squared error each row of weights can be at most."""
    slope = _slope(features, wanted, weights)
    return np.asarray((slope * weights).sum(axis=1) + mu * np.abs(slope).max(axis=1))


def _slope(features: _Matrix, wanted: _Matrix, weights: _Matrix) -> _Matrix:
    return np.asarray(2 * (features @ weights.T - wanted).T @ features)

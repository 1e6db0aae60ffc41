"""Least squares within an L1 ball: few weights, none of them large.

Read :func:`solve`; :func:`gaps` certifies what it returns.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import numpy.typing as npt

MU = 100.0
"""Largest sum of the absolute weights of a class.

VEBI publishes 10. With features that sum to 1 in each layer that leaves a class of BCCD one to four
channels, and all 402 boxes of 20 test images look like the commonest class; 100 leaves 13 to 30 and
85 % of the boxes are told, 300 leaves 43 to 83 and 87 % are (SSDLite-EfficientNet-Lite0).
"""

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

    The path of least angle regression is followed to where the ball ends, which is exact; a path
    that breaks off, as it may where features are multiples of each other, is mended by
    :func:`descend`.

    Args:
        features: [N, F].
        wanted: [N, K].
        mu: radius of the ball.

    Source:
        Efron et al., "Least angle regression", Annals of Statistics 2004, by scikit-learn.
    """
    inner = features.T @ features  # [F, F]
    weights = np.array([_along_path(inner, features.T @ column, mu) for column in wanted.T])
    broken = gaps(features, wanted, weights, mu) > _TOLERANCE * (wanted**2).sum(axis=0)
    if broken.any():
        weights[broken] = descend(features, wanted[:, broken], mu, weights[broken])
    return weights


def _along_path(inner: _Matrix, pull: _Matrix, mu: float) -> _Matrix:
    """Weights [F] where the path of one class leaves the ball, or at its end."""
    from sklearn.exceptions import ConvergenceWarning  # imported here: costs a second
    from sklearn.linear_model import lars_path_gram

    if not pull.any():
        return np.zeros(len(pull))
    length = 64
    while True:
        with warnings.catch_warnings():  # of a path that breaks off, which solve() sees
            warnings.simplefilter("ignore", ConvergenceWarning)
            _, _, steps, taken = lars_path_gram(
                pull, inner, n_samples=1, max_iter=length, method="lasso", return_n_iter=True
            )
        sizes = np.abs(steps).sum(axis=0)  # rises along the path
        if sizes[-1] >= mu or taken < length or length > 4 * len(pull):
            break
        length *= 2
    if sizes[-1] <= mu:
        return np.asarray(steps[:, -1])
    after = int(np.argmax(sizes > mu))  # linear between two steps
    share = (mu - sizes[after - 1]) / (sizes[after] - sizes[after - 1])
    return np.asarray(steps[:, after - 1] + share * (steps[:, after] - steps[:, after - 1]))


def descend(features: _Matrix, wanted: _Matrix, mu: float, start: _Matrix) -> _Matrix:
    """As :func:`solve`, from any start [K, F]: slower, but it cannot break off.

    Accelerated projected gradient, restarted where it overshoots, until the duality gap of each
    class is below a ten-thousandth of the sum of its squared labels.

    Source:
        Beck and Teboulle, 2009; O'Donoghue and Candes, 2015.
    """
    weights = project_l1(start, mu)
    bound = 2 * float(np.linalg.norm(features, 2)) ** 2  # of the gradient's change
    if bound == 0:
        return np.zeros_like(weights)
    allowed = _TOLERANCE * (wanted**2).sum(axis=0)  # [K]
    ahead, momentum = weights, 1.0
    for step in range(_MAX_STEPS):
        moved = project_l1(ahead - _slope(features, wanted, ahead) / bound, mu)
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

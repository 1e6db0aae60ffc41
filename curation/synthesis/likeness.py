"""Whether what was drawn looks like what is real, in vectors of the project's own encoder.

These are alarms. None of them says that a sample is worth training on: generated images that score
better here do not train better detectors.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curation.kernel.types import FloatArray

_BLOCK = 1024
_SUBSETS, _SUBSET = 50, 100


def neighbour_distances(
    vectors: FloatArray, among: FloatArray, count: int, same: bool = False
) -> FloatArray:
    """[N, count] Euclidean distances to the nearest of other vectors, by rising distance.

    Args:
        vectors: [N, V] float32.
        among: [M, V] float32.
        count: of neighbours, fewer where there are fewer.
        same: whether both are the same set in the same order; none is its own neighbour then.
    """
    other = among.astype(np.float64)
    squares = (other**2).sum(axis=1)
    count = min(count, len(among) - same)
    found = np.zeros((len(vectors), count), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        own = vectors[start : start + _BLOCK].astype(np.float64)
        distance = (own**2).sum(axis=1)[:, None] + squares - 2 * own @ other.T
        if same:
            rows = np.arange(len(own))
            distance[rows, rows + start] = np.inf
        nearest = np.sort(np.partition(distance, count - 1, axis=1)[:, :count], axis=1)
        found[start : start + len(own)] = np.sqrt(np.maximum(nearest, 0))
    return found


def realism(drawn: FloatArray, real: FloatArray, k: int = 5, quantile: float = 0.99) -> FloatArray:
    """[N] float32: mean distance to the k nearest real vectors over what is usual among these.

    Args:
        drawn: [N, V] vectors of what was drawn.
        real: [M, V] vectors of real pictures, k + 1 at least.
        k: neighbours.
        quantile: of the same distance among the real ones, that counts as 1.

    Returns:
        At most 1 for what is as near to the real as the real is to itself.

    Raises:
        ValueError: too few real vectors.
    """
    if len(real) <= k:
        raise ValueError(
            f"{len(real)} real vectors for {k} neighbours: at least {k + 1} are needed"
        )
    usual = np.quantile(neighbour_distances(real, real, k, same=True).mean(axis=1), quantile)
    own = neighbour_distances(drawn, real, k).mean(axis=1)
    share: FloatArray = (own / max(float(usual), 1e-12)).astype(np.float32)
    return share


def memorised(drawn: FloatArray, training: FloatArray, others: int = 50) -> FloatArray:
    """[N] float32: distance to the nearest training vector over the median of the next ones.

    Near 0: the sample repeats something that its generator was trained on; near 1: it does not.

    Args:
        drawn: [N, V] vectors of what was drawn.
        training: [M, V] vectors of what the generator was trained on, two at least.
        others: how many of the next nearest make the median.

    Raises:
        ValueError: fewer than two training vectors.

    Source:
        Carlini et al., "Extracting Training Data from Diffusion Models", 2023.
    """
    if len(training) < 2:
        raise ValueError("memorisation needs two training vectors at least")
    found = neighbour_distances(drawn, training, others + 1)
    usual = np.maximum(np.median(found[:, 1:], axis=1), 1e-12)
    return np.asarray(found[:, 0] / usual, np.float32)


def kernel_distance(
    drawn: FloatArray, real: FloatArray, rng: np.random.Generator
) -> tuple[float, float]:
    """KID between two sets of vectors: its mean over subsets, and the standard deviation of it.

    0 on average for two samples of one distribution; may be negative. Name it after the encoder
    of the vectors: it is not the KID of the literature, which has another network.

    Args:
        drawn: [N, V] float32, two at least.
        real: [M, V] float32, two at least.
        rng: of the subsets.

    Raises:
        ValueError: fewer than two vectors on a side.

    Source:
        Binkowski et al., "Demystifying MMD GANs", 2018: unbiased squared maximum mean
        discrepancy with the kernel (x y / V + 1)^3.
    """
    if min(len(drawn), len(real)) < 2:
        raise ValueError("the kernel distance needs two vectors on each side")
    size = min(_SUBSET, len(drawn), len(real))
    values = []
    for _ in range(_SUBSETS):
        x = drawn[rng.choice(len(drawn), size, replace=False)].astype(np.float64)
        y = real[rng.choice(len(real), size, replace=False)].astype(np.float64)
        values.append(_discrepancy(x, y))
    return float(np.mean(values)), float(np.std(values))


def _discrepancy(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    width, size = x.shape[1], len(x)
    within = 0.0
    for own in (x, y):
        kernel = (own @ own.T / width + 1) ** 3
        within += float(kernel.sum() - np.trace(kernel)) / (size * (size - 1))
    return within - 2 * float(((x @ y.T / width + 1) ** 3).mean())

"""Does one kind of object fail for one reason, or for several?

A single explanation is noisy: the regions that it blames resemble those of the next failure only a
little, even where both have one cause. Grouping single explanations by their likeness therefore
breaks one cause into many. Here failures of like objects are divided only where the two halves,
each as a whole, blame different things: what noise takes off their likeness is given back before
it is judged, and halves are judged by other coordinates than they were found by, since two halves
of anything look unlike where they were chosen to.

Sources:
    Spearman, "The Proof and Measurement of Association between Two Things", 1904: the correction
    for attenuation. Boley, "Principal Direction Divisive Partitioning", 1998: where halves start.
"""

from __future__ import annotations

import numpy as np

from curation.kernel.types import BoolArray, FloatArray, IntArray

LEVEL = 0.05
"""Of the permutation test: how often halves by lot may look as different."""
PERMUTATIONS = 200
MIN_HALF = 4
"""Members of the smallest halves that the test can tell from halves by lot."""
MOST = 2000
"""Members that are compared with each other: an even sample of a larger group tells as well."""


def by_harm(harm: FloatArray, max_likeness: float) -> IntArray:
    """Divide failures until no group falls into halves that blame different things.

    Args:
        harm: [N, m] float32 of unit length, what hurt each failure; rows of zeros, where an
            explanation found nothing, go with the largest group.
        max_likeness: halves are divided below this likeness, see ``likeness``.

    Returns:
        [N] int64 group of each failure, 0 the largest one; the same for the same rows.
    """
    labels = np.zeros(len(harm), np.int64)
    groups = _divided(harm, np.flatnonzero(harm.any(axis=1)), max_likeness)
    groups.sort(key=lambda rows: -len(rows))
    for label, rows in enumerate(groups):
        labels[rows] = label
    return labels


def likeness(vectors: FloatArray, second: BoolArray) -> float:
    """Cosine of what two groups would be without the noise of their members.

    The mean similarity across, over the geometric mean of the mean similarities of different
    members within. Noise lowers all three alike, so that the quotient estimates the cosine of the
    causes: near 1 for two samples of one cause, near 0 for unrelated ones.

    Args:
        vectors: [N, m] of unit length.
        second: [N] whether a row is of the second group; at least two are, at least two are not.

    Returns:
        The estimate, outside of -1..1 by chance; 1 where a group is not even like itself, so that
        nothing can be told apart.
    """
    first, other, across = (
        float(part[0]) for part in _similarities(vectors @ vectors.T, second[None])
    )
    return across / np.sqrt(first * other) if first > 0 and other > 0 else 1.0


def _divided(harm: FloatArray, rows: IntArray, max_likeness: float) -> list[IntArray]:
    if len(rows) < 2 * MIN_HALF:
        return [rows]
    second = _halves(harm[rows])
    judged = rows[:: -(-len(rows) // MOST)]
    if min(second.sum(), (~second).sum()) < MIN_HALF or _alike(harm[judged], max_likeness):
        return [rows]
    halves = (rows[~second], rows[second])
    return [group for half in halves for group in _divided(harm, half, max_likeness)]


def _alike(vectors: FloatArray, max_likeness: float) -> bool:
    """Whether the two halves of a group may well blame the same."""
    found = []
    mixed = _mixed(vectors)
    for start in (0, 1):
        judged = unit(mixed[:, 1 - start :: 2])
        second = _halves(unit(mixed[:, start::2]))
        if min(second.sum(), (~second).sum()) < 2 or _by_lot(judged, second) > LEVEL:
            return True
        found.append(likeness(judged, second))
    return float(np.mean(found)) >= max_likeness


def _by_lot(vectors: FloatArray, second: BoolArray) -> float:
    """Share of random halves of these sizes whose members are as much more alike within as these.

    A permutation test; its lot is fixed, so that the same failures give the same modes.
    """
    rng = np.random.default_rng(0)
    drawn = rng.permuted(np.repeat(second[None], PERMUTATIONS, axis=0), axis=1)
    first, other, across = _similarities(vectors @ vectors.T, np.concatenate([second[None], drawn]))
    contrast = (first + other) / 2 - across
    return float((contrast >= contrast[0] - 1e-9).mean())


def _similarities(
    similar: FloatArray, second: BoolArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean similarity [P] of different members of the first group, of the second, and across.

    Args:
        similar: [N, N] of unit vectors.
        second: [P, N] divisions, each with two members or more on both sides.
    """
    one, two = (~second).astype(np.float64), second.astype(np.float64)
    sizes = one.sum(1), two.sum(1)
    first, other = (
        ((side @ similar * side).sum(1) - size) / (size * (size - 1))
        for side, size in zip((one, two), sizes, strict=True)
    )
    return first, other, (one @ similar * two).sum(1) / (sizes[0] * sizes[1])


def _halves(vectors: FloatArray) -> BoolArray:
    """[N] whether a row is of the second half: two means, begun on both sides of the main axis."""
    from sklearn.cluster import KMeans

    centred = vectors - vectors.mean(0)
    side: BoolArray = centred @ np.linalg.svd(centred, full_matrices=False)[2][0] > 0
    if side.all() or not side.any():  # all the same
        return np.zeros(len(vectors), np.bool_)
    starts = np.stack([vectors[~side].mean(0), vectors[side].mean(0)])
    found = KMeans(2, init=starts, n_init=1).fit(vectors).labels_
    second: BoolArray = found != found[0]
    return second


def _mixed(vectors: FloatArray) -> FloatArray:
    """The same vectors [N, m] turned, so that every second coordinate knows half of everything.

    Source:
        Ailon and Chazelle, "The Fast Johnson-Lindenstrauss Transform", 2009: random signs, then a
        fast orthogonal transform, spread what lies in few coordinates over all.
    """
    from scipy.fft import dct

    signs = np.random.default_rng(0).choice([-1.0, 1.0], vectors.shape[1])
    mixed: FloatArray = dct(vectors * signs, axis=1, norm="ortho")
    return mixed


def unit(vectors: FloatArray) -> FloatArray:
    """The same directions [..., m] at length 1; zeros stay zeros."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: FloatArray = (vectors / np.maximum(norms, 1e-12)).astype(np.float32)
    return found

"""Groups of like vectors by average linkage, in bounded memory."""

from __future__ import annotations

import numpy as np

from curation.kernel.types import FloatArray, IntArray

MOST = 2000
"""Vectors that are compared with all others; 2000 take 50 MiB, twice as many four times that."""


def groups(vectors: FloatArray, max_distance: float, most: int = MOST) -> IntArray:
    """Group [N] of each vector; the same for the same vectors.

    Of more than ``most`` an even sample is clustered. The others join the group whose mean cosine
    distance to them is least, if it is within ``max_distance``, which is what average linkage would
    ask; those that resemble no group are clustered in their turn.

    Args:
        vectors: [N, m] of unit length.
        max_distance: mean cosine distance up to which two groups are one.
        most: vectors that are clustered at a time.
    """
    labels, waiting, found = np.full(len(vectors), -1), np.arange(len(vectors)), 0
    while len(waiting):
        sample = waiting[:: -(-len(waiting) // most)]
        own = _agglomerate(vectors[sample], max_distance)
        labels[sample] = found + own
        means = np.stack([vectors[sample[own == group]].mean(0) for group in range(own.max() + 1)])
        waiting = np.setdiff1d(waiting, sample)
        for start in range(0, len(waiting), most):
            rows = waiting[start : start + most]
            likeness = vectors[rows] @ means.T  # [most, groups]
            near = likeness.max(1) >= 1 - max_distance
            labels[rows[near]] = found + likeness[near].argmax(1)
        waiting, found = waiting[labels[waiting] < 0], found + len(means)
    result: IntArray = labels.astype(np.int64)
    return result


def _agglomerate(vectors: FloatArray, max_distance: float) -> IntArray:
    if len(vectors) < 2:
        return np.zeros(len(vectors), np.int64)
    from sklearn.cluster import AgglomerativeClustering

    distances = np.clip(1 - vectors @ vectors.T, 0, 2)
    model = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=max_distance
    )
    labels: IntArray = model.fit(distances).labels_.astype(np.int64)
    return labels

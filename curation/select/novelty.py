"""Is it missing? How unlike the objects that are trained on already a failed object is.

Not every failure asks for data. A small object far away is missed although the training set is
full of its like: more of them will change little. A failure that nothing in the training set
resembles is one that data can fix.

Source:
    Conformal p-values of a k-nearest-neighbour score: Bates et al., "Testing for Outliers with
    Conformal p-values", Annals of Statistics 2023; the score as in Sun et al., "Out-of-Distribution
    Detection with Deep Nearest Neighbors", ICML 2022. We calibrate on the training objects
    themselves, each without itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from curation.kernel.types import BoolArray, FloatArray, IntArray

MIN_KNOWN = 20
"""With fewer known objects of a class nothing can be said about it."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownObjects:
    """Objects that the detector was trained on, or a sample of them.

    Attributes:
        vectors: [T, W] float32 raw vectors of their boxes, of the index's encoder.
        labels: [T] int64 classes.
    """

    vectors: FloatArray
    labels: IntArray

    def __post_init__(self) -> None:
        if len(self.vectors) != len(self.labels):
            raise ValueError(f"{len(self.vectors)} vectors, {len(self.labels)} labels")

    def of(self, label: int) -> FloatArray:
        """[n, W] raw vectors of one class."""
        rows: BoolArray = self.labels == label
        return self.vectors[rows]

    def alike(self, transform: Callable[[FloatArray], FloatArray]) -> dict[int, float]:
        """By class, the mean cosine of two different objects; classes of ``MIN_KNOWN`` or more.

        Args:
            transform: raw vectors to comparable ones of unit length, such as ``Metric.apply``.
        """
        found = {}
        for label in np.unique(self.labels):
            known = transform(self.of(int(label))).astype(np.float64)
            size = len(known)
            if size >= MIN_KNOWN:  # the sum over all pairs, without each with itself
                total = np.square(known.sum(0)).sum() - np.square(known).sum()
                found[int(label)] = float(total / (size * (size - 1)))
        return found


def novelty(objects: FloatArray, known: FloatArray, neighbours: int = 5) -> FloatArray:
    """The share of known objects that have nearer neighbours among the known than an object has.

    Args:
        objects: [F, m] float32 of unit length.
        known: [n, m] float32 of unit length, of the same class.
        neighbours: similarities that are averaged.

    Returns:
        [F] float32 in 0..1: uniform for objects that are like the known ones, near 1 for those
        that nothing resembles; 1 where fewer than ``MIN_KNOWN`` are known.
    """
    if len(known) < MIN_KNOWN:
        return np.ones(len(objects), np.float32)
    among = known @ known.T
    np.fill_diagonal(among, -np.inf)
    usual = np.sort(_nearest(among, neighbours))  # [n]
    rank = np.searchsorted(usual, _nearest(objects @ known.T, neighbours))
    return np.asarray(1 - rank / len(known), np.float32)


def _nearest(similarities: FloatArray, neighbours: int) -> FloatArray:
    """[F] mean of the greatest values of each row."""
    mean: FloatArray = np.sort(similarities, axis=1)[:, -neighbours:].mean(1)
    return mean

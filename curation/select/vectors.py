"""Vectors of images and regions made comparable: centred on the pool, of unit length.

One that holds NaN or infinity would spoil the mean, and with it all others: it counts as unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from curation.kernel.types import BoolArray, FloatArray
from curation.select.base import PoolImage

BLOCK = 4096
"""Vectors that are held in single precision at a time: 7 MB of 432 numbers."""


def finite(vectors: FloatArray) -> BoolArray:
    """[N] which of the vectors [N, D] hold neither NaN nor infinity."""
    rows: BoolArray = np.logical_and.reduce(np.isfinite(vectors), axis=1)
    return rows


def with_vector(pool: Iterable[PoolImage]) -> list[PoolImage]:
    """Images that have a finite whole-image vector, in the same order."""
    return [i for i in pool if i.vector is not None and np.isfinite(i.vector).all()]


def finite_rois(image: PoolImage) -> FloatArray:
    """[N', W] region vectors of its detections that are finite; N' is 0 if it has none."""
    return np.zeros((0, 0), np.float32) if image.rois is None else image.rois[finite(image.rois)]


class Whole:
    """Whole-image vectors of a pool, compared after their mean is taken off.

    They stay in the precision that they are stored in; single precision takes ``BLOCK`` at a time.

    Args:
        pool: images that have one, see ``with_vector``; at least one.
    """

    def __init__(self, pool: Sequence[PoolImage]) -> None:
        self._vectors = np.stack([image.vector for image in pool if image.vector is not None])
        total = sum(block.sum(0, dtype=np.float64) for _, block in self._blocks())
        self.mean: FloatArray = np.asarray(total / len(self._vectors), np.float32)  # [D]
        self._lengths = np.empty(len(self._vectors), np.float32)
        for rows, block in self._blocks():
            self._lengths[rows] = np.linalg.norm(block - self.mean, axis=1)
        np.maximum(self._lengths, 1e-12, out=self._lengths)

    def __len__(self) -> int:
        return len(self._vectors)

    def alike(self, vectors: FloatArray) -> FloatArray:
        """[Q, I] cosine of each image to raw vectors [Q, D]."""
        found = np.empty((len(vectors), len(self)), np.float32)
        for rows, similarities in self._compared(centred(vectors, self.mean)):
            found[:, rows] = similarities.T
        return found

    def nearest(self, vectors: FloatArray) -> FloatArray:
        """[I] greatest cosine of each image to any of raw vectors [Q, D], Q at least 1."""
        found = np.empty(len(self), np.float32)
        for rows, similarities in self._compared(centred(vectors, self.mean)):
            found[rows] = similarities.max(axis=1)
        return found

    def to(self, row: int) -> FloatArray:
        """[I] cosine of each image to one of them."""
        found: FloatArray = self.alike(np.asarray(self._vectors[row : row + 1], np.float32))[0]
        return found

    def _compared(self, units: FloatArray) -> Iterator[tuple[slice, FloatArray]]:
        for rows, block in self._blocks():
            alike = ((block - self.mean) @ units.T) / self._lengths[rows, None]
            yield rows, np.asarray(alike, np.float32)

    def _blocks(self) -> Iterator[tuple[slice, FloatArray]]:
        for start in range(0, len(self._vectors), BLOCK):
            rows = slice(start, min(start + BLOCK, len(self._vectors)))
            yield rows, np.asarray(self._vectors[rows], np.float32)


def centred(vectors: FloatArray, mean: FloatArray) -> FloatArray:
    """[N, D] of unit length after the mean was taken off."""
    moved = np.asarray(vectors, np.float32) - mean
    unit: FloatArray = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
    return unit


def mean_roi(images: Iterable[PoolImage]) -> FloatArray:
    """[W] mean of all region vectors of some images, the same in whatever order they come.

    Raises:
        ValueError: none of them has region vectors.
    """
    total, count = 0.0, 0
    for rois in map(finite_rois, images):  # in double precision: the order tells no more
        if len(rois):
            total, count = total + rois.sum(0, dtype=np.float64), count + len(rois)
    if not count:
        raise ValueError("this policy compares detected objects: embed the detections of the pool")
    return np.asarray(total / count, np.float32)

"""Vectors of images and regions made comparable: centred on the pool, of unit length.

One that holds NaN or infinity would spoil the mean, and with it all others: it counts as unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from curation.kernel.types import BoolArray, FloatArray
from curation.select.base import PoolImage


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


def vectors_of(pool: Sequence[PoolImage]) -> FloatArray:
    """[I, D] whole-image vectors of images that have one."""
    return np.stack([image.vector for image in pool if image.vector is not None])


def mean_vector(pool: Sequence[PoolImage]) -> FloatArray:
    """[D] mean of the pool's whole-image vectors."""
    mean: FloatArray = vectors_of(pool).mean(0)
    return mean


def centred(vectors: FloatArray, mean: FloatArray) -> FloatArray:
    """[N, D] of unit length after the mean was taken off."""
    moved = np.asarray(vectors, np.float32) - mean
    unit: FloatArray = moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
    return unit


def mean_roi(pool: Sequence[PoolImage]) -> FloatArray:
    """[W] mean of all the pool's region vectors, the same in whatever order the pool is given.

    Raises:
        ValueError: no image of the pool has region vectors.
    """
    by_name = sorted(pool, key=lambda image: image.image)  # a sum of floats depends on the order
    known = [rois for rois in map(finite_rois, by_name) if len(rois)]
    if not known:
        raise ValueError("this policy compares detected objects: embed the detections of the pool")
    mean: FloatArray = np.concatenate(known).mean(0)
    return mean

"""Vectors of images and regions made comparable: centred on the pool, of unit length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curation.select.base import PoolImage
from curation.types import FloatArray


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
    """[W] mean of all the pool's region vectors.

    Raises:
        ValueError: no image of the pool has region vectors.
    """
    known = [image.rois for image in pool if image.rois is not None and len(image.rois)]
    if not known:
        raise ValueError("this policy compares detected objects: embed the detections of the pool")
    mean: FloatArray = np.concatenate(known).mean(0)
    return mean

"""Average linkage whose memory does not grow with the square of what is clustered."""

from __future__ import annotations

import tracemalloc

import numpy as np
from sklearn.metrics import adjusted_rand_score

from curation.kernel.types import FloatArray, IntArray
from curation.modes.linkage import groups

WIDTH = 32


def clouds(sizes: list[int], noise: float = 0.05) -> tuple[FloatArray, IntArray]:
    """Vectors of unit length around axes, in mixed order, and the axis of each."""
    rng = np.random.default_rng(3)
    axis = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = np.eye(WIDTH)[axis] + noise * rng.normal(size=(len(axis), WIDTH))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), axis


def test_a_sample_gives_the_groups_of_all() -> None:
    vectors, axis = clouds([90, 60, 30])
    assert adjusted_rand_score(axis, groups(vectors, 0.5)) == 1
    assert adjusted_rand_score(axis, groups(vectors, 0.5, most=40)) == 1


def test_what_the_sample_lacks_is_found_in_its_turn() -> None:
    vectors, axis = clouds([200, 2])
    order = np.argsort(-axis, kind="stable")[::-1]  # the two come last: not in the sample
    found = groups(vectors[order], 0.5, most=20)
    assert adjusted_rand_score(axis[order], found) == 1
    assert sorted(np.bincount(found)) == [2, 200]


def test_none_and_one_are_groups() -> None:
    assert groups(np.zeros((0, WIDTH), np.float32), 0.5).tolist() == []
    assert groups(np.eye(WIDTH, dtype=np.float32)[:1], 0.5).tolist() == [0]


def test_memory_does_not_grow_with_the_square() -> None:
    vectors, _ = clouds([4000, 4000])
    found, peak = _measured(vectors)
    assert np.bincount(found).tolist() == [4000, 4000]
    assert peak < 30 * 2**20  # 8000 against 8000 would take 244 MiB
    scattered = np.random.default_rng(0).normal(size=(8000, WIDTH)).astype(np.float32)
    found, peak = _measured(scattered / np.linalg.norm(scattered, axis=1, keepdims=True))
    assert found.min() == 0
    assert found.max() > 100
    assert peak < 30 * 2**20


def _measured(vectors: FloatArray) -> tuple[IntArray, int]:
    """Groups, and the peak of memory in bytes."""
    tracemalloc.start()
    try:
        found = groups(vectors, 0.3, most=500)
        return found, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

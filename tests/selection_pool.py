"""A small pool with two planted causes, and the questions that tests of selection ask of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curation.index import RegionIndex
from curation.kernel.types import Detections, FailureKind, FloatArray
from curation.select import Budget, ModeQuery, PoolImage, SelectionRequest

WIDTH = 24
REGIONS = 6
POOL = 60
CAUSES = {"mode-a": range(0, 8), "mode-b": range(8, 14)}
"""Rows of the pool that hold each mode's cause."""


def unit(vectors: FloatArray) -> FloatArray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def detections(scores: list[float], label: int = 1) -> Detections:
    boxes = np.tile(np.array([[1, 1, 9, 9]], np.float32), (len(scores), 1))
    labels = np.full(len(scores), label, np.int64)
    return Detections(boxes, np.array(scores, np.float32), labels, labels)


def indexed(folder: Path) -> RegionIndex:
    """The regions of the pool: those of a cause hold what hurts and the missed object."""
    rng = np.random.default_rng(0)
    index = RegionIndex(folder, "encoder", WIDTH)
    vectors = unit(rng.normal(size=(POOL, REGIONS, WIDTH)) * 0.5)
    for number, rows in enumerate(CAUSES.values()):
        for row in rows:
            vectors[row, 2] = unit(query_vector(number) + 0.05 * rng.normal(size=WIDTH))
            vectors[row, 3] = unit(object_vector() + 0.05 * rng.normal(size=WIDTH))
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (REGIONS, 1))
    index.add([name(row) for row in range(POOL)], list(vectors), [boxes] * POOL)
    return index


def name(row: int) -> str:
    return f"i{row:02d}"


def query_vector(number: int) -> FloatArray:
    return np.eye(WIDTH, dtype=np.float32)[number]


def object_vector() -> FloatArray:
    return np.eye(WIDTH, dtype=np.float32)[-1]


def queries() -> list[ModeQuery]:
    whole = unit(np.random.default_rng(4).normal(size=(3, WIDTH)))
    return [
        ModeQuery(
            mode,
            FailureKind.FALSE_NEGATIVE,
            1,
            query_vector(number)[None],
            np.ones(1, np.float32),
            object_vector(),
            whole,
            size=float(len(rows)),
        )
        for number, (mode, rows) in enumerate(CAUSES.items())
    ]


def pool(costs: list[float] | None = None, seed: int = 1) -> list[PoolImage]:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**63, POOL, dtype=np.uint64)
    vectors = unit(rng.normal(size=(POOL, WIDTH)))
    return [
        PoolImage(
            name(row),
            1.0 if costs is None else costs[row % len(costs)],
            int(hashes[row]),
            detections([0.1 * (row % 10), 0.9]),
            vectors[row],
            unit(rng.normal(size=(2, WIDTH))),
        )
        for row in range(POOL)
    ]


def request(index: RegionIndex, budget: Budget, **changes: object) -> SelectionRequest:
    given_pool = changes.pop("pool", None) or pool()
    asked = changes.pop("queries", None) or queries()
    rng = np.random.default_rng(0)
    return SelectionRequest(given_pool, asked, budget, rng, index, **changes)  # type: ignore[arg-type]

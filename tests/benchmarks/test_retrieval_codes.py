"""The comparison of codes: exact vectors agree with themselves, and bytes are those of a record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.retrieval import codes
from curation.index.code import CodeRules

IMAGES, REGIONS, WIDTH = 60, 10, 32


def test_exact_vectors_lose_nothing_and_fewer_directions_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    spread = np.tile(np.arange(1, WIDTH // 2 + 1) ** -0.5, 2)
    vectors = (rng.normal(size=(IMAGES, REGIONS, WIDTH)) * spread).astype(np.float32)
    holds = np.zeros((4, IMAGES), np.bool_)
    for failure in range(4):  # the images that are nearest under any metric hold the cause
        holds[failure, 10 * failure : 10 * failure + 10] = True
        vectors[holds[failure], failure] = 4 * spread * np.eye(WIDTH)[failure]
    queries = np.stack([vectors[10 * failure, failure] for failure in range(4)])
    kept = tmp_path / "world.npz"
    np.savez(kept, vectors=vectors.astype(np.float16), queries=queries, holds=holds)
    monkeypatch.setattr(
        codes, "CODES", {"many": (False, CodeRules(-84, 4)), "few": (False, CodeRules(-94, 2))}
    )
    rows = codes.measure(codes.World(kept, IMAGES, 4), regions_asked=100)
    exact, many, few = rows
    assert [row["bytes"] for row in rows] == [2 * WIDTH, 2 * (12 + 2 + 2), 2 * (2 + 1 + 2)]
    assert exact["regions_at_10"][0] == exact["images_at_10"][0] == 1
    assert exact["hold_the_cause"][0] == 1
    assert many["regions_at_10"][0] > 0.9 > few["regions_at_10"][0]
    assert many["hold_the_cause"][0] > 0.9
    assert len(codes.table(rows).splitlines()) == 2 + 3

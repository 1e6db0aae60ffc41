"""Near-duplicate search over a pool: how long, and how many pairs are compared at all."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.retrieval.vectors import crop, packaged_photographs
from curation import dedup
from curation.kernel.images import perceptual_hash

COPIES = 0.1
HOLDOUT = 1000
DISTANCE = 4


def measure(count: int, seed: int = 0) -> dict[str, Any]:
    """Hashes of random crops of photographs; one in ten is a slightly brighter, noisier copy."""
    rng = np.random.default_rng(seed)
    pictures = []
    for photograph in packaged_photographs():
        small = Image.fromarray(photograph)
        small.thumbnail((256, 256))
        pictures.append(np.asarray(small))
    hashes: list[int] = []
    while len(hashes) < count:
        part = crop(pictures[rng.integers(len(pictures))], rng)
        hashes.append(perceptual_hash(part))
        if rng.random() < COPIES:
            noisy = part + rng.normal(4, 2, part.shape)
            hashes.append(perceptual_hash(np.clip(noisy, 0, 255).astype(np.uint8)))
    hashes = hashes[:count]
    began = time.perf_counter()
    groups = dedup.near_duplicate_groups(hashes, DISTANCE)
    groups_s = time.perf_counter() - began
    began = time.perf_counter()
    near = dedup.near_duplicates_of(hashes, hashes[:HOLDOUT], DISTANCE)
    unique = np.unique(np.array(hashes, np.uint64))
    compared = 0
    for mask in dedup._bands(DISTANCE):
        members = np.unique(unique & mask, return_counts=True)[1].astype(np.int64)
        compared += int((members * (members - 1) // 2).sum())
    return {
        "hashes": count,
        "distinct": len(unique),
        "groups": int(groups.max()) + 1,
        "groups_s": groups_s,
        "near_holdout": int(near.sum()),
        "holdout_s": time.perf_counter() - began,
        "pairs_compared": compared,
        "pairs": count * (count - 1) // 2,
        "share_compared": compared / (count * (count - 1) // 2),
    }

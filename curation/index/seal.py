"""What a seal does: which rows become which shard, and files written anew without the dead.

Shards stand for ranges of rows, one after the other. A new shard takes in its predecessor while
that is not much larger, as in a log-structured merge tree: every vector is encoded a logarithmic
number of times, and a search looks into a logarithmic number of shards.

Source:
    O'Neil et al., "The log-structured merge-tree (LSM-tree)", Acta Informatica 1996.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.index.coded import SegmentRef, write_segment
from curation.index.records import ENTRY, Block
from curation.index.shards import BLOCK, ShardRules, build, save, without
from curation.index.snapshot import Snapshot
from curation.index.vectors import VectorStore
from curation.index.version import ShardRef
from curation.kernel.types import IntArray


@dataclass(frozen=True, slots=True)
class Span:
    """Rows ``start`` to ``end`` of which ``live`` are alive, with the shard to keep, if any."""

    start: int
    end: int
    live: int
    shard: ShardRef | None = None


def plan(snapshot: Snapshot, rules: ShardRules) -> list[Span]:
    """The ranges of rows that are to be shards, in order."""
    spans: list[Span] = []
    start = 0
    for shard in snapshot.version.shards:
        live = snapshot.num_live(start, shard.end)
        stale = live < (1 - rules.rebuild_share) * shard.count
        spans.append(Span(start, shard.end, live, None if stale else shard))
        start = shard.end
    waiting = snapshot.num_live(start, snapshot.num_rows)
    if waiting < max(1, rules.min_regions):
        return spans
    pieces = -(-(snapshot.num_rows - start) // rules.max_regions)
    edges = np.linspace(start, snapshot.num_rows, pieces + 1).astype(int).tolist()
    for first, last in pairwise(edges):
        spans.append(Span(first, last, snapshot.num_live(first, last)))
        _merge(spans, rules)
    return spans


def _merge(spans: list[Span], rules: ShardRules) -> None:
    """Let the last span take in those before it that are not much larger."""
    while len(spans) > 1:
        before, last = spans[-2:]
        live = before.live + last.live
        if before.live > rules.merge_ratio * last.live or live > rules.max_regions:
            return
        spans[-2:] = [Span(before.start, last.end, live)]


def seal_spans(
    store: VectorStore,
    snapshot: Snapshot,
    spans: Sequence[Span],
    metric_file: str,
    rules: ShardRules,
) -> tuple[ShardRef, ...]:
    """Build what is new, take the dead out of what is kept; nothing is switched yet.

    Args:
        store: whose folder the shards go to.
        snapshot: under the metric that new shards are built under.
        spans: see ``plan``.
        metric_file: of that metric.
        rules: see there.
    """
    return tuple(
        _built(store, snapshot, span, metric_file, rules)
        if span.shard is None
        else _pruned(store, snapshot, span, span.shard, rules)
        for span in spans
    )


def _file(store: VectorStore, snapshot: Snapshot, span: Span) -> str:
    version = snapshot.version
    number = f"{version.generation:08d}-{version.revision:08d}-{span.end}"
    return f"shard-{number}{store.unique()}.faiss"


def _built(
    store: VectorStore, snapshot: Snapshot, span: Span, metric_file: str, rules: ShardRules
) -> ShardRef:
    rows = snapshot.live_rows(span.start, span.end)
    if not len(rows):
        return ShardRef("", metric_file, 0, span.end, 0)
    made = build(rows, snapshot.entries_of(rows), snapshot.stream_mapped, rules)
    name = _file(store, snapshot, span)
    checksum = save(store.folder / name, made.index)
    recall = round(made.recall, 4)
    return ShardRef(name, metric_file, len(rows), span.end, checksum, made.probes, recall)


def _pruned(
    store: VectorStore, snapshot: Snapshot, span: Span, shard: ShardRef, rules: ShardRules
) -> ShardRef:
    if span.live == shard.count:
        return shard
    alive = snapshot.live_rows(span.start, span.end)
    dead = np.setdiff1d(np.arange(span.start, span.end, dtype=np.int64), alive, assume_unique=True)
    index = without(store.folder / shard.file, shard.checksum, dead, rules)
    name = _file(store, snapshot, span)
    checksum = save(store.folder / name, index)
    return replace(shard, file=name, count=span.live, checksum=checksum)


def code_tail(store: VectorStore, snapshot: Snapshot, rules: ShardRules) -> tuple[SegmentRef, ...]:
    """Write what lies as half floats as coded segments, for the snapshot's metric above all.

    Nothing is switched yet; inside ``sealing`` only. Those of dead regions are coded with the
    others: rows keep their numbers until a compaction. Too few for a segment stay as they are.
    """
    segments, version = [], snapshot.version
    start, waiting = version.coded_end, version.counts.get("vectors.f16", 0)
    while waiting >= max(1, rules.code_rows):
        count = min(waiting, BLOCK)
        tail = store.records("vectors.f16", start - version.coded_end, version)[:count]
        path = store.segment_path(version.generation, start)
        vectors = np.asarray(tail, np.float32)
        segments.append(write_segment(path, start, vectors, snapshot.metric))
        start, waiting = start + count, waiting - count
    return tuple(segments)


def is_worth_compacting(snapshot: Snapshot, rules: ShardRules) -> bool:
    """Whether so many stored regions are dead that the files should be written anew."""
    dead = snapshot.num_rows - len(snapshot)
    return dead > max(rules.compact_share * snapshot.num_rows, rules.min_regions)


def live_blocks(snapshot: Snapshot, rules: ShardRules) -> Iterator[Block]:
    """Records of what is alive, numbered anew, for ``VectorStore.rewritten``.

    A coded segment is copied in its code, so that what lives through any number of compactions is
    as it was after the first coding. One of which too little is left is coded anew, together with
    its neighbours; with what remains of those a code of its own would weigh more than it saves.
    """
    kept = np.flatnonzero(snapshot.alive)
    entries = np.zeros(len(kept), ENTRY)
    entries["image"] = snapshot.names_of(kept)
    entries["count"] = snapshot.counts_of(kept)
    entries["start"] = np.cumsum(entries["count"]) - entries["count"]
    yield Block({"entries.bin": entries})
    pending = np.zeros(0, np.int64)
    for ref in snapshot.version.segments:
        rows = snapshot.live_rows(ref.start, ref.end)
        if len(rows) < max(1, rules.code_rows // 2):
            pending = np.concatenate([pending, rows])
            continue
        yield from _coded_anew(snapshot, pending, kept, 1)
        regions = _renumbered(snapshot.records_of(rows), kept)
        yield Block({"regions.bin": regions}, partial(_copy, snapshot, ref, rows))
        pending = pending[:0]
    tail = snapshot.live_rows(snapshot.version.coded_end, snapshot.num_rows)
    yield from _coded_anew(snapshot, np.concatenate([pending, tail]), kept, rules.code_rows)


def _coded_anew(
    snapshot: Snapshot, rows: IntArray, kept: IntArray, code_rows: int
) -> Iterator[Block]:
    """Rows as segments, of which each has at least so many; what is left as half floats."""
    for start in range(0, len(rows), BLOCK):
        vectors, regions = snapshot.stored(rows[start : start + BLOCK])
        records = {"regions.bin": _renumbered(regions, kept)}
        if len(vectors) < max(1, code_rows):
            yield Block(records | {"vectors.f16": vectors})
            continue
        yield Block(records, partial(write_segment, vectors=vectors, metric=snapshot.metric))


def _copy(
    snapshot: Snapshot, ref: SegmentRef, rows: IntArray, path: Path, start: int
) -> SegmentRef:
    return snapshot.segment(ref).copy(rows - ref.start, path, start)


def _renumbered(regions: npt.NDArray[Any], kept: IntArray) -> npt.NDArray[Any]:
    regions["entry"] = np.searchsorted(kept, regions["entry"])
    return regions

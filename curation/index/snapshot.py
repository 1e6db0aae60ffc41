"""One version of the region index, as a search sees it: nothing in it changes any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.index.coded import Segment, SegmentRef
from curation.index.metric import Metric
from curation.index.names import NameTable
from curation.index.rows import Rows
from curation.index.shards import BLOCK, OVERSAMPLE, Bits, Shard, packed
from curation.index.vectors import VectorStore
from curation.index.version import Version
from curation.kernel.errors import EncoderMismatch
from curation.kernel.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """The k regions nearest to each of Q queries, by falling similarity.

    Attributes:
        images: [Q, k] str object array, "" where there are fewer than k regions.
        regions: [Q, k] int64, number of the region within its image, -1 where none.
        boxes_xyxy: [Q, k, 4] float32 px of the original image.
        similarities: [Q, k] float32 in -1..1, -inf where none.
    """

    images: npt.NDArray[np.object_]
    regions: IntArray
    boxes_xyxy: FloatArray
    similarities: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class ImageScores:
    """The best region of each of I images for each of Q queries.

    Attributes:
        images: I ids, sorted.
        similarities: [Q, I] float32 in -1..1.
        boxes_xyxy: [Q, I, 4] float32 px of the original image.
    """

    images: tuple[str, ...]
    similarities: FloatArray
    boxes_xyxy: FloatArray


class Snapshot:
    """A version of a store with the metric and the shards that belong to it.

    Args:
        store: whose files to look at.
        version: which state of them.
        metric: what similarities are computed under.
        shards: sealed shards, each with the metric that it was built under.
        previous: an older snapshot; what it holds is taken over where it still is true.
    """

    def __init__(
        self,
        store: VectorStore,
        version: Version,
        metric: Metric,
        shards: tuple[tuple[Shard, Metric], ...],
        previous: Snapshot | None = None,
    ) -> None:
        self.version = version
        self.metric = metric
        self._store = store
        self._shards = shards
        self._regions = store.records("regions.bin", version=version)
        self._entries = store.records("entries.bin", version=version)
        if previous is not None and previous.version.generation != version.generation:
            previous = None  # rows were numbered anew
        self._vectors: Rows = store.vectors(
            version, None if previous is None else previous._vectors
        )
        self._live_bits: Bits | None = None
        self._number(previous)
        self._delta = np.zeros((0, metric.width), np.float32)  # as far as it was needed
        if previous is not None and (previous.version.metric, previous.version.sealed_end) == (
            version.metric,
            version.sealed_end,
        ):
            self._delta = previous._delta

    def _number(self, previous: Snapshot | None) -> None:
        """Rows and life of each entry; an addition costs no pass over all old ones in Python.

        The file of entries is mapped a block at a time: read whole, its pages would stay, 80 bytes
        an image, though a search looks at the few that it finds.
        """
        known = 0 if previous is None else len(previous.alive)
        dead = np.array(self._store.records("dead.bin", version=self.version), np.int64)
        self._names: NameTable = NameTable.empty() if previous is None else previous._names
        starts: list[IntArray] = [] if previous is None else [previous._starts]
        counts: list[IntArray] = [] if previous is None else [previous._counts]
        for first in range(known, len(self._entries), BLOCK):
            new = self._store.records("entries.bin", first, self.version)[:BLOCK]
            starts.append(np.array(new["start"], np.int64))
            counts.append(np.array(new["count"], np.int64))
            self._names = self._names.with_names(np.array(new["image"]), first)
        self._starts: IntArray = np.concatenate([*starts, np.zeros(0, np.int64)])
        self._counts: IntArray = np.concatenate([*counts, np.zeros(0, np.int64)])
        self.alive: BoolArray = np.ones(len(self._starts), np.bool_)
        self.alive[dead] = False
        if len(dead) > (0 if previous is None else previous.version.counts.get("dead.bin", 0)):
            self._names = self._names.alive(self.alive)

    def entries_named(self, images: Iterable[str]) -> IntArray:
        """[N] live entry of each image, -1 of one that is not in."""
        return self._names.find(images, self._entries["image"])

    def live_images(self) -> tuple[str, ...]:
        """Ids of all live images, sorted."""
        names = np.sort(self._entries["image"][self._names.entries])  # UTF-8 sorts as text does
        return tuple(name.decode() for name in names.tolist())

    def __len__(self) -> int:
        """Live regions."""
        return int(self._counts[self.alive].sum())

    @property
    def num_rows(self) -> int:
        """Regions that are stored, dead ones too."""
        return len(self._regions)

    def num_live(self, start: int, end: int) -> int:
        """Live regions in rows ``start`` (inclusive) to ``end`` (exclusive)."""
        return int(self._live_within(start, end)[1].sum())

    def live_rows(self, start: int, end: int) -> IntArray:
        """Rows of live regions in ``start`` (inclusive) to ``end`` (exclusive)."""
        first, counts = self._live_within(start, end)
        within = np.arange(counts.sum(), dtype=np.int64)
        rows: IntArray = within + np.repeat(first - (np.cumsum(counts) - counts), counts)
        return rows

    def _live_within(self, start: int, end: int) -> tuple[IntArray, IntArray]:
        """First row and number of live rows of each entry, as far as they lie in a range."""
        first = np.maximum(self._starts, start)
        counts = np.maximum(np.minimum(self._starts + self._counts, end) - first, 0)
        return first, counts * self.alive

    def entries_of(self, rows: IntArray) -> IntArray:
        """[N] entry of each row: regions of one image share it."""
        return np.asarray(self._regions["entry"][rows], np.int64)

    def names_of(self, entries: IntArray) -> npt.NDArray[Any]:
        """[E] encoded ids of the images."""
        return np.array(self._entries["image"][entries])

    def counts_of(self, entries: IntArray) -> IntArray:
        """[E] number of regions."""
        counts: IntArray = self._counts[entries]
        return counts

    def raw(self, rows: IntArray) -> FloatArray:
        """[N, W] float32 as stored."""
        return self._vectors.read(rows)

    def segment(self, ref: SegmentRef) -> Segment:
        """A coded segment of this version."""
        return self._vectors.segment(ref)

    def stored(self, rows: IntArray) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Vectors [N, W] float32 and records [N] of rising rows.

        The files are mapped for this call only: a pass over everything leaves no pages behind.
        """
        if not len(rows):
            return self.raw(rows), np.array(self._regions[:0])
        return self._store.vectors(self.version).read(rows), self.records_of(rows)

    def records_of(self, rows: IntArray) -> npt.NDArray[Any]:
        """[N] records of rising rows, at least one, of a file that is mapped for this call only."""
        first = int(rows[0])
        found: npt.NDArray[Any] = self._store.records("regions.bin", first, self.version)
        return np.array(found[rows - first])

    def stream_mapped(self, rows: IntArray) -> FloatArray:
        """Mapped vectors [N, m] of rising rows, read from the file and not kept."""
        blocks = [
            self._store.vectors(self.version).mapped(part, self.metric) for part in _blocks(rows)
        ]
        return np.concatenate(blocks) if blocks else np.zeros((0, self.metric.width), np.float32)

    def regions_of(self, image_id: str) -> tuple[FloatArray, FloatArray]:
        """Raw vectors [R, W] and boxes [R, 4] px of one image; KeyError if it is not in."""
        (entry,) = self.entries_named([image_id])
        if entry < 0:
            raise KeyError(image_id)
        start = int(self._starts[entry])
        end = start + int(self._counts[entry])
        boxes = np.array(self._regions["box"][start:end], np.float32)
        return self.raw(np.arange(start, end, dtype=np.int64)), boxes

    def search(self, queries: FloatArray, k: int) -> Hits:
        """See ``RegionIndex.search``."""
        mapped = self._map_queries(queries)
        rows = self._exact_delta(mapped, k)
        sealed = self._proposals(queries, k * OVERSAMPLE, self._allowed())
        rows = np.union1d(rows, sealed)  # [P], of all queries together
        similarities = mapped @ self.mapped(rows).T  # [Q, P]
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]  # [Q, <= k]
        return self._hits(rows[order], np.take_along_axis(similarities, order, 1), k)

    def score_images(
        self,
        queries: FloatArray,
        k: int,
        excluded: Collection[str] = (),
        only: Collection[str] | None = None,
    ) -> ImageScores:
        """See ``RegionIndex.score_images``."""
        mapped = self._map_queries(queries)
        wanted = self.alive.copy()
        wanted[self._known(excluded)] = False
        if only is None:
            allowed = self._allowed() if not excluded else self._bits_of(wanted)
            chosen = self._starts >= self.version.sealed_end
            chosen[self._regions["entry"][self._proposals(queries, k, allowed)]] = True
        else:
            chosen = np.zeros(len(wanted), np.bool_)
            chosen[self._known(only)] = True
        entries = np.flatnonzero(chosen & wanted & (self._counts > 0))
        names = [self._entries["image"][entry].decode() for entry in entries]
        entries = entries[sorted(range(len(names)), key=names.__getitem__)]
        similarities, rows = self._best_rows(mapped, entries)
        boxes = np.array(self._regions["box"][rows.ravel()], np.float32)
        return ImageScores(tuple(sorted(names)), similarities, boxes.reshape(*rows.shape, 4))

    def _known(self, images: Collection[str]) -> IntArray:
        """Entries of those that are in."""
        entries = self.entries_named(images)
        return entries[entries >= 0]

    def _map_queries(self, queries: FloatArray) -> FloatArray:
        if queries.ndim != 2 or queries.shape[1] != self.version.width:
            raise EncoderMismatch(
                f"queries have shape {queries.shape}, the index holds width {self.version.width}"
            )
        return self.metric.apply(queries)

    def delta(self) -> FloatArray:
        """Mapped vectors [N, m] of the rows after the last shard, dead ones too.

        They are mapped by the first search that needs them: who only adds holds none.
        """
        start = self.version.sealed_end + len(self._delta)
        if start < self.num_rows:
            rows = np.arange(start, self.num_rows, dtype=np.int64)
            self._delta = np.concatenate([self._delta, self.stream_mapped(rows)])
        return self._delta

    def mapped(self, rows: IntArray) -> FloatArray:
        """Mapped stored vectors [N, m], from memory where they are in the delta."""
        start = self.version.sealed_end
        mapped = np.empty((len(rows), self.metric.width), np.float32)
        in_delta = rows >= start
        mapped[in_delta] = self.delta()[rows[in_delta] - start]
        mapped[~in_delta] = self._vectors.mapped(rows[~in_delta], self.metric)
        return mapped

    def _exact_delta(self, mapped: FloatArray, k: int) -> IntArray:
        """Live delta rows that are among the k nearest of any query."""
        start = self.version.sealed_end
        live = self.live_rows(start, self.num_rows)
        best, delta = np.zeros(0, np.int64), self.delta()
        for block in _blocks(live):
            rows = np.union1d(best, block)
            similarities = mapped @ delta[rows - start].T
            keep = min(k, len(rows))
            best = np.unique(rows[np.argpartition(-similarities, keep - 1, 1)[:, :keep]])
        return best

    def _allowed(self) -> Bits | None:
        """Rows that live; made once. None where all do."""
        if self._live_bits is None and not self.alive.all():
            self._live_bits = self._bits_of(self.alive)
        return self._live_bits

    def _bits_of(self, wanted: BoolArray) -> Bits:
        """The rows of some entries; rows lie in the order of their entries."""
        return packed(np.repeat(wanted, self._counts))

    def _proposals(self, queries: FloatArray, k: int, allowed: Bits | None) -> IntArray:
        """Sealed rows, of those allowed, that a shard proposes for any of the raw queries; sorted.

        The k of a shard are all allowed: were the dead dropped afterwards, what has many dead
        near-duplicates would not be found.
        """
        found = [
            np.unique(shard.search(metric.apply(queries), k, allowed))
            for shard, metric in self._shards
        ]
        rows = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
        proposed: IntArray = rows[rows >= 0]
        return proposed

    def _hits(self, rows: IntArray, similarities: FloatArray, k: int) -> Hits:
        found = rows.shape[1]
        images = np.full((len(rows), k), "", np.object_)
        regions = np.full((len(rows), k), -1, np.int64)
        boxes = np.zeros((len(rows), k, 4), np.float32)
        values = np.full((len(rows), k), -np.inf, np.float32)
        records = np.array(self._regions[rows.ravel()]).reshape(rows.shape)
        names = self._entries["image"][records["entry"]]
        images[:, :found] = np.char.decode(names, "utf-8") if found else ""
        regions[:, :found] = records["region"]
        boxes[:, :found] = records["box"]
        values[:, :found] = similarities
        return Hits(images, regions, boxes, values)

    def _best_rows(self, mapped: FloatArray, entries: IntArray) -> tuple[FloatArray, IntArray]:
        """Best similarity [Q, E] of each entry's regions, and the row [Q, E] that has it."""
        best = np.empty((len(mapped), len(entries)), np.float32)
        rows = np.empty((len(mapped), len(entries)), np.int64)
        counts, starts = self._counts[entries], self._starts[entries]
        for count in np.unique(counts):  # images of one encoder share one count, mostly
            same = np.flatnonzero(counts == count)
            for part in np.array_split(same, -(-len(same) * int(count) // BLOCK)):
                own = starts[part][:, None] + np.arange(count)  # [E, R]
                similarities = (mapped @ self.mapped(own.ravel()).T).reshape(
                    len(mapped), *own.shape
                )  # [Q, E, R]
                winner = similarities.argmax(2)
                best[:, part] = similarities.max(2)
                rows[:, part] = own[np.arange(len(part)), winner]
        return best, rows


def _blocks(rows: IntArray) -> list[IntArray]:
    return [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]

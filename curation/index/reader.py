"""Searching an index, whatever version of it is current."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from curation.index.depot import Depot
from curation.index.metric import Metric, MetricRules
from curation.index.metric_files import MetricFiles
from curation.index.shards import Shard, ShardRules
from curation.index.snapshot import Hits, ImageScores, Snapshot
from curation.index.vectors import VectorStore
from curation.index.version import ShardRef, Version
from curation.kernel.errors import ShardCorrupt
from curation.kernel.types import FloatArray

_Answer = TypeVar("_Answer")


class IndexReader:
    """The regions of a pool, searchable by region.

    It is what :class:`~curation.index.region_index.RegionIndex` does besides writing.

    Args:
        folder: where it lives; made if it is absent.
        encoder_version: what made the vectors (``RegionEmbedder.version``).
        width: W of a vector.
        metric_rules: how similarity is fitted.
        shard_rules: how shards are built and searched.
        lock_timeout_s: how long a write waits for another process's write.
        depot: where it lies for all hosts, the folder being this host's copy; None: in the folder.

    Raises:
        EncoderMismatch: the folder holds vectors of another encoder.
        ShardCorrupt: a file does not match its description.
    """

    def __init__(
        self,
        folder: Path,
        encoder_version: str,
        width: int,
        metric_rules: MetricRules | None = None,
        shard_rules: ShardRules | None = None,
        lock_timeout_s: float = 10.0,
        depot: Depot | None = None,
    ) -> None:
        self._store = VectorStore(folder, encoder_version, width, lock_timeout_s, depot)
        self._patience_s = lock_timeout_s
        self._metric_rules = metric_rules or MetricRules()
        self._shard_rules = shard_rules or ShardRules()
        self._metrics = MetricFiles(folder, width)
        self._shards: dict[str, Shard] = {}
        self._snapshot = self._take_up(None)

    def __len__(self) -> int:
        """Live regions."""
        return len(self._current())

    def waiting(self) -> int:
        """Regions added since the last seal: the size of the exact delta."""
        return self._current().num_rows - self._store.version.sealed_end

    def num_stored(self) -> int:
        """Regions in the files, those of deleted and replaced images too."""
        return self._current().num_rows

    def uncoded(self) -> int:
        """Stored regions that still lie as half floats, at five times the space of the others."""
        return self._store.version.counts.get("vectors.f16", 0)

    def shards(self) -> tuple[ShardRef, ...]:
        """The sealed shards, with the recall that was measured when each was built."""
        return self._current().version.shards

    def __contains__(self, image_id: str) -> bool:
        return bool(self._current().entries_named([image_id])[0] >= 0)

    def images(self) -> tuple[str, ...]:
        """Ids of all live images, sorted."""
        return self._current().live_images()

    @property
    def metric(self) -> Metric:
        """What similarities are computed under."""
        return self._current().metric

    def regions_of(self, image_id: str) -> tuple[FloatArray, FloatArray]:
        """Raw vectors [R, W] float32, as exact as they are stored, and boxes [R, 4] px of an image.

        Raises:
            KeyError: it is not in the index.
        """
        return self._asked(lambda current: current.regions_of(image_id))

    def search(self, queries: FloatArray, k: int) -> Hits:
        """The k nearest live regions of each query.

        Args:
            queries: [Q, W] raw vectors of the same encoder.
            k: at least 1.

        Raises:
            EncoderMismatch: queries of another width.
        """
        return self._asked(lambda current: current.search(queries, k))

    def score_images(
        self,
        queries: FloatArray,
        k: int = 1000,
        excluded: Collection[str] = (),
        only: Collection[str] | None = None,
    ) -> ImageScores:
        """For each image the best similarity of any of its regions to each query.

        Exact over the delta; of the sealed images those are scored, by all of their exact
        vectors, that hold one of the k regions a shard proposes for any query.

        Args:
            queries: [Q, W] raw vectors of the same encoder.
            k: regions proposed a query and shard.
            excluded: images that are passed over, such as those that are labelled; they take no
                place among the k.
            only: score these and search for no others; None searches.

        Raises:
            EncoderMismatch: queries of another width.
        """
        return self._asked(lambda current: current.score_images(queries, k, excluded, only))

    def verify(self) -> None:
        """Read all stored vectors and compare checksums, also while another process writes.

        Raises:
            ShardCorrupt: a file does not hold what was written.
        """
        self._asked(lambda current: self._store.verify(current.version))

    def _current(self) -> Snapshot:
        if self._store.refresh() or self._snapshot.version is not self._store.version:
            self._snapshot = self._take_up(self._snapshot)
        return self._snapshot

    def _asked(self, ask: Callable[[Snapshot], _Answer]) -> _Answer:
        """What the newest version answers, also while another process writes all files anew."""
        while True:
            current = self._current()
            try:
                return ask(current)
            except ShardCorrupt:
                # A compaction or a seal that coded vectors may have removed a file that this
                # version had not mapped yet. Any other write leaves what there was: a busy writer
                # must not hide what is damaged.
                if self._current().version.files == current.version.files:
                    raise

    def _take_up(self, previous: Snapshot | None) -> Snapshot:
        """A snapshot of the newest version, also while another process seals."""
        while True:
            try:
                return self._load(previous)
            except ShardCorrupt:
                # A seal may have removed a file between reading its name and opening it.
                if not self._store.refresh():
                    raise

    def _load(self, previous: Snapshot | None) -> Snapshot:
        version = self._store.version
        named = {ref.file for ref in version.shards}
        self._shards = {name: shard for name, shard in self._shards.items() if name in named}
        return self._view(version, previous)

    def _view(self, version: Version, previous: Snapshot | None) -> Snapshot:
        sealed = tuple(
            (self._shard(ref), self._metric(ref.metric)) for ref in version.shards if ref.count
        )
        return Snapshot(self._store, version, self._metric(version.metric), sealed, previous)

    def _metric(self, name: str) -> Metric:
        return self._metrics.read(name)

    def _shard(self, ref: ShardRef) -> Shard:
        if ref.file not in self._shards:
            path = self._store.folder / ref.file
            self._shards[ref.file] = Shard(path, ref.checksum, ref.probes, self._shard_rules)
        return self._shards[ref.file]

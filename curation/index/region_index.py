"""Search over all regions of the pool: an exact delta, sealed shards, tombstones, re-ranking.

Any number of processes may search while one at a time writes. A search first takes up whatever
version is current, so a deleted image never comes back once its deletion has returned. With a
depot (:mod:`curation.index.depot`) that is so of all hosts together: each searches a copy of its
own, and a write that another host's has overtaken is done again on top of it.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from curation.index.checks import check_addition
from curation.index.coded import SegmentRef
from curation.index.depot import Depot
from curation.index.metric import Metric, MetricRules, fit_metric
from curation.index.metric_files import MetricFiles
from curation.index.records import addition
from curation.index.seal import code_tail, is_worth_compacting, live_blocks, plan, seal_spans
from curation.index.shards import Shard, ShardRules
from curation.index.snapshot import Hits, ImageScores, Snapshot
from curation.index.vectors import VectorStore
from curation.index.version import ShardRef, Version
from curation.kernel.errors import IndexBusy, IndexMoved, ShardCorrupt
from curation.kernel.types import FloatArray

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
REFIT_GROWTH = 1.25
"""The metric is fitted again when the pool has grown by this factor."""


class RegionIndex:
    """The regions of a pool, searchable by region.

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

    def add(
        self,
        image_ids: Sequence[str],
        vectors: Sequence[FloatArray],
        boxes_xyxy: Sequence[FloatArray],
    ) -> None:
        """Put images in, all or none; an image that is in already is replaced.

        Args:
            image_ids: distinct, at most 64 bytes of text each, without a NUL character.
            vectors: [R, W] of each image, finite in half precision.
            boxes_xyxy: [R, 4] px of each image.

        Raises:
            ValueError: ids repeat, are too long or hold a NUL, a vector is not finite, or boxes
                do not match vectors.
            EncoderMismatch: a vector has another width.
            IndexBusy: another process is writing.
        """
        check_addition(image_ids, vectors, boxes_xyxy, self._store.version.width)
        if image_ids:
            self._written(lambda: self._add(image_ids, vectors, boxes_xyxy))

    def _add(
        self,
        image_ids: Sequence[str],
        vectors: Sequence[FloatArray],
        boxes_xyxy: Sequence[FloatArray],
    ) -> None:
        old = self._current()
        records = addition(image_ids, vectors, boxes_xyxy, old.num_rows, len(old.alive))
        replaced = old.entries_named(image_ids)
        dead = replaced[replaced >= 0].astype(np.int32)
        self._store.append({**records, "dead.bin": dead})
        self._snapshot = self._load(old)
        if len(self._snapshot) >= REFIT_GROWTH * self._store.version.metric_fitted:
            with contextlib.suppress(IndexMoved):  # then another addition fits it
                self._refit()

    def delete(self, image_id: str) -> bool:
        """Take an image out; False if it was not in. Errors as of :meth:`add`."""
        return self._written(lambda: self._delete(image_id))

    def _delete(self, image_id: str) -> bool:
        old = self._current()
        entries = old.entries_named([image_id])
        if entries[0] < 0:
            return False
        self._store.append({"dead.bin": entries.astype(np.int32)})
        self._snapshot = self._load(old)
        return True

    def _written(self, write: Callable[[], _Answer]) -> _Answer:
        """What a write returns, done again wherever another host's has overtaken it."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                with self._store.writing():
                    return write()
            except IndexMoved as error:
                if time.monotonic() > deadline:
                    raise IndexBusy(
                        f"other hosts have been writing to the index for {self._patience_s:g} s: "
                        "try again"
                    ) from error

    def seal(self) -> int:
        """Compress what has been added since the last seal, dropping what is dead.

        Others search, add and delete meanwhile. Small shards are merged into larger ones, the
        dead are taken out of shards, and with very many dead all files are written anew (then
        additions wait). Regions that are too few for a shard stay in the exact delta.

        Returns:
            How many regions are in sealed shards now.

        Raises:
            IndexBusy: another process is sealing, or is writing when the new version is switched
                to.
        """
        with self._store.sealing():
            compacts = is_worth_compacting(self._current(), self._shard_rules)
            if not (compacts and self._seal(compacts=True)):
                self._seal(compacts=False)
            return sum(shard.count for shard in self._store.version.shards)

    def _seal(self, compacts: bool) -> bool:
        """Seal, inside that lock; False where another host was quicker."""
        with contextlib.ExitStack() as until_switched:
            if compacts and not self._store.is_shared:  # other hosts go on writing in any case
                until_switched.enter_context(self._store.writing())
            source = before = self._current()
            version = None
            if compacts:
                version = self._store.rewritten(live_blocks(before, self._shard_rules))
                source = self._view(version, None)
            name, fitted = self._fit(source)
            source = self._view(replace(source.version, metric=name), source)
            coded = () if version else code_tail(self._store, source, self._shard_rules)
            spans = plan(source, self._shard_rules)
            shards = seal_spans(self._store, source, spans, name, self._shard_rules)
            if not compacts or self._store.is_shared:
                until_switched.enter_context(self._store.writing())
            fits = {"shards": shards, "metric": name, "metric_fitted": fitted}
            return self._switched(before.version, version, coded, fits)

    def _switched(
        self,
        before: Version,
        version: Version | None,
        coded: tuple[SegmentRef, ...],
        fits: Mapping[str, Any],
    ) -> bool:
        """Switch to what was sealed, inside both locks; False where another host was quicker.

        Args:
            before: what was sealed; what others have added since counts too.
            version: files that were written anew; None: those of before.
            coded: new segments.
            fits: other fields.
        """
        now, switched = self._store.version, False
        if (now == before) if version else now.continues(before):
            version = version or self._store.with_coded(coded)
            with contextlib.suppress(IndexMoved):
                self._store.switch(replace(version, revision=now.revision + 1, **fits))
                switched = True
        if not switched:
            _log.info("another host has sealed the index, or has written beside a compaction")
        self._snapshot = self._take_up(self._snapshot)
        self._store.sweep()
        if self._store.replica is not None:
            self._store.replica.sweep(self._store.version)
        return switched

    def compress(self) -> int:
        """Code what lies as half floats, without a seal; what is too little for it stays.

        Returns:
            How many regions lie as half floats now.

        Raises:
            IndexBusy: another process is sealing, or is writing when the new version is switched
                to.
        """
        with self._store.sealing():
            before = self._current()
            coded = code_tail(self._store, before, self._shard_rules)
            if coded:
                with self._store.writing():
                    self._switched(before.version, None, coded, {})
        return self.uncoded()

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

    def _refit(self) -> None:
        """Fit the metric to the live regions and make it the one that counts."""
        name, fitted = self._fit(self._snapshot)
        self._store.append({}, metric=name, metric_fitted=fitted)
        self._snapshot = self._load(self._snapshot)

    def _fit(self, snapshot: Snapshot) -> tuple[str, int]:
        """The file of a metric fitted to the live regions, and how many they are."""
        live = snapshot.live_rows(0, snapshot.num_rows)
        step = -(-len(live) // self._metric_rules.max_sample) or 1
        sample = snapshot.stored(live[::step])[0].astype(np.float32)
        metric = fit_metric(sample, self._metric_rules)
        return self._metrics.write(metric, self._store.unique()), len(live)

    def _metric(self, name: str) -> Metric:
        return self._metrics.read(name)

    def _shard(self, ref: ShardRef) -> Shard:
        if ref.file not in self._shards:
            path = self._store.folder / ref.file
            self._shards[ref.file] = Shard(path, ref.checksum, ref.probes, self._shard_rules)
        return self._shards[ref.file]

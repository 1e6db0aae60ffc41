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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from curation.index.checks import check_addition
from curation.index.coded import SegmentRef
from curation.index.metric import fit_metric
from curation.index.reader import IndexReader
from curation.index.records import addition
from curation.index.seal import code_tail, is_worth_compacting, live_blocks, plan, seal_spans
from curation.index.snapshot import Snapshot
from curation.index.version import Version
from curation.kernel.errors import IndexBusy, IndexMoved
from curation.kernel.types import FloatArray

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
REFIT_GROWTH = 1.25
"""The metric is fitted again when the pool has grown by this factor."""


class RegionIndex(IndexReader):
    """The regions of a pool, searchable by region; arguments as of :class:`IndexReader`."""

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

"""The vectors of all rows of one version, wherever they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.index.coded import Segment, SegmentRef, unpacked
from curation.index.metric import Metric
from curation.kernel.types import FloatArray, IntArray

MANY = 4096
"""Rows of a read from which on mapped pages are let go. A row of some 356 bytes maps the 64 KB
around it: a few selections would keep the whole index in their process. A search for one failure
reads fewer, and mapping again would cost it as much as its search."""


class Rows:
    """Coded segments, then half floats.

    Args:
        folder: of the index.
        segments: one after the other from row 0 on.
        tail: [N, W] fp16, of the rows after them.
        known: of an older version of the same generation, whose mapped segments are taken over.
    """

    def __init__(
        self,
        folder: Path,
        segments: Sequence[SegmentRef],
        tail: npt.NDArray[Any],
        known: Rows | None = None,
    ) -> None:
        self._folder = folder
        self._segments = tuple(segments)
        self._ends = np.array([one.end for one in segments], np.int64)
        self._tail = tail
        self._open: dict[str, Segment] = {} if known is None else known._open

    def read(self, rows: IntArray) -> FloatArray:
        """[N, W] float32 of rows in any order.

        Raises:
            ShardCorrupt: a segment is absent or too short.
        """
        vectors = np.empty((len(rows), self._tail.shape[1]), np.float32)
        for segment, own in self._owned(rows):
            if segment is None:
                vectors[own] = self._waiting(rows[own])
            else:
                vectors[own] = segment.decoded(rows[own] - segment.ref.start)
                _let_go(segment, len(rows))
        return vectors

    def mapped(self, rows: IntArray, metric: Metric) -> FloatArray:
        """[N, m] float32 of rows in any order, under a metric: as of ``metric.apply(read(rows))``.

        Coded rows are not decoded to their full width. Those of all segments are unpacked
        together: a search asks for a handful of each of many.

        Raises:
            ShardCorrupt: a segment is absent or too short.
        """
        mapped = np.empty((len(rows), metric.width), np.float32)
        alike: dict[tuple[int, ...], list[tuple[Segment, IntArray]]] = {}
        for segment, own in self._owned(rows):
            if segment is None:
                mapped[own] = metric.apply(self._waiting(rows[own]))
            elif segment.ref.parts != len(metric.means):
                mapped[own] = metric.apply(segment.decoded(rows[own] - segment.ref.start))
                _let_go(segment, len(rows))
            else:
                alike.setdefault(segment.ref.shape, []).append((segment, own))
        for owned in alike.values():
            every = np.concatenate([own for _, own in owned])
            mapped[every] = _mapped(owned, rows, metric)
        return mapped

    def segment(self, ref: SegmentRef) -> Segment:
        """One of the segments, mapped.

        Raises:
            ShardCorrupt: it is absent or too short.
        """
        if ref.file not in self._open:
            self._open[ref.file] = Segment(self._folder, ref, self._tail.shape[1])
        return self._open[ref.file]

    def _waiting(self, rows: IntArray) -> FloatArray:
        coded_end = int(self._ends[-1]) if len(self._ends) else 0
        return np.asarray(self._tail[rows - coded_end], np.float32)

    def _owned(self, rows: IntArray) -> Iterator[tuple[Segment | None, IntArray]]:
        """Each segment that holds some of the rows, None for half floats, and which they are."""
        owners = np.searchsorted(self._ends, rows, "right")
        order = np.argsort(owners, kind="stable")
        edges = np.flatnonzero(np.diff(owners[order], prepend=-1, append=-1))
        for first, last in pairwise(edges):
            own = order[first:last]
            owner = int(owners[own[0]])
            waits = owner == len(self._segments)
            yield (None if waits else self.segment(self._segments[owner])), own


def _let_go(segment: Segment, asked: int) -> None:
    """Right after a segment was read, so that one of them is mapped at a time."""
    if asked >= MANY:
        segment.let_go()


def _mapped(
    owned: Sequence[tuple[Segment, IntArray]], rows: IntArray, metric: Metric
) -> FloatArray:
    """[N, m] of rows of segments of one shape, in the order in which they are given."""
    stored = []
    for segment, own in owned:
        stored.append(segment.records(rows[own] - segment.ref.start))
        _let_go(segment, len(rows))
    along, present = unpacked(owned[0][0].ref, np.concatenate(stored))
    along = along.transpose(1, 0, 2)  # [P, N, K]
    parts, count, _ = along.shape
    mapped = np.empty((parts, count, metric.width // parts), np.float32)
    first = 0
    for segment, own in owned:
        matrices, offsets = segment.through(metric)
        last = first + len(own)
        np.matmul(along[:, first:last], matrices, out=mapped[:, first:last])
        mapped[:, first:last] += offsets[:, None]
        first = last
    return metric.unit(mapped.transpose(1, 0, 2), present)

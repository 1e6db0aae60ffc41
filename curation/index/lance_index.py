"""The region index in LanceDB: for pools that several hosts search and fill at once.

Rows lie in a table on a disk or in a bucket (:mod:`curation.index.lance_table`); every commit of it
is whole or not there, and every search looks at the newest one. Searched are short codes, which are
the vectors under the metric; exact vectors decide among what they propose, as in
:class:`~curation.index.region_index.RegionIndex`. A new metric means new codes: until all rows have
them, both metrics propose.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curation.index.checks import check_addition
from curation.index.depot import stamp
from curation.index.lance_reader import LanceReader
from curation.index.lance_reader import LanceRules as LanceRules
from curation.index.lance_state import STATE, State
from curation.index.lance_table import (
    CODE_INDEX,
    IMAGE_INDEX,
    KEPT_FOR,
    RegionTable,
    among,
    checksums,
    lists,
    matrix,
    quoted,
    schema,
)
from curation.index.locks import locked
from curation.index.metric import fit_metric
from curation.kernel.errors import IndexBusy, IndexMoved
from curation.kernel.types import BoolArray, FloatArray

_Answer = TypeVar("_Answer")
_RETRY_S = 0.05


class LanceIndex(LanceReader):
    """See :class:`curation.index.protocol.PoolIndex`; arguments as of :class:`LanceReader`."""

    def add(
        self,
        image_ids: Sequence[str],
        vectors: Sequence[FloatArray],
        boxes_xyxy: Sequence[FloatArray],
    ) -> None:
        """Put images in, all or none; an image that is in already is replaced."""
        check_addition(image_ids, vectors, boxes_xyxy, self._width)
        if not image_ids:
            return
        names, added = list(image_ids), time.time_ns()

        def write() -> None:
            state, table = self._ready()
            rows = self._rows(state, table, names, vectors, boxes_xyxy, added)
            before = table.version
            if table.count(among(names)):
                table.replace(rows, names)
            else:
                table.add(rows)
            if table.version != before + 1:  # somebody has written at the same time
                self._drop_older(table, names)

        self._written(write)
        self._written(self._keep_up)

    def _rows(
        self,
        state: State,
        table: RegionTable,
        names: Sequence[str],
        vectors: Sequence[FloatArray],
        boxes_xyxy: Sequence[FloatArray],
        added: int,
    ) -> pa.Table:
        images: list[str] = []
        regions: list[int] = []
        for name, rows in zip(names, vectors, strict=True):
            images += [name] * max(1, len(rows))
            regions += list(range(len(rows))) or [-1]
        stored = np.zeros((len(images), self._width), np.float16)
        boxes = np.zeros((len(images), 4), np.float32)
        real = np.array(regions) >= 0
        if real.any():
            stored[real] = np.concatenate([np.asarray(one, np.float16) for one in vectors])
            boxes[real] = np.concatenate([np.asarray(one, np.float32) for one in boxes_xyxy])
        return pa.table(
            {
                "image": pa.array(images),
                "region": pa.array(regions, pa.int32()),
                "box": lists(boxes),
                "vector": lists(stored),
                **self._coded(state, table, stored, real),
                "added": pa.array(np.full(len(images), added, np.int64)),
                "place": pa.array(np.arange(len(images), dtype=np.int32)),
                "checksum": pa.array(checksums(boxes, stored)),
            },
            schema=schema(self._width, table.code_width),
        )

    def _coded(
        self, state: State, table: RegionTable, stored: npt.NDArray[Any], real: BoolArray
    ) -> dict[str, pa.Array]:
        """The columns of codes under the metric that counts; ``real``: no marker of an image."""
        metric = self._states.metric(state.metrics[state.fit])
        codes, is_null = np.zeros((len(stored), table.code_width), np.float16), ~real
        if metric.width == table.code_width:
            codes = metric.apply(stored.astype(np.float32)).astype(np.float16)
        else:
            is_null = np.ones(len(stored), np.bool_)
        fits = pa.array(np.full(len(stored), state.fit, np.int32))
        return {"code": lists(codes, is_null), "fit": fits}

    def delete(self, image_id: str) -> bool:
        """Take an image out; False if it was not in."""
        where = f"image = {quoted(image_id)}"

        def write() -> bool:
            _, table = self._opened()
            if table is None or not table.count(where):
                return False
            table.delete(where)
            return True

        return self._written(write)

    def _drop_older(self, table: RegionTable, names: Sequence[str]) -> None:
        """Of images that came twice at once leave the later one.

        Whoever committed last sees both; what is dropped is never the latest, so that of two who
        do this at once none drops what the other leaves.
        """
        found = table.of_images(names, ["image", "added"])
        latest: dict[str, int] = {}
        for name, added in zip(*(found[c].to_pylist() for c in ("image", "added")), strict=True):
            latest[name] = max(added, latest.get(name, added))
        twice = {
            name
            for name, added in zip(*(found[c].to_pylist() for c in ("image", "added")), strict=True)
            if added < latest[name]
        }
        for name in sorted(twice):
            table.delete(f"image = {quoted(name)} AND added < {latest[name]}")

    def _keep_up(self) -> None:
        """After an addition: fit the metric while the pool is small, code what another missed."""
        state, table = self._ready()
        live = table.count("region >= 0")
        least = self._metric_rules.min_sample if state.fitted == 0 else 0
        if live >= max(least, self._rules.refit_growth * state.fitted) and (
            live <= self._rules.recode_rows or state.fitted == 0
        ):
            with contextlib.suppress(IndexMoved):  # then another addition fits it
                self._refit(live)
            self._recode()

    def _refit(self, live: int) -> None:
        """Fit the metric to the live regions and make it the one that counts."""
        state, table = self._ready()
        rows = table.spread(self._metric_rules.max_sample, ["vector", "region", "added", "place"])
        rows = rows.filter(pa.compute.greater_equal(rows["region"], 0))
        rows = rows.sort_by([("added", "ascending"), ("place", "ascending")])
        metric = fit_metric(matrix(rows["vector"]), self._metric_rules)
        if metric.name != self.metric.name:
            name = self._states.keep(metric, stamp())
            self._states.swap(state.with_metric(name, live))

    def _recode(self) -> None:
        """Code all rows under the metric that counts; killed, the next call goes on."""
        state, table = self._ready()
        if len(state.metrics) == 1 and not table.count(f"fit != {state.fit}"):
            return
        columns = schema(self._width, table.code_width).names
        while True:
            rows = table.rows(f"fit != {state.fit}", columns, self._rules.write_rows)
            if not len(rows):
                break
            real = rows["region"].to_numpy() >= 0
            fresh = self._coded(state, table, matrix(rows["vector"], np.float16), real)
            for name, column in fresh.items():
                place = rows.column_names.index(name)
                rows = rows.set_column(place, name, column)
            table.update(rows.select(columns).cast(schema(self._width, table.code_width)))
        if len(state.metrics) > 1 and self._states.now() == state:
            self._states.swap(state.alone())

    def seal(self) -> int:
        """Fit the metric, code and index what waits, pack; regions that the index knows of."""
        if self._states.now() is None:
            return 0
        self._written(self._seal, "SEAL")  # additions and deletions need not wait for it
        _, table = self._ready()
        return table.indexed()

    def _seal(self) -> None:
        state, table = self._ready()
        live = table.count("region >= 0")
        if live >= self._rules.refit_growth * max(1, state.fitted):
            self._refit(live)
        self._recode()
        self._drop_all_older(table)
        table.pack()
        if live < self._rules.min_rows:
            return
        if not table.has_index(IMAGE_INDEX):
            table.index_images()
        now, _ = self._ready()
        # Codes of another metric lie elsewhere: their partitions are learnt anew.
        if now.learnt != now.fit or not table.has_index(CODE_INDEX):
            table.index_codes(max(1, live // self._rules.rows_a_partition))
            if self._states.now() == now:
                self._states.swap(replace(now, learnt=now.fit))

    def _drop_all_older(self, table: RegionTable) -> None:
        """What writers left that were killed between an addition and the look at the others."""
        seen: dict[str, int] = {}
        twice: set[str] = set()
        for batch in table.batches(["image", "added"]):
            pairs = pa.Table.from_batches([batch]).select(["image", "added"])
            pairs = pairs.group_by(["image", "added"]).aggregate([])
            for name, added in zip(
                pairs["image"].to_pylist(), pairs["added"].to_pylist(), strict=True
            ):
                if seen.setdefault(name, added) != added:
                    twice.add(name)
        if twice:
            self._drop_older(table, sorted(twice))

    def compress(self) -> int:
        """Pack what single additions left; how much of it is left."""
        self.pack()
        return 0

    def pack(self, kept: timedelta = KEPT_FOR) -> None:
        """Merge small parts and drop files of versions that are older than this.

        A search that began before they went fails, and is made again.
        """
        table = self._opened()[1]
        if table is not None:
            self._written(partial(table.pack, kept), "SEAL")

    def begin_anew(self) -> None:
        """Let it be empty, whatever is damaged."""
        table = _new_name()
        RegionTable.make(self._uri, self._options, table, schema(self._width, self._code_width()))
        state = State(self._encoder, self._width, table)
        self._depot.swap(STATE, state.to_bytes(), self._depot.tag(STATE))

    def _ready(self) -> tuple[State, RegionTable]:
        """The same; made where there is none."""
        state, table = self._opened()
        if state is not None and table is not None:
            return state, table
        name = _new_name()
        RegionTable.make(self._uri, self._options, name, schema(self._width, self._code_width()))
        try:
            self._states.swap(State(self._encoder, self._width, name))
        except IndexMoved:  # another process has made one
            RegionTable.drop(self._uri, self._options, name)
        return self._ready()

    def _code_width(self) -> int:
        """C of a new table: that of a fitted metric."""
        parts = self._metric_rules.num_parts
        if self._width % parts:
            return self._width
        return parts * min(self._metric_rules.width, self._width // parts)

    def _written(self, write: Callable[[], _Answer], lock: str = "LOCK") -> _Answer:
        """What a write returns, done again wherever another's commit does not go with it."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                with self._locked(lock):
                    return write()
            except IndexMoved as error:
                if time.monotonic() > deadline:
                    raise IndexBusy(
                        f"others have been writing to the index for {self._patience_s:g} s: "
                        "try again"
                    ) from error
                time.sleep(_RETRY_S)

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        if self._folder is None:
            yield
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with locked(self._folder, name, self._patience_s):
            yield


def _new_name() -> str:
    return f"regions{stamp()}"

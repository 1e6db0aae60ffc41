"""The region index in LanceDB: for pools that several hosts search and fill at once.

Rows lie in a table on a disk or in a bucket (:mod:`curation.index.lance_table`); every commit of it
is whole or not there, and every search looks at the newest one. Searched are short codes, which are
the vectors under the metric; exact vectors decide among what they propose, as in
:class:`~curation.index.region_index.RegionIndex`. A new metric means new codes: until all rows have
them, both metrics propose.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from curation.index.checks import check_addition
from curation.index.depot import Depot, stamp
from curation.index.lance_state import STATE, State, States
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
from curation.index.metric import Metric, MetricRules, fit_metric
from curation.index.shards import OVERSAMPLE
from curation.index.snapshot import Hits, ImageScores
from curation.kernel.errors import EncoderMismatch, IndexBusy, IndexMoved, ShardCorrupt
from curation.kernel.types import FloatArray, IntArray

_log = logging.getLogger(__name__)
_Answer = TypeVar("_Answer")
_RETRY_S = 0.05
CODE_TOLERANCE = 4e-3
"""How far a stored code may lie from what its vector gives: half floats, and sums in any order."""


@dataclass(frozen=True, slots=True)
class LanceRules:
    """How rows are coded, indexed and searched.

    Attributes:
        refit_growth: the metric is fitted again when the pool has grown by this factor.
        recode_rows: so many rows at most are coded anew within an addition; more wait for a seal.
        write_rows: rows that are coded anew in one commit.
        min_rows: with fewer every search compares all codes.
        rows_a_partition: of the index of codes.
        probes: partitions that a search looks into.
        refine: times the rows asked for whose codes are compared, after the index.
        least: rows whose codes are compared at least: a bit a number is coarse.
        most_parts: fragments that single additions may leave before they are packed.
    """

    refit_growth: float = 2.0
    recode_rows: int = 50_000
    write_rows: int = 65_536
    min_rows: int = 20_000
    rows_a_partition: int = 4096
    probes: int = 32
    refine: int = 4
    least: int = 256
    most_parts: int = 64


class LanceIndex:
    """See :class:`curation.index.protocol.PoolIndex`.

    Args:
        depot: where the state lies: in the folder or bucket of ``uri``.
        uri: of the database: a folder, or ``s3://…``.
        encoder_version: what made the vectors (``RegionEmbedder.version``).
        width: W of a vector.
        options: of the store, as LanceDB names them.
        folder: the folder of ``uri``, whose locks keep writers of this host apart and a backup can
            hold; None: a bucket.
        metric_rules: how similarity is fitted.
        rules: see there.
        patience_s: how long a write is tried that other writers overtake.

    Raises:
        EncoderMismatch: it holds vectors of another encoder.
        ShardCorrupt: its state is damaged.
    """

    def __init__(
        self,
        depot: Depot,
        uri: str,
        encoder_version: str,
        width: int,
        *,
        options: Mapping[str, str] | None = None,
        folder: Path | None = None,
        metric_rules: MetricRules | None = None,
        rules: LanceRules | None = None,
        patience_s: float = 60.0,
    ) -> None:
        self._metric_rules = metric_rules or MetricRules()
        self._rules = rules or LanceRules()
        self._encoder, self._width = encoder_version, width
        self._depot, self._uri, self._options = depot, uri, dict(options or {})
        self._folder, self._patience_s = folder, patience_s
        self._states = States(depot, encoder_version, width)
        self._table: RegionTable | None = None
        self._states.now()

    # What is in.

    def __len__(self) -> int:
        """Live regions."""
        table = self._opened()[1]
        return 0 if table is None else table.count("region >= 0")

    def __contains__(self, image_id: str) -> bool:
        table = self._opened()[1]
        return table is not None and table.count(f"image = {quoted(image_id)}") > 0

    @property
    def metric(self) -> Metric:
        """What similarities are computed under."""
        state = self._states.now()
        return self._states.metric("" if state is None else state.metrics[state.fit])

    def images(self) -> tuple[str, ...]:
        """Ids of all live images, sorted."""
        table = self._opened()[1]
        if table is None:
            return ()
        names = {name for batch in table.batches(["image"]) for name in batch["image"].to_pylist()}
        return tuple(sorted(names))

    def num_stored(self) -> int:
        """Regions in the table; what was deleted is no part of it."""
        return len(self)

    def waiting(self) -> int:
        """Regions that the index of codes does not know of."""
        table = self._opened()[1]
        return 0 if table is None else max(0, table.count() - table.indexed())

    def uncoded(self) -> int:
        """Regions that wait, once the additions among them lie in too many parts."""
        table = self._opened()[1]
        if table is None or table.small_parts() <= self._rules.most_parts:
            return 0
        return max(1, self.waiting())

    def regions_of(self, image_id: str) -> tuple[FloatArray, FloatArray]:
        """Vectors [R, W] and boxes [R, 4] px of an image; KeyError if it is not in."""
        table = self._opened()[1]
        columns = ["image", "region", "box", "vector", "added", "place"]
        rows = None if table is None else newest(table.of_images([image_id], columns))
        if rows is None or not len(rows):
            raise KeyError(image_id)
        rows = rows.filter(pa.compute.greater_equal(rows["region"], 0)).sort_by("region")
        return matrix(rows["vector"]), matrix(rows["box"])

    # Searching.

    def search(self, queries: FloatArray, k: int) -> Hits:
        """The k nearest live regions of each query."""
        self._check_queries(queries)
        state, table = self._opened()
        if state is None or table is None:
            return _hits(None, np.zeros((len(queries), 0), np.int64), _none(len(queries)), k)
        columns = ["image", "region", "box", "vector", "added", "place"]
        found = self._proposed(state, table, queries, k * OVERSAMPLE, columns)
        rows = newest(found.drop_columns(["query_index"]))
        metric = self._states.metric(state.metrics[state.fit])
        mapped = metric.apply(np.asarray(queries, np.float32))
        similarities = mapped @ metric.apply(matrix(rows["vector"])).T  # [Q, P]
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        return _hits(rows, order, np.take_along_axis(similarities, order, 1), k)

    def score_images(
        self,
        queries: FloatArray,
        k: int = 1000,
        excluded: Collection[str] = (),
        only: Collection[str] | None = None,
    ) -> ImageScores:
        """For each image the best similarity of any of its regions to each query."""
        self._check_queries(queries)
        state, table = self._opened()
        if state is None or table is None:
            names: list[str] = []
        elif only is not None:
            names = sorted(set(only) - set(excluded))
        else:
            names = sorted(self._images_near(state, table, queries, k, frozenset(excluded)))
        if state is None or table is None or not names:
            nothing = np.zeros((len(queries), 0), np.float32)
            return ImageScores((), nothing, np.zeros((len(queries), 0, 4), np.float32))
        metric = self._states.metric(state.metrics[state.fit])
        rows = newest(
            table.of_images(names, ["image", "region", "box", "code", "fit", "added", "place"])
        )
        rows = rows.filter(pa.compute.greater_equal(rows["region"], 0))
        mapped = metric.apply(np.asarray(queries, np.float32))
        return _best(rows, mapped @ self._codes(state, table, metric, rows).T)

    def _codes(
        self, state: State, table: RegionTable, metric: Metric, rows: pa.Table
    ) -> FloatArray:
        """[N, m] of rows under the metric that counts."""
        current = pa.compute.equal(rows["fit"], state.fit)
        if metric.width == table.code_width and pa.compute.all(current).as_py() is not False:
            return matrix(rows["code"])
        names = rows["image"].unique().to_pylist()
        columns = ["image", "region", "vector", "added", "place"]
        exact = newest(table.of_images(names, columns))
        exact = exact.filter(pa.compute.greater_equal(exact["region"], 0))
        # Both in the order of what came first; an image that came between the two reads goes.
        keys = dict(zip(_keys(exact), range(len(exact)), strict=True))
        places = [keys.get(key, -1) for key in _keys(rows)]
        codes = metric.apply(matrix(exact["vector"]))
        codes = np.concatenate([codes, np.zeros((1, codes.shape[1]), np.float32)])
        return codes[np.array(places, np.int64)]

    def _images_near(
        self,
        state: State,
        table: RegionTable,
        queries: FloatArray,
        k: int,
        excluded: frozenset[str],
    ) -> set[str]:
        """Images that hold one of the k regions nearest to any query, the excluded passed over."""
        found = self._proposed(state, table, queries, k, ["image"])
        images = found["image"].to_pylist()
        of_query = found["query_index"].to_numpy()
        kept = np.array([name not in excluded for name in images], np.bool_)
        asked = np.bincount(of_query, minlength=len(queries))
        left = np.bincount(of_query[kept], minlength=len(queries))
        if ((left < k) & (asked >= k)).any():  # they took places: asked again without them
            where = f"NOT ({among(sorted(excluded))})"
            found = self._proposed(state, table, queries, k, ["image"], where)
            return set(found["image"].to_pylist())
        return {name for name, keep in zip(images, kept, strict=True) if keep}

    def _proposed(
        self,
        state: State,
        table: RegionTable,
        queries: FloatArray,
        limit: int,
        columns: Sequence[str],
        where: str | None = None,
    ) -> pa.Table:
        """Rows that any metric in use has near each query; ``query_index`` says near which."""
        found, probes = [], self._rules.probes
        refine = max(self._rules.refine, -(-self._rules.least // limit))
        for number, name in state.metrics.items():
            metric = self._states.metric(name)
            if metric.width == table.code_width:
                codes = metric.apply(np.asarray(queries, np.float32))
                near = table.nearest(codes, limit, columns, probes, refine, where)
                found.append(near.select([*columns, "query_index"]))
            else:  # few rows, from before there was a metric: all of them
                first = f"fit = {number} AND region >= 0"
                rows = table.rows(first if where is None else f"{first} AND {where}", columns)
                rows = rows.select(columns)
                for query in range(len(queries)):
                    column = pa.array(np.full(len(rows), query, np.int32))
                    found.append(rows.append_column("query_index", column))
        return pa.concat_tables(found, promote_options="permissive")

    def _check_queries(self, queries: FloatArray) -> None:
        if queries.ndim != 2 or queries.shape[1] != self._width:
            raise EncoderMismatch(
                f"queries have shape {queries.shape}, the index holds width {self._width}"
            )

    # Writing.

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
        self, state: State, table: RegionTable, stored: FloatArray, real: np.ndarray
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
        learnt = self._states.now()
        self._recode()
        self._drop_all_older(table)
        table.pack()
        if live < self._rules.min_rows:
            return
        if not table.has_index(IMAGE_INDEX):
            table.index_images()
        # Codes of another metric lie elsewhere: their partitions are learnt anew.
        if not table.has_index(CODE_INDEX) or learnt != state:
            partitions = max(1, live // self._rules.rows_a_partition)
            table.index_codes(partitions)

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

    def verify(self) -> None:
        """Read all rows and compare them with their checksums and codes.

        Raises:
            ShardCorrupt: a row does not hold what was written, or cannot be read.
        """
        state, table = self._opened()
        if state is None or table is None:
            return
        metrics = {number: self._states.metric(name) for number, name in state.metrics.items()}
        columns = ["image", "region", "box", "vector", "code", "fit", "checksum"]
        for batch in table.batches(columns):
            rows = pa.Table.from_batches([batch])
            vectors, boxes = matrix(rows["vector"], np.float16), matrix(rows["box"])
            wrong = checksums(boxes, vectors) != rows["checksum"].to_numpy()
            fits, codes = rows["fit"].to_numpy(), rows["code"]
            for number, metric in metrics.items():
                mine = (fits == number) & codes.is_valid().to_numpy()
                if metric.width == table.code_width and mine.any():
                    stored = matrix(codes.filter(pa.array(mine)))
                    right = metric.apply(vectors[mine].astype(np.float32))
                    wrong[mine] |= np.abs(stored - right).max(1) > CODE_TOLERANCE
            if wrong.any():
                name = rows["image"][int(np.flatnonzero(wrong)[0])].as_py()
                raise ShardCorrupt(f"{self._depot.name}: image {name[:12]} is not what was written")

    def begin_anew(self) -> None:
        """Let it be empty, whatever is damaged."""
        table = _new_name()
        RegionTable.make(self._uri, self._options, table, schema(self._width, self._code_width()))
        state = State(self._encoder, self._width, table)
        self._depot.swap(STATE, state.to_bytes(), self._depot.tag(STATE))

    # Wiring.

    def _opened(self) -> tuple[State | None, RegionTable | None]:
        """State and table as they are now; None where nothing was ever written."""
        state = self._states.now()
        if state is None:
            return None, None
        if self._table is None or self._table.name != state.table:
            self._table = RegionTable(self._uri, self._options, state.table)
        return state, self._table

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


def newest(rows: pa.Table) -> pa.Table:
    """Rows without those of older additions of an image, each once, in the order they came."""
    latest = rows.group_by("image").aggregate([("added", "max")])
    if len(latest) < len(rows.group_by(["image", "added"]).aggregate([])):
        top = dict(zip(latest["image"].to_pylist(), latest["added_max"].to_pylist(), strict=True))
        pairs = zip(rows["image"].to_pylist(), rows["added"].to_pylist(), strict=True)
        rows = rows.filter(pa.array([top[name] == added for name, added in pairs], pa.bool_()))
    order = np.lexsort([rows["place"].to_numpy(), rows["added"].to_numpy()])
    keys = np.stack([rows["added"].to_numpy()[order], rows["place"].to_numpy()[order]], 1)
    images = rows["image"].combine_chunks().dictionary_encode().indices.to_numpy()[order]
    same = (keys[1:] == keys[:-1]).all(1) & (images[1:] == images[:-1])
    return rows.take(pa.array(order[np.concatenate([[True], ~same])[: len(order)]]))


def _keys(rows: pa.Table) -> list[tuple[str, int, int]]:
    columns = (rows[name].to_pylist() for name in ("image", "region", "added"))
    return list(zip(*columns, strict=True))


def _new_name() -> str:
    return f"regions{stamp()}"


def _none(count: int) -> FloatArray:
    return np.zeros((count, 0), np.float32)


def _hits(rows: pa.Table | None, places: IntArray, similarities: FloatArray, k: int) -> Hits:
    """Hits of rows at places [Q, <= k]."""
    found = places.shape[1]
    images = np.full((len(places), k), "", np.object_)
    regions = np.full((len(places), k), -1, np.int64)
    boxes = np.zeros((len(places), k, 4), np.float32)
    values = np.full((len(places), k), -np.inf, np.float32)
    if rows is not None and found:
        images[:, :found] = np.array(rows["image"].to_pylist(), np.object_)[places]
        regions[:, :found] = rows["region"].to_numpy()[places]
        boxes[:, :found] = matrix(rows["box"])[places]
        values[:, :found] = similarities
    return Hits(images, regions, boxes, values)


def _best(rows: pa.Table, similarities: FloatArray) -> ImageScores:
    """The best row of each image, of similarities [Q, N]."""
    encoded = rows["image"].combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    sorting = sorted(range(len(names)), key=names.__getitem__)
    rank = np.empty(len(names), np.int64)
    rank[sorting] = np.arange(len(names))
    group = rank[encoded.indices.to_numpy()]
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    ordered = similarities[:, order]
    best = np.maximum.reduceat(ordered, starts, axis=1)
    # The first of each image that is as good as its best.
    is_best = ordered == np.repeat(best, np.diff(starts, append=len(order)), axis=1)
    places = np.where(is_best, np.arange(len(order)), len(order))
    rows_of = order[np.minimum.reduceat(places, starts, axis=1)]
    boxes = matrix(rows["box"])[rows_of]
    return ImageScores(tuple(names[place] for place in sorting), best, boxes)

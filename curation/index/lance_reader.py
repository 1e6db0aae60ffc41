"""Searching an index in LanceDB, whatever version of it is current."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from curation.index.depot import Depot
from curation.index.lance_answers import best_of, hits_of, keys_of, newest, nothing
from curation.index.lance_state import State, States
from curation.index.lance_table import RegionTable, among, checksums, matrix, quoted
from curation.index.metric import Metric, MetricRules
from curation.index.shards import OVERSAMPLE
from curation.index.snapshot import Hits, ImageScores
from curation.kernel.errors import EncoderMismatch, ShardCorrupt
from curation.kernel.types import FloatArray

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


class LanceReader:
    """What :class:`~curation.index.lance_index.LanceIndex` does besides writing.

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
            return hits_of(None, np.zeros((len(queries), 0), np.int64), nothing(len(queries)), k)
        columns = ["image", "region", "box", "vector", "added", "place"]
        found = self._proposed(state, table, queries, k * OVERSAMPLE, columns)
        rows = newest(found.drop_columns(["query_index"]))
        metric = self._states.metric(state.metrics[state.fit])
        mapped = metric.apply(np.asarray(queries, np.float32))
        similarities = mapped @ metric.apply(matrix(rows["vector"])).T  # [Q, P]
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        return hits_of(rows, order, np.take_along_axis(similarities, order, 1), k)

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
        return best_of(rows, mapped @ self._codes(state, table, metric, rows).T)

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
        keys = dict(zip(keys_of(exact), range(len(exact)), strict=True))
        places = [keys.get(key, -1) for key in keys_of(rows)]
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

    def _opened(self) -> tuple[State | None, RegionTable | None]:
        """State and table as they are now; None where nothing was ever written."""
        state = self._states.now()
        if state is None:
            return None, None
        if self._table is None or self._table.name != state.table:
            self._table = RegionTable(self._uri, self._options, state.table)
        return state, self._table

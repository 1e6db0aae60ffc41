"""Regions as rows of a LanceDB table: what is written, and what is asked for.

=========  =================================================================================
column     what it holds
=========  =================================================================================
image      id
region     number of the region within its image; -1 stands for an image without regions
box        fp32 [4] px
vector     fp16 [W], as it came: the truth
code       fp16 [C], the vector under a metric, of unit length: what is searched; null for none
fit        number of that metric
added      when the image came, in ns; of two additions of one image the later counts
place      place within that addition
checksum   CRC-32 of box and vector
=========  =================================================================================
"""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import lancedb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from lancedb.index import BTree, IvfRq

from curation.kernel.errors import IndexBusy, IndexMoved, ShardCorrupt
from curation.kernel.types import FloatArray

CODE_INDEX, IMAGE_INDEX = "code_idx", "image_idx"
KEY = ["image", "region", "added"]
KEPT_FOR = timedelta(days=1)
"""Files of older versions stay so long: a search or a backup that began before may read them."""
ITERATIONS, SAMPLE_RATE = 10, 64
"""Of the search for partitions, and codes a partition that it looks at."""
NAMES_AT_A_TIME = 2000
"""Images in one condition."""
_CONFLICT = re.compile(r"conflict|preempted|concurrent", re.IGNORECASE)
_SILENT = re.compile(r"error sending request|timed? ?out|connect|Generic S3 error", re.IGNORECASE)


def schema(width: int, code_width: int) -> pa.Schema:
    """Columns, see the module."""
    return pa.schema(
        [
            pa.field("image", pa.string(), nullable=False),
            pa.field("region", pa.int32(), nullable=False),
            pa.field("box", pa.list_(pa.float32(), 4), nullable=False),
            pa.field("vector", pa.list_(pa.float16(), width), nullable=False),
            pa.field("code", pa.list_(pa.float16(), code_width)),
            pa.field("fit", pa.int32(), nullable=False),
            pa.field("added", pa.int64(), nullable=False),
            pa.field("place", pa.int32(), nullable=False),
            pa.field("checksum", pa.int64(), nullable=False),
        ]
    )


def matrix(column: pa.ChunkedArray, dtype: Any = np.float32) -> npt.NDArray[Any]:
    """[N, n] of a column of lists of one length, no null among them."""
    width = column.type.list_size
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    flat = np.concatenate(parts) if parts else np.zeros(0, dtype)
    return flat.reshape(-1, width).astype(dtype, copy=False)


def lists(rows: npt.NDArray[Any], is_null: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """[N, n] as a column of lists of one length."""
    flat = pa.array(np.ascontiguousarray(rows).reshape(-1))
    mask = None if is_null is None else pa.array(is_null)
    return pa.FixedSizeListArray.from_arrays(flat, rows.shape[1], mask=mask)


def checksums(boxes: npt.NDArray[Any], vectors: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """[N] CRC-32 of boxes [N, 4] and vectors [N, W] as they are stored."""
    boxes = np.ascontiguousarray(boxes, "<f4")
    vectors = np.ascontiguousarray(vectors, "<f2")
    found = [
        zlib.crc32(vector.tobytes(), zlib.crc32(box.tobytes()))
        for box, vector in zip(boxes, vectors, strict=True)
    ]
    return np.array(found, np.int64)


def quoted(name: str) -> str:
    """A text within a condition."""
    return "'" + name.replace("'", "''") + "'"


def among(names: Sequence[str]) -> str:
    """The condition that a row is of one of these images."""
    return f"image IN ({', '.join(map(quoted, names))})"


class RegionTable:
    """A table; each call looks at the newest version of it.

    Args:
        uri: of the database: a folder, or ``s3://…``.
        options: of the store, as LanceDB names them.
        name: of the table.

    Raises:
        ShardCorrupt: there is none of this name.
    """

    def __init__(self, uri: str, options: Mapping[str, str], name: str) -> None:
        _same_process()
        self.name = name
        with told(name):
            # Without an interval a table would never look for what others have written.
            database = lancedb.connect(
                uri, storage_options=dict(options), read_consistency_interval=timedelta(0)
            )
            self._table: Any = database.open_table(name)  # it types what it returns too widely

    @staticmethod
    def make(uri: str, options: Mapping[str, str], name: str, columns: pa.Schema) -> None:
        """Make an empty table."""
        _same_process()
        with told(name):
            lancedb.connect(uri, storage_options=dict(options)).create_table(name, schema=columns)

    @staticmethod
    def drop(uri: str, options: Mapping[str, str], name: str) -> None:
        """Remove a table."""
        with told(name):
            lancedb.connect(uri, storage_options=dict(options)).drop_table(name)

    @property
    def version(self) -> int:
        """Grows with every commit."""
        with told(self.name):
            return int(self._table.version)

    @property
    def code_width(self) -> int:
        """C of a code."""
        return int(self._table.schema.field("code").type.list_size)

    def count(self, where: str | None = None) -> int:
        """Rows for which a condition holds."""
        with told(self.name):
            return int(self._table.count_rows(where))

    def rows(self, where: str | None, columns: Sequence[str], most: int | None = None) -> pa.Table:
        """Rows for which a condition holds, in no order."""
        with told(self.name):
            query = self._table.search().select(list(columns))
            if where is not None:
                query = query.where(where)
            return query.limit(most).to_arrow()

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """All rows, some at a time."""
        with told(self.name):
            yield from self._table.search().select(list(columns)).to_batches()

    def of_images(self, names: Sequence[str], columns: Sequence[str]) -> pa.Table:
        """All rows of some images."""
        parts = [
            self.rows(among(names[first : first + NAMES_AT_A_TIME]), columns)
            for first in range(0, len(names), NAMES_AT_A_TIME)
        ]
        if not parts:
            return self.rows("false", columns)
        return pa.concat_tables(parts)

    def spread(self, most: int, columns: Sequence[str]) -> pa.Table:
        """At most so many rows, spread evenly, in the order in which they lie."""
        with told(self.name):
            step = -(-self._table.count_rows() // most) or 1
            places = list(range(0, self._table.count_rows(), step))
            return self._table.take_offsets(places).select(list(columns)).to_arrow()

    def nearest(
        self,
        codes: FloatArray,
        limit: int,
        columns: Sequence[str],
        probes: int,
        refine: int,
        where: str | None = None,
    ) -> pa.Table:
        """Rows nearest to codes [Q, C] of those that fulfil a condition.

        ``query_index`` says to which code each is near.
        """
        wanted = [*columns, "_distance"]
        with told(self.name):
            query = self._table.search(list(codes), vector_column_name="code")
            query = query.distance_type("l2").limit(limit).nprobes(probes).select(wanted)
            if where is not None:
                query = query.where(where, prefilter=True)
            if refine:
                query = query.refine_factor(refine)
            found: pa.Table = query.to_arrow()
        if "query_index" not in found.column_names:
            zeros = pa.array(np.zeros(len(found), np.int32))
            found = found.append_column("query_index", zeros)
        return found

    def add(self, rows: pa.Table) -> None:
        """Append rows, all or none."""
        with told(self.name):
            self._table.add(rows)

    def replace(self, rows: pa.Table, names: Sequence[str]) -> None:
        """Let images have these rows and no others, in one commit."""
        with told(self.name):
            merge = self._table.merge_insert(["image", "region"])
            merge = merge.when_matched_update_all().when_not_matched_insert_all()
            merge.when_not_matched_by_source_delete(among(names)).execute(rows)

    def update(self, rows: pa.Table) -> None:
        """Write rows anew that are still there; what was deleted meanwhile stays deleted."""
        with told(self.name):
            self._table.merge_insert(KEY).when_matched_update_all().execute(rows)

    def delete(self, where: str) -> None:
        """Delete rows for which a condition holds."""
        with told(self.name):
            self._table.delete(where)

    def indexed(self) -> int:
        """Rows that the index of codes knows of."""
        with told(self.name):
            stats = self._table.index_stats(CODE_INDEX)
        return 0 if stats is None else int(stats.num_indexed_rows)

    def small_parts(self) -> int:
        """Fragments of few rows, as single additions leave them."""
        with told(self.name):
            return int(self._table.stats()["fragment_stats"]["num_small_fragments"])

    def pack(self, kept: timedelta = KEPT_FOR) -> None:
        """Merge small fragments, bring the indexes up to date, drop files of old versions."""
        with told(self.name):
            self._table.optimize(cleanup_older_than=kept)

    def index_codes(self, partitions: int) -> None:
        """Learn the index of codes anew: a bit a number, along random directions.

        Nothing but the partitions is learnt: product quantisation took a hundred times as long to
        build and found no more.
        """
        config = IvfRq(
            distance_type="l2",
            num_partitions=partitions,
            max_iterations=ITERATIONS,
            sample_rate=SAMPLE_RATE,
        )
        with told(self.name):
            self._table.create_index("code", config=config, name=CODE_INDEX, replace=True)

    def index_images(self) -> None:
        """Index the ids of images."""
        with told(self.name):
            self._table.create_index("image", config=BTree(), name=IMAGE_INDEX, replace=True)

    def has_index(self, name: str) -> bool:
        """Whether there is an index of this name."""
        with told(self.name):
            return any(index.name == name for index in self._table.list_indices())


_first_use: int | None = None


def _same_process() -> None:
    """Refuse what would hang for ever: the library's threads do not survive a fork.

    Raises:
        RuntimeError: another process has used it, and this one is its fork.
    """
    global _first_use
    if _first_use is None:
        _first_use = os.getpid()
    if _first_use != os.getpid():
        raise RuntimeError(
            f"process {_first_use} used LanceDB before it forked this one, which cannot use it: "
            "open the index after the fork, or spawn"
        )


@contextlib.contextmanager
def told(name: str) -> Iterator[None]:
    """Errors of LanceDB as those of an index.

    Raises:
        IndexMoved: another process has committed something that does not go with it.
        IndexBusy: the store does not answer.
        ShardCorrupt: a file is lost or damaged.
    """
    try:
        yield
    except (RuntimeError, OSError, ValueError, pa.ArrowException) as error:
        said = str(error).strip().split("\n", 1)[0][:400]
        if _CONFLICT.search(said):
            raise IndexMoved(f"{name}: {said}") from error
        if _SILENT.search(said):
            raise IndexBusy(f"{name}: the store of the index does not answer: {said}") from error
        raise ShardCorrupt(f"{name}: {said}") from error

"""Sealed shards: compressed, read-only copies of stored regions for approximate search.

A shard is an inverted file over product-quantised vectors after an optimised rotation
(OPQ + IVF-PQ), 48 bytes a vector of 192 numbers: FAISS encodes four numbers a byte eight times as
fast as three, and re-ranking makes up for the coarser codes. It only proposes; exact vectors
decide. It is built from a stream: a sample is learned from, then vectors are encoded block by
block. In the same pass some of them are compared with all others, so that the number of lists a
search looks into is chosen by the recall that it gives and not by a rule of thumb.

Source:
    Jégou et al., "Product Quantization for Nearest Neighbor Search", TPAMI 2011;
    Ge et al., "Optimized Product Quantization", TPAMI 2014.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curation.kernel.errors import ShardCorrupt
from curation.kernel.files import write_atomically
from curation.kernel.types import BoolArray, FloatArray, IntArray

MIN_COMPRESSED = 10_000
"""With fewer vectors 256 codes a byte cannot be learned (39 points each); they stay exact."""
CODE_ROWS = 8192
"""With fewer vectors the directions that a segment is coded along (200 KB) weigh 25 bytes each."""
OVERSAMPLE = 16
"""Proposals of a shard for each hit that is asked for, before exact vectors decide."""
BLOCK = 32_768
"""Regions that are mapped, encoded or compared at a time; bounds memory."""
POINTS_PER_LIST = 39
"""FAISS asks for so many training points a centroid."""
CODE_ROUNDS, POINTS_PER_CODE = 10, 64
"""Learning the codes: FAISS's 25 rounds over 256 points each take ten times as long."""
TUNED_K = 10
TUNING_QUERIES = 192
MIN_GAIN = 0.002
"""Twice the lists for less recall than this is not worth it: the codes are what limits it."""

Bits: TypeAlias = npt.NDArray[np.uint8]
"""A bit a row, the lowest first; what FAISS selects by."""
Mapper = Callable[[IntArray], FloatArray]
"""Rows [n] to their mapped vectors [n, m] float32."""


@dataclass(frozen=True, slots=True)
class ShardRules:
    """How shards are built and searched.

    Attributes:
        min_regions: fewer waiting regions are not worth a shard; they stay exact.
        max_regions: of one shard; bounds the time and memory of building one.
        merge_ratio: a new shard takes in its predecessor if that is at most so much larger, so
            that the number of shards grows with the logarithm of their content.
        max_bytes: of one compressed vector; a divisor of its width below it is taken.
        train_sample: vectors that the rotation, lists and codes are learned from.
        recall: recall@10 that the number of lists looked into is chosen for, in 0..1, measured with
            regions of the pool; what others want is proposed a little less often. At a million
            regions 4 lists reach 0.981 and 8 lists 0.993, for less than 0.1 ms more.
        rebuild_share: a shard with more dead regions than this share is learned anew at a seal;
            from others the dead are taken out.
        code_rows: with fewer vectors no code is learnt; they stay half floats.
        compact_share: with more dead regions than this share all files are written anew.
        num_threads: of FAISS, for the whole process.
    """

    min_regions: int = 20_000
    max_regions: int = 2_000_000
    merge_ratio: float = 2.0
    max_bytes: int = 48
    train_sample: int = 100_000
    recall: float = 0.99
    rebuild_share: float = 0.25
    code_rows: int = CODE_ROWS
    compact_share: float = 0.25
    num_threads: int = 1


def packed(rows: BoolArray) -> Bits:
    """A bit for each of N rows, all that there are."""
    return np.packbits(rows, bitorder="little")


def _faiss(num_threads: int) -> Any:
    import faiss  # only a sealed index needs it

    faiss.omp_set_num_threads(num_threads)
    return faiss


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A shard that is not written yet.

    Attributes:
        index: of FAISS.
        probes: lists that a search should look into.
        recall: recall@10 with so many, measured, in 0..1.
    """

    index: Any
    probes: int
    recall: float


def build(rows: IntArray, images: IntArray, mapper: Mapper, rules: ShardRules) -> Built:
    """Learn, encode and tune one shard, a block of vectors at a time.

    Args:
        rows: [N] int64, what a hit returns; N at least 1.
        images: [N] int64, the image of each row; recall is measured across images.
        mapper: gives mapped vectors of unit length under the shard's metric.
        rules: see there.
    """
    sample = mapper(rows[:: -(-len(rows) // rules.train_sample)])
    index = _untrained(sample.shape[1], len(rows), len(sample), rules)
    index.train(np.ascontiguousarray(sample))
    asked = np.linspace(0, len(rows) - 1, min(len(rows), TUNING_QUERIES)).astype(np.int64)
    queries = mapper(rows[asked])
    truth = _Nearest(queries, images[asked])
    for start in range(0, len(rows), BLOCK):
        own = rows[start : start + BLOCK]
        mapped = np.ascontiguousarray(mapper(own))
        index.add_with_ids(mapped, own)
        truth.look_at(mapped, own, images[start : start + BLOCK])
    probes, recall = _tune(index, queries, truth, rules)
    return Built(index, probes, recall)


def _untrained(width: int, count: int, sample: int, rules: ShardRules) -> Any:
    faiss = _faiss(rules.num_threads)
    code_bytes = max(size for size in range(1, rules.max_bytes + 1) if width % size == 0)
    if count < MIN_COMPRESSED:
        return faiss.index_factory(width, "IVF1,Flat", faiss.METRIC_INNER_PRODUCT)
    num_lists = max(1, min(round(2 * count**0.5), sample // POINTS_PER_LIST))
    # "np" skips polysemous training, half a minute for a filter that is not used here.
    kind = f"OPQ{code_bytes},IVF{num_lists},PQ{code_bytes}np"
    index = faiss.index_factory(width, kind, faiss.METRIC_INNER_PRODUCT)
    rotation = faiss.downcast_VectorTransform(index.chain.at(0))
    # A whitened space has little left to rotate: FAISS's 50 rounds take minutes for nothing.
    rotation.niter, rotation.niter_pq, rotation.niter_pq_0 = 4, 2, 10
    rotation.max_train_points = 10 * 1024
    codes = faiss.downcast_index(index.index).pq.cp
    codes.niter, codes.max_points_per_centroid = CODE_ROUNDS, POINTS_PER_CODE
    return index


class _Nearest:
    """The exact nearest rows of some queries in other images, from one pass over all vectors."""

    def __init__(self, queries: FloatArray, images: IntArray) -> None:
        self._queries, self._images = queries, images
        self.rows = np.full((len(queries), TUNED_K), -1, np.int64)
        self._best = np.full((len(queries), TUNED_K), -np.inf, np.float32)
        self.same: list[IntArray] = [np.zeros(0, np.int64) for _ in range(len(queries))]

    def look_at(self, mapped: FloatArray, rows: IntArray, images: IntArray) -> None:
        similarities = self._queries @ mapped.T  # [Q, n]
        for query, image in enumerate(self._images):
            same = np.flatnonzero(images == image)
            similarities[query, same] = -np.inf
            self.same[query] = np.concatenate([self.same[query], rows[same]])
        keep = min(TUNED_K, len(rows))
        best = np.argpartition(-similarities, keep - 1, axis=1)[:, :keep]
        values = np.hstack([self._best, np.take_along_axis(similarities, best, 1)])
        found = np.hstack([self.rows, rows[best]])
        order = np.argsort(-values, axis=1, kind="stable")[:, :TUNED_K]
        self._best = np.take_along_axis(values, order, 1)
        self.rows = np.take_along_axis(found, order, 1)
        self.rows[np.isneginf(self._best)] = -1


def _tune(index: Any, queries: FloatArray, truth: _Nearest, rules: ShardRules) -> tuple[int, float]:
    """The fewest lists, of 4, 8, 16 ..., that reach the recall, and what they reach."""
    inverted = _faiss(rules.num_threads).extract_index_ivf(index)
    spare = max(len(rows) for rows in truth.same)
    probes, recall = 0, -1.0
    while recall < rules.recall and probes < inverted.nlist:
        tried = min(max(4, 2 * probes), inverted.nlist)
        inverted.nprobe = tried
        found = index.search(queries, TUNED_K * OVERSAMPLE + spare)[1]
        reached = _recall(found, truth)
        if reached < recall + MIN_GAIN:
            break
        probes, recall = tried, reached
    return probes, max(0.0, recall)


def _recall(found: IntArray, truth: _Nearest) -> float:
    hits = total = 0
    for query, same in enumerate(truth.same):
        others = found[query][~np.isin(found[query], same)][: TUNED_K * OVERSAMPLE]
        wanted = truth.rows[query][truth.rows[query] >= 0]
        hits += int(np.isin(wanted, others).sum())
        total += len(wanted)
    return hits / total if total else 1.0


def save(path: Path, index: Any) -> int:
    """Write a shard so that it is whole or absent; its CRC-32."""
    import faiss

    write_atomically(path, lambda file: faiss.write_index(index, str(file)))
    return _checksum(path)


def _checksum(path: Path) -> int:
    found = 0
    with path.open("rb") as file:
        while data := file.read(2**24):
            found = zlib.crc32(data, found)
    return found


class Shard:
    """A shard that can be searched; memory-mapped, so that processes share what they read of it.

    Args:
        path: the file.
        checksum: CRC-32 of it.
        probes: lists that a search looks into.
        rules: how it is searched.

    Raises:
        ShardCorrupt: the file is absent or differs from what was written.
    """

    def __init__(self, path: Path, checksum: int, probes: int, rules: ShardRules) -> None:
        self._faiss = faiss = _faiss(rules.num_threads)
        try:
            if _checksum(path) != checksum:
                raise ShardCorrupt(f"{path} differs from what was written; seal the index again")
            # A search looks into a few lists: the others need not lie in memory.
            self._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except (FileNotFoundError, RuntimeError) as error:
            raise ShardCorrupt(f"{path} is missing; seal the index again") from error
        faiss.extract_index_ivf(self._index).nprobe = probes

    def search(self, mapped: FloatArray, k: int, allowed: Bits | None = None) -> IntArray:
        """Rows [Q, k] int64 of the best proposals for mapped queries [Q, m]; -1 where none.

        Args:
            mapped: queries under the shard's metric.
            k: proposals for each.
            allowed: which rows may be proposed, see ``packed``; None: all may. Others are passed
                over while searching, so that they take nobody's place.
        """
        asked = np.ascontiguousarray(mapped)
        if allowed is None:
            rows: IntArray = self._index.search(asked, k)[1]
            return rows
        rows = self._index.search(asked, k, params=self._allowing(allowed))[1]
        return rows

    def _allowing(self, bits: Bits) -> Any:
        faiss = self._faiss
        inverted = faiss.extract_index_ivf(self._index)
        own = faiss.SearchParametersIVF(
            sel=faiss.IDSelectorBitmap(bits), nprobe=int(inverted.nprobe)
        )
        if isinstance(faiss.downcast_index(self._index), faiss.IndexPreTransform):
            return faiss.SearchParametersPreTransform(index_params=own)
        return own


def without(path: Path, checksum: int, dead: IntArray, rules: ShardRules) -> Any:
    """A stored shard less some rows, encoded as it was.

    Args:
        path: the file.
        checksum: CRC-32 of it.
        dead: [N] int64 rows to take out.
        rules: see there.

    Returns:
        What ``save`` writes.

    Raises:
        ShardCorrupt: the file is absent or differs from what was written.
    """
    faiss = _faiss(rules.num_threads)
    Shard(path, checksum, 1, rules)  # it is what was written; mapped, so nothing can be taken out
    index = faiss.read_index(str(path))
    faiss.extract_index_ivf(index).remove_ids(faiss.IDSelectorBatch(dead))
    index.ntotal = faiss.extract_index_ivf(index).ntotal
    return index

"""Sealed shards: compressed, read-only copies of stored regions for approximate search.

A shard is an inverted file over product-quantised vectors after an optimised rotation
(OPQ + IVF-PQ), at most 64 bytes a vector. It only proposes; exact vectors decide.

Source:
    Jégou et al., "Product Quantization for Nearest Neighbor Search", TPAMI 2011;
    Ge et al., "Optimized Product Quantization", TPAMI 2014.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curation.errors import ShardCorrupt
from curation.files import write_bytes
from curation.types import FloatArray, IntArray

MIN_COMPRESSED = 10_000
"""With fewer vectors 256 codes a byte cannot be learned (39 points each); they stay exact."""


@dataclass(frozen=True, slots=True)
class ShardRules:
    """How shards are built and searched.

    Attributes:
        min_regions: fewer waiting regions are not worth a shard; they stay exact.
        max_bytes: of one compressed vector; a divisor of its width below it is taken.
        train_sample: vectors that the rotation, lists and codes are learned from.
        probe_share: share of the lists that a search looks into.
        rebuild_share: a shard with more dead regions than this share is rebuilt at a seal.
        num_threads: of FAISS, for the whole process.
    """

    min_regions: int = 20_000
    max_bytes: int = 64
    train_sample: int = 50_000
    probe_share: float = 1 / 16
    rebuild_share: float = 0.0
    num_threads: int = 1


def _faiss(num_threads: int) -> Any:
    import faiss  # only a sealed index needs it

    faiss.omp_set_num_threads(num_threads)
    return faiss


def build(mapped: FloatArray, rows: IntArray, rules: ShardRules) -> bytes:
    """A serialised shard.

    Args:
        mapped: [N, m] float32 of unit length, under the shard's metric.
        rows: [N] int64, what a hit returns.
        rules: see there.
    """
    faiss = _faiss(rules.num_threads)
    width = mapped.shape[1]
    code_bytes = max(size for size in range(1, rules.max_bytes + 1) if width % size == 0)
    num_lists = max(1, min(round(4 * len(rows) ** 0.5), len(rows) // 39))
    compressed = len(rows) >= MIN_COMPRESSED
    # "np" skips polysemous training, half a minute for a filter that is not used here.
    kind = (
        f"OPQ{code_bytes},IVF{num_lists},PQ{code_bytes}np" if compressed else f"IVF{num_lists},Flat"
    )
    index = faiss.index_factory(width, kind, faiss.METRIC_INNER_PRODUCT)
    if compressed:
        rotation = faiss.downcast_VectorTransform(index.chain.at(0))
        # A whitened space has little left to rotate: FAISS's 50 rounds take minutes for nothing.
        rotation.niter, rotation.niter_pq, rotation.niter_pq_0 = 4, 2, 10
        rotation.max_train_points = 10 * 1024
    step = max(1, len(rows) // rules.train_sample)
    index.train(np.ascontiguousarray(mapped[::step]))
    index.add_with_ids(np.ascontiguousarray(mapped), rows)
    data: bytes = faiss.serialize_index(index).tobytes()
    return data


def save(path: Path, data: bytes) -> int:
    """Write a serialised shard so that it is whole or absent; its CRC-32."""
    write_bytes(path, data)
    return zlib.crc32(data)


class Shard:
    """A shard that can be searched.

    Args:
        path: the file.
        checksum: CRC-32 of it.
        rules: how it is searched.

    Raises:
        ShardCorrupt: the file is absent or differs from what was written.
    """

    def __init__(self, path: Path, checksum: int, rules: ShardRules) -> None:
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise ShardCorrupt(f"{path} is missing; seal the index again") from error
        if zlib.crc32(data) != checksum:
            raise ShardCorrupt(f"{path} differs from what was written; seal the index again")
        faiss = _faiss(rules.num_threads)
        self._index = faiss.deserialize_index(np.frombuffer(data, np.uint8))
        inverted = faiss.extract_index_ivf(self._index)
        inverted.nprobe = max(8, round(inverted.nlist * rules.probe_share))

    def search(self, mapped: FloatArray, k: int) -> IntArray:
        """Rows [Q, k] int64 of the best proposals for mapped queries [Q, m]; -1 where none."""
        rows: IntArray = self._index.search(np.ascontiguousarray(mapped), k)[1]
        return rows

"""Coded segments: region vectors in a quarter of their space, each segment by a code of its own.

The newest vectors lie as half floats (``vectors.f16``). A seal takes some ten thousand of them at a
time and writes them as whole numbers of one byte along their own leading directions, each half of
a vector apart: the code is learnt from the very rows that it codes, so it never grows old, whatever
comes into the pool later, and a segment never changes once it is written.

Measured on the street world (1200 pool images, 42 000 regions of 1728 bytes, segments of 16 384):
how many of the ten nearest regions that exact vectors find are found under the same metric, and of
the ten best images of a failure under the metric of each.

==========================================  =====  =======  ======
code                                        bytes  regions  images
==========================================  =====  =======  ======
2 x 192 own directions, as here               384     0.97    0.98
2 x 128 own directions                        256     0.93    0.96
2 x 224 own directions                        448     0.98    0.98
==========================================  =====  =======  ======

Of the ten best images 0.85 hold the cause with each of them, as with exact vectors. One code for
all that was learnt from the first 64 images keeps 0.70 of the regions; four bits a number after a
random rotation (432 bytes, nothing to learn) 0.90.

====================  ===================================================
of P parts, d to k    contents of a file, one after the other
====================  ===================================================
bases                 fp16 [P, k, d], orthonormal rows
means                 fp32 [P, d]
steps                 fp32 [P, k], what one unit of a code stands for
codes                 int8 [N, P, k]; -128 where a whole half is zero
====================  ===================================================

Source:
    Jégou et al., "Aggregating local descriptors into a compact image representation", CVPR 2010:
    principal components before coding.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.kernel.errors import ShardCorrupt
from curation.kernel.files import write_bytes
from curation.kernel.types import FloatArray, IntArray

PARTS, KEPT = 2, 192
"""A region and its ring; directions kept of each, twice the 96 that a metric looks at: those of a
segment are not quite those of the pool."""
ABSENT, LARGEST = -128, 127
READ_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """A coded segment, as the version file tells of it.

    Attributes:
        file: its name.
        start: first row.
        count: rows.
        parts: P, of a vector.
        kept: k, directions of each part.
        checksum: CRC-32 of the file.
    """

    file: str
    start: int
    count: int
    parts: int
    kept: int
    checksum: int

    @property
    def end(self) -> int:
        """First row after it."""
        return self.start + self.count


def write_segment(path: Path, start: int, vectors: FloatArray) -> SegmentRef:
    """Code vectors and write them, whole or not at all.

    Args:
        path: the file.
        start: row of the first.
        vectors: [N, W], N at least 1.
    """
    count, width = vectors.shape
    parts = PARTS if width % PARTS == 0 else 1
    split = np.asarray(vectors, np.float32).reshape(count, parts, -1)
    coded = [_code(split[:, part]) for part in range(parts)]
    bases, means, steps, codes = (np.stack(one) for one in zip(*coded, strict=True))
    content = b"".join(
        np.ascontiguousarray(array).tobytes()
        for array in (bases, means, steps, codes.transpose(1, 0, 2))
    )
    write_bytes(path, content)
    kept = int(bases.shape[1])
    return SegmentRef(path.name, start, count, parts, kept, zlib.crc32(content))


def _code(part: FloatArray) -> tuple[npt.NDArray[Any], ...]:
    """Basis [k, d] fp16, mean [d], steps [k] and codes [N, k] int8 of one part [N, d]."""
    present = np.abs(part).max(1, initial=0) > 0
    some = part[present].astype(np.float64) if present.any() else part.astype(np.float64)
    mean = some.mean(0)
    _, directions = np.linalg.eigh((some - mean).T @ (some - mean))
    basis = directions[:, ::-1][:, :KEPT].T.astype(np.float16)
    along = (part - mean.astype(np.float32)) @ basis.astype(np.float32).T
    steps = np.maximum(np.abs(along[present]).max(0, initial=0), 1e-9) / LARGEST
    codes = np.rint(along / steps).clip(-LARGEST, LARGEST).astype(np.int8)
    codes[~present] = ABSENT
    return basis, mean.astype(np.float32), steps.astype(np.float32), codes


class Segment:
    """A coded segment, memory-mapped.

    Args:
        folder: where the file lies.
        ref: what the version file says of it.
        width: W of a vector.

    Raises:
        ShardCorrupt: the file is absent or too short.
    """

    def __init__(self, folder: Path, ref: SegmentRef, width: int) -> None:
        parts, kept, size = ref.parts, ref.kept, width // ref.parts
        layout: list[tuple[str, tuple[int, ...]]] = [
            ("<f2", (parts, kept, size)),
            ("<f4", (parts, size)),
            ("<f4", (parts, kept)),
            ("<i1", (ref.count, parts, kept)),
        ]
        path, arrays, place = folder / ref.file, [], 0
        try:
            content = np.memmap(path, np.uint8, "r")
            for kind, shape in layout:
                end = place + int(np.prod(shape)) * np.dtype(kind).itemsize
                # The steps of an odd layout may not lie at a multiple of four: numpy copes.
                arrays.append(content[place:end].view(kind).reshape(shape))
                place = end
        except FileNotFoundError as error:
            raise ShardCorrupt(f"{path} is missing") from error
        except ValueError as error:
            raise ShardCorrupt(f"{path} is shorter than its version file says") from error
        self._bases, self._means, self._steps, self._codes = arrays

    def decoded(self, places: IntArray) -> FloatArray:
        """[N, W] float32 of the rows at these places of the segment."""
        codes = np.asarray(self._codes[places])  # [N, P, k]
        bases = np.asarray(self._bases, np.float32)
        along = codes.transpose(1, 0, 2) * self._steps[:, None]  # [P, N, k]
        vectors = np.matmul(along, bases) + self._means[:, None]  # [P, N, d]
        vectors[(codes[:, :, 0] == ABSENT).T] = 0
        found: FloatArray = vectors.transpose(1, 0, 2).reshape(len(places), -1)
        return found


class Rows:
    """The vectors of all rows of one version: coded segments, then half floats.

    Args:
        folder: of the index.
        segments: one after the other from row 0 on.
        tail: [N, W] fp16, of the rows after them.
        known: segments that are mapped already, by file.
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
        owners = np.searchsorted(self._ends, rows, "right")
        order = np.argsort(owners, kind="stable")
        edges = np.flatnonzero(np.diff(owners[order], prepend=-1, append=-1))
        for first, last in pairwise(edges):
            own = order[first:last]
            vectors[own] = self._read(int(owners[own[0]]), rows[own])
        return vectors

    def _read(self, owner: int, rows: IntArray) -> FloatArray:
        if owner == len(self._segments):
            coded_end = int(self._ends[-1]) if len(self._ends) else 0
            return np.asarray(self._tail[rows - coded_end], np.float32)
        ref = self._segments[owner]
        if ref.file not in self._open:
            self._open[ref.file] = Segment(self._folder, ref, self._tail.shape[1])
        return self._open[ref.file].decoded(rows - ref.start)


def verify_segment(folder: Path, ref: SegmentRef) -> None:
    """Read a segment, a part at a time, and compare its checksum.

    Raises:
        ShardCorrupt: it does not hold what was written, or is gone.
    """
    found = 0
    try:
        with (folder / ref.file).open("rb") as file:
            while data := file.read(READ_BYTES):
                found = zlib.crc32(data, found)
    except FileNotFoundError as error:
        raise ShardCorrupt(f"{folder / ref.file} is missing") from error
    if found != ref.checksum:
        raise ShardCorrupt(f"{folder / ref.file} differs from what was written")

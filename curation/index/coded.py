"""Coded segments: region vectors in a fifth of their space, each segment by a code of its own.

The newest vectors lie as half floats (``vectors.f16``). A seal takes some ten thousand of them at a
time and writes them as whole numbers, each half of a vector apart (:mod:`curation.index.code`): the
code is learnt from the metric and from the very rows that it codes, so it never grows old, whatever
comes into the pool later, and a segment never changes once it is written. 356 bytes a region of
864 numbers; ``python -m benchmarks.retrieval --codes`` compares it with other codes.

A search needs of a row what the metric leaves of it. Directions times metric is one small matrix a
segment, made once: rows are never decoded to their full width to be compared.

=======================  =========================================================================
of P parts, K of d wide  contents of a file, one after the other
=======================  =========================================================================
means                    fp32 [P, d]
scales                   fp32 [P, K], what one unit along a direction stands for
basis                    int8 [P, K, d], directions
records                  uint8 [N, P, B]: fine numbers, coarse ones by two a byte, two gains
=======================  =========================================================================

The layout before this one (fp16 bases [P, K, d], means, fp32 steps [P, K], int8 [N, P, K] with -128
where a whole part is zero) is read and copied, no more written.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.index.code import CodeRules, decode, encode
from curation.index.metric import Metric
from curation.kernel.errors import ShardCorrupt
from curation.kernel.files import write_bytes
from curation.kernel.types import BoolArray, FloatArray, IntArray

PARTS = 2
"""A region and its ring."""
BY_DIRECTION, BY_SPAN = 1, 2
"""Layouts: int8 along its own directions (read only), and as above."""
ABSENT = -128
READ_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class SegmentRef:
    """A coded segment, as the version file tells of it.

    Attributes:
        file: its name.
        start: first row.
        count: rows.
        parts: P, of a vector.
        kept: directions of each part with a byte a row.
        checksum: CRC-32 of the file.
        coarse: directions of each part with half a byte a row.
        layout: see ``BY_SPAN``.
    """

    file: str
    start: int
    count: int
    parts: int
    kept: int
    checksum: int
    coarse: int = 0
    layout: int = BY_DIRECTION

    @property
    def end(self) -> int:
        """First row after it."""
        return self.start + self.count

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Segments alike in this may be unpacked in one go."""
        return self.layout, self.parts, self.kept, self.coarse


def write_segment(
    path: Path,
    start: int,
    vectors: FloatArray,
    metric: Metric | None = None,
    rules: CodeRules | None = None,
) -> SegmentRef:
    """Code vectors and write them, whole or not at all.

    Args:
        path: the file.
        start: row of the first.
        vectors: [N, W], N at least 1.
        metric: whose directions are coded in any case; one of other parts counts as none.
        rules: how many directions besides.
    """
    count, width = vectors.shape
    parts = PARTS if width % PARTS == 0 else 1
    split = np.asarray(vectors, np.float32).reshape(count, parts, -1)
    spans: list[FloatArray | None] = [None] * parts
    if metric is not None and metric.means.shape == split.shape[1:]:
        spans = list(metric.projections)
    coded = [encode(split[:, n], span, rules or CodeRules()) for n, span in enumerate(spans)]
    heads = [np.stack([getattr(one, name) for one in coded]) for name in HEADS]
    ref = SegmentRef(
        path.name, start, count, parts, coded[0].fine, 0, coded[0].coarse, layout=BY_SPAN
    )
    return _write(path, ref, [*heads, np.stack([one.records for one in coded], 1)])


HEADS = ("mean", "scales", "basis")


def _write(path: Path, ref: SegmentRef, arrays: list[npt.NDArray[Any]]) -> SegmentRef:
    content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    write_bytes(path, content)
    return replace(ref, checksum=zlib.crc32(content))


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
        self.ref = ref
        path, self._arrays, place = folder / ref.file, [], 0
        try:
            content = np.asarray(np.memmap(path, np.uint8, "r"))
            for kind, shape in _arrays(ref, width // ref.parts):
                end = place + int(np.prod(shape)) * np.dtype(kind).itemsize
                # Numbers of an odd layout may not lie at a multiple of four: numpy copes.
                self._arrays.append(content[place:end].view(kind).reshape(shape))
                place = end
        except FileNotFoundError as error:
            raise ShardCorrupt(f"{path} is missing") from error
        except ValueError as error:
            raise ShardCorrupt(f"{path} is shorter than its version file says") from error
        self._through: tuple[Metric, FloatArray, FloatArray] | None = None

    def records(self, places: IntArray) -> npt.NDArray[Any]:
        """[N, P, B] of the rows at these places of the segment, as they are stored."""
        found: npt.NDArray[Any] = self._arrays[-1][places]
        return found

    def decoded(self, places: IntArray) -> FloatArray:
        """[N, W] float32 of the rows at these places of the segment."""
        along, present = unpacked(self.ref, self.records(places))
        bases, means = self._affine()
        vectors = np.matmul(along.transpose(1, 0, 2), bases) + means[:, None]  # [P, N, d]
        vectors[~present.T] = 0
        found: FloatArray = vectors.transpose(1, 0, 2).reshape(len(places), -1)
        return found

    def through(self, metric: Metric) -> tuple[FloatArray, FloatArray]:
        """Matrices [P, K, m] and offsets [P, m] from unpacked records to mapped vectors.

        The last metric's are kept: searches ask for the same ones again and again.
        """
        kept = self._through  # read once: searches under two metrics may share the segment
        if kept is None or kept[0] is not metric:
            self._through = kept = (metric, *metric.through(*self._affine()))
        return kept[1:]

    def copy(self, places: IntArray, path: Path, start: int) -> SegmentRef:
        """Write a segment of some of the rows, in the code that they are in: nothing is lost."""
        ref = replace(self.ref, file=path.name, start=start, count=len(places))
        return _write(path, ref, [*self._arrays[:-1], self.records(places)])

    def _affine(self) -> tuple[FloatArray, FloatArray]:
        """Directions [P, K, d], each as long as one unit along it, and means [P, d]."""
        if self.ref.layout == BY_DIRECTION:
            basis, means, scales, _ = self._arrays
        else:
            means, scales, basis, _ = self._arrays
        return basis.astype(np.float32) * scales[..., None], means


def _arrays(ref: SegmentRef, size: int) -> list[tuple[str, tuple[int, ...]]]:
    """Kinds and shapes of what a file holds; ``size`` is d."""
    rows, parts, fine, all_kept = ref.count, ref.parts, ref.kept, ref.kept + ref.coarse
    means = ("<f4", (parts, size))
    scales = ("<f4", (parts, all_kept))
    if ref.layout == BY_DIRECTION:
        return [("<f2", (parts, fine, size)), means, scales, ("<i1", (rows, parts, fine))]
    record = fine + ref.coarse // 2 + 2
    return [means, scales, ("<i1", (parts, all_kept, size)), ("<u1", (rows, parts, record))]


def unpacked(ref: SegmentRef, records: npt.NDArray[Any]) -> tuple[FloatArray, BoolArray]:
    """Numbers [N, P, K] float32 along the directions of each part, and which parts are there."""
    if ref.layout == BY_DIRECTION:
        return records.astype(np.float32), records[:, :, 0] != ABSENT
    return decode(records, ref.kept)


def verify_segment(folder: Path, ref: SegmentRef) -> None:
    """Read a segment, a part at a time, and compare its checksum.

    Raises:
        ShardCorrupt: it does not hold what was written, or is gone.
    """
    found = 0
    try:
        with (folder / ref.file).open("rb") as file:
            for data in iter(partial(file.read, READ_BYTES), b""):
                found = zlib.crc32(data, found)
    except FileNotFoundError as error:
        raise ShardCorrupt(f"{folder / ref.file} is missing") from error
    if found != ref.checksum:
        raise ShardCorrupt(f"{folder / ref.file} differs from what was written")

"""The code of one part of a segment's vectors: directions, and whole numbers along them.

A search compares what a metric leaves of a vector, so the metric's directions come first; those
that vary most in the segment besides them follow, the first few as exactly, the others coarsely:
they are what a later metric may ask for. Each row has a gain of its own, the largest of its
numbers: a region that lies far out is as exact as any, and costs the others nothing.

Source:
    Gersho, Gray, "Vector Quantization and Signal Compression", 1992: transform coding (ch. 8),
    gain and shape (ch. 12).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.kernel.types import FloatArray

Bytes = npt.NDArray[np.uint8]
FINE, COARSE = 127, 7
"""Largest whole number of a byte and of half a byte."""
UNSPANNED = 96
"""Leading directions of its own that a segment takes where no metric names any."""
GAINS = np.exp2((np.arange(256) - 128) / 16).astype(np.float32)
"""What a byte says of a row: its largest number, in standard deviations, in steps of 4 %. Of 32 768
rows none lies further out than 2**7.5 of them."""
GAINS[0] = 0  # a part that is all zero, such as the ring of a region that fills its image
HALVES = np.stack([np.arange(256) & 15, np.arange(256) >> 4], 1).astype(np.float32) - 8
"""The two numbers of a byte that holds two, -7..7 each."""


@dataclass(frozen=True, slots=True)
class CodeRules:
    """How many directions of a part are coded, beside those of the metric.

    Attributes:
        extra: those that vary most, with a byte a row.
        coarse: those that follow, with half a byte; an even number is taken.
    """

    extra: int = 32
    coarse: int = 96


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """One part of N vectors, d wide, along F fine and C coarse directions, K = F + C.

    Attributes:
        mean: [d] float32.
        basis: [K, d] int8, nearly orthogonal rows.
        scales: [K] float32, what one unit of a number along a row of the basis stands for in a row
            of gain 1.
        records: [N, F + C / 2 + 2] uint8: fine numbers, coarse ones, their two gains.
        fine: F.
        coarse: C.
    """

    mean: FloatArray
    basis: npt.NDArray[np.int8]
    scales: FloatArray
    records: Bytes
    fine: int
    coarse: int


def encode(part: FloatArray, span: FloatArray | None, rules: CodeRules) -> Coded:
    """Learn a code from these rows and put them into it.

    Args:
        part: [N, d] float32; rows that are all zero come back as they are.
        span: [d, s], columns whose span is coded in any case; None where there is none.
        rules: how many directions besides.
    """
    present = np.abs(part).max(1, initial=0) > 0
    mean = part[present if present.any() else slice(None)].astype(np.float64).mean(0)
    centred = part - mean.astype(np.float32)
    centred[~present] = 0
    directions, fine = _directions(centred, span, rules)
    largest = np.maximum(np.abs(directions).max(1), 1e-12) / FINE
    basis = np.rint(directions / largest[:, None]).astype(np.int8)
    rounded = (basis * largest[:, None]).astype(np.float32)
    scales, records = np.empty(len(basis), np.float32), []
    gains = np.zeros((len(part), 2), np.uint8)
    for place, (own, most) in enumerate([(slice(None, fine), FINE), (slice(fine, None), COARSE)]):
        # The nearest point of the rounded directions' span, so that their rounding costs nothing.
        along = centred @ np.linalg.pinv(rounded[own].astype(np.float64)).astype(np.float32)
        spread = np.maximum(along[present].std(0) if present.any() else 0, 1e-9).astype(np.float32)
        numbers, gains[:, place] = _numbers(along / spread, most)
        unit = spread * np.ones(along.shape[1], np.float32) / most
        scales[own] = unit * largest[own]
        centred -= (numbers * GAINS[gains[:, place], None] * unit) @ rounded[own]
        records.append(
            numbers.astype(np.int8).view(np.uint8) if most == FINE else _in_pairs(numbers)
        )
    gains[~present] = 0
    whole = np.concatenate([*records, gains], 1)
    return Coded(mean.astype(np.float32), basis, scales, whole, fine, len(basis) - fine)


def _directions(
    centred: FloatArray, span: FloatArray | None, rules: CodeRules
) -> tuple[npt.NDArray[Any], int]:
    """[K, d] float64 orthonormal, the fine ones first, and how many those are."""
    width = centred.shape[1]
    if span is None or span.shape[1] >= width:
        spanned, rest = np.zeros((0, width)), np.eye(width)
        extra = UNSPANNED + rules.extra
    else:
        whole = np.linalg.qr(span.astype(np.float64), "complete")[0].T
        spanned, rest = whole[: span.shape[1]], whole[span.shape[1] :]
        extra = rules.extra
    products = (centred.T @ centred).astype(np.float64)
    _, own = np.linalg.eigh(rest @ products @ rest.T)
    extra = min(extra, len(rest))
    coarse = min(rules.coarse, len(rest) - extra) // 2 * 2
    own = own[:, ::-1][:, : extra + coarse].T @ rest
    return np.concatenate([spanned, own]), len(spanned) + extra


def _numbers(shape: FloatArray, most: int) -> tuple[FloatArray, Bytes]:
    """Whole numbers [N, k] of at most ``most``, and the gain [N] of each row, rounded up."""
    top = np.maximum(np.abs(shape).max(1, initial=0), 1e-30)
    gains = (np.ceil(16 * np.log2(top)) + 128).clip(1, 255).astype(np.uint8)
    numbers: FloatArray = np.rint(shape * (most / GAINS[gains, None])).clip(-most, most)
    return numbers, gains


def _in_pairs(numbers: FloatArray) -> Bytes:
    low, high = (numbers[:, first::2] + 8 for first in (0, 1))
    paired: Bytes = (low + 16 * high).astype(np.uint8)
    return paired


def decode(records: Bytes, fine: int) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Numbers times gains [N, P, K] float32 of records [N, P, B], and which parts are there [N, P].

    Args:
        records: see ``Coded``.
        fine: F.
    """
    gains = GAINS[records[..., -2:]]  # [N, P, 2]
    halves = HALVES[records[..., fine:-2]]  # [N, P, C / 2, 2]
    along = np.empty((*records.shape[:2], fine + 2 * halves.shape[2]), np.float32)
    np.multiply(records[..., :fine].view(np.int8), gains[..., :1], out=along[..., :fine])
    coarse = halves.reshape(*records.shape[:2], -1)
    np.multiply(coarse, gains[..., 1:], out=along[..., fine:])
    return along, records[..., -2] > 0

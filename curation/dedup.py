"""Near-duplicates by perceptual hash, within a set and across sets, without all pairs.

Two 64-bit hashes that differ in at most r bits agree wholly in one of r + 1 bands
(pigeonhole), so only images that share a band are compared.

Source:
    Manku et al., "Detecting Near-Duplicates for Web Crawling", WWW 2007, for the banding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from curation.kernel.types import BoolArray, IntArray

HASH_BITS = 64
COMPARE_BLOCK = 2048
"""Members of one band that are compared with as many at a time; bounds memory at 32 MiB."""

Hashes = npt.NDArray[np.uint64]


def near_duplicate_groups(hashes: Sequence[int], max_distance: int = 4) -> IntArray:
    """Which images are near-duplicates of one another, directly or through others.

    Args:
        hashes: [N] perceptual hashes, 0 <= hash < 2**64.
        max_distance: bits that may differ, in 0..63.

    Returns:
        [N] int64 group of each image, 0..G-1 by first appearance; a lone image is its own group.
    """
    unique, inverse = np.unique(np.array(hashes, np.uint64), return_inverse=True)
    parents = np.arange(len(unique))
    for first, second in _close_pairs(unique, max_distance):
        _union(parents, first, second)
    roots = np.array([_root(parents, row) for row in range(len(unique))], np.int64)
    labels = roots[inverse] if len(unique) else np.zeros(0, np.int64)
    _, first_seen, group = np.unique(labels, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first_seen, kind="stable"), kind="stable")
    groups: IntArray = order[group].astype(np.int64)
    return groups


def near_duplicates_of(
    hashes: Sequence[int], others: Sequence[int], max_distance: int = 4
) -> BoolArray:
    """Which images have a near-duplicate in another set, such as the holdout.

    Args:
        hashes: [N] perceptual hashes.
        others: [M] perceptual hashes of the other set.
        max_distance: bits that may differ, in 0..63.

    Returns:
        [N] bool.
    """
    mine, theirs = np.array(hashes, np.uint64), np.unique(np.array(others, np.uint64))
    found = np.zeros(len(mine), np.bool_)
    for mask in _bands(max_distance):
        keys = theirs & mask
        order = np.argsort(keys, kind="stable")
        low = np.searchsorted(keys[order], mine & mask, "left")
        high = np.searchsorted(keys[order], mine & mask, "right")
        for row in np.flatnonzero((high > low) & ~found):
            rivals = theirs[order[low[row] : high[row]]]
            found[row] = (np.bitwise_count(rivals ^ mine[row]) <= max_distance).any()
    return found


def _bands(max_distance: int) -> list[np.uint64]:
    """Disjoint bit masks, one more than bits may differ, that cover 64 bits."""
    edges = np.linspace(0, HASH_BITS, min(max_distance, HASH_BITS - 1) + 2).round().astype(int)
    return [np.uint64((1 << int(high)) - (1 << int(low))) for low, high in pairwise(edges)]


def _close_pairs(unique: Hashes, max_distance: int) -> Iterator[tuple[int, int]]:
    for mask in _bands(max_distance):
        keys = unique & mask
        order = np.argsort(keys, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(keys[order]) > 0, True][: len(order) + 1])
        for start, end in pairwise(starts):
            if end - start > 1:
                yield from _pairs_within(unique, order[start:end], max_distance)


def _pairs_within(
    unique: Hashes, members: IntArray, max_distance: int
) -> Iterator[tuple[int, int]]:
    starts = range(0, len(members), COMPARE_BLOCK)
    blocks = [members[start : start + COMPARE_BLOCK] for start in starts]
    for number, block in enumerate(blocks):
        for other in blocks[number:]:
            distances = np.bitwise_count(unique[block][:, None] ^ unique[other][None])
            first, second = np.nonzero(distances <= max_distance)
            if other is block:  # a pair once, and none with itself
                first, second = first[second > first], second[second > first]
            yield from zip(block[first].tolist(), other[second].tolist(), strict=True)


def _root(parents: IntArray, row: int) -> int:
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = int(parents[row])
    return row


def _union(parents: IntArray, first: int, second: int) -> None:
    one, other = _root(parents, first), _root(parents, second)
    parents[max(one, other)] = min(one, other)

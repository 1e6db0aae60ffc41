"""Which entry of the index is which image, in 12 bytes an image.

A dictionary takes many times that: every name and number in it is an object. Here lie a sorted
array of 64-bit hashes and the entries that they belong to. Whether a hash means the name that was
asked for is read from the file of entries, where the names lie; only what is found there counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from curation.kernel.types import BoolArray, IntArray

Hashes = npt.NDArray[np.uint64]
Names = npt.NDArray[Any]
"""[N] encoded ids, a NumPy array of bytes of one width, a multiple of 8."""
FACTOR, SHIFT = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
"""2^64 divided by the golden ratio, odd: a product with it changes all higher bits. The shift
brings these down again before the next eight bytes come."""


@dataclass(frozen=True, slots=True, eq=False)
class NameTable:
    """The live entries by name.

    Attributes:
        hashes: [N] uint64, rising.
        entries: [N] int32, the entry of each.
    """

    hashes: Hashes
    entries: npt.NDArray[np.int32]

    @classmethod
    def empty(cls) -> NameTable:
        """Of no name."""
        return cls(np.zeros(0, np.uint64), np.zeros(0, np.int32))

    def __len__(self) -> int:
        return len(self.entries)

    def with_names(self, names: Names, first: int) -> NameTable:
        """With the names of entries ``first``, ``first + 1`` and so on."""
        hashes = hashed(names)
        order = np.argsort(hashes, kind="stable")
        places = np.searchsorted(self.hashes, hashes[order], "right")
        entries = (first + order).astype(np.int32)
        return NameTable(
            np.insert(self.hashes, places, hashes[order]), np.insert(self.entries, places, entries)
        )

    def alive(self, alive: BoolArray) -> NameTable:
        """Without entries that died; ``alive`` [E] says it of every entry of the index."""
        keep = alive[self.entries]
        return NameTable(self.hashes[keep], self.entries[keep])

    def find(self, wanted: Iterable[str], stored: Names) -> IntArray:
        """[M] int64 entry of each of M names, -1 where it is not in.

        Args:
            wanted: the names.
            stored: [E] names of all entries, mapped or in memory.
        """
        asked = encoded(wanted, stored.dtype)
        found = np.full(len(asked), -1, np.int64)
        hashes = hashed(asked)
        first = np.searchsorted(self.hashes, hashes, "left")
        last = np.searchsorted(self.hashes, hashes, "right")
        for offset in range(int((last - first).max(initial=0))):  # more than one: equal hashes
            open_ = np.flatnonzero(first + offset < last)
            entries = self.entries[first[open_] + offset].astype(np.int64)
            is_it = stored[entries] == asked[open_]
            found[open_[is_it]] = entries[is_it]
        return found


def encoded(names: Iterable[str], dtype: np.dtype[Any]) -> Names:
    """[N] as they lie in the file; empty, which no image is called, where one cannot lie there.

    Records are filled up with NUL: a name that ends in one would be taken for another's.
    """
    texts = [name.encode(errors="surrogatepass") for name in names]
    fits = [len(text) <= dtype.itemsize and b"\0" not in text for text in texts]
    return np.array([text if fit else b"" for text, fit in zip(texts, fits, strict=True)], dtype)


def hashed(names: Names) -> Hashes:
    """[N] the same on every machine and in every process."""
    words = np.ascontiguousarray(names).view(np.dtype(("<u8", names.dtype.itemsize // 8)))
    found = np.zeros(len(names), np.uint64)
    for column in words.T:
        found = (found ^ column) * FACTOR
        found ^= found >> SHIFT
    return found

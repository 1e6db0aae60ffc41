"""What a policy may still take: it ends where the budget buys none of the images that are left.

Budgets seldom come out even. Where two boxes are left and every image costs four, asking the ledger
for one image after the other walks the whole pool; here all that became too dear closes at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from curation.kernel.types import BoolArray, IntArray
from curation.select.base import Candidate, Ledger, PoolImage


class Offers:
    """Images of which none was refused yet and each is affordable; true while there are any.

    Args:
        ledger: that pays; only these offers take from it as long as they are used.
        pool: distinct images.
        until: no image may carry what is spent past this share of the budget, in 0..1; None
            leaves it to the ledger.
    """

    def __init__(
        self, ledger: Ledger, pool: Sequence[PoolImage], until: float | None = None
    ) -> None:
        self._ledger, self._pool, self._until = ledger, pool, until
        self._costs: IntArray = np.array([image.cost_boxes for image in pool], np.int64)
        examples = {image.cost_boxes: image for image in pool}
        self._by_cost = [examples[cost] for cost in sorted(examples)]  # the dearest last
        self._open: BoolArray = np.ones(len(pool), np.bool_)
        self._close_dear()

    @property
    def open(self) -> BoolArray:
        """[I] whether each image can be taken, near-duplicates of taken ones not looked for."""
        return self._open

    def __bool__(self) -> bool:
        return self._num_open > 0

    def admits(self, row: int) -> bool:
        """Whether an image can be taken now; one that cannot is not offered again."""
        if self._open[row] and not self._ledger.admits(self._pool[row]):
            self._close(row)
        return bool(self._open[row])

    def take(self, row: int, candidate: Candidate) -> bool:
        """Take an image if it can be taken, False otherwise; it is not offered again."""
        if not self.admits(row):
            return False
        self._close(row)
        self._ledger.take(self._pool[row], candidate)
        self._close_dear()
        return True

    def among(self, order: Iterable[int]) -> Iterator[int]:
        """Those of an order of rows that can be taken when they are reached.

        The order is left as soon as nothing of the pool can be taken any more.
        """
        for row in order:
            if not self:
                return
            if self.admits(row):
                yield row

    def _close(self, row: int) -> None:
        self._open[row] = False
        self._num_open -= 1

    def _close_dear(self) -> None:
        """Close what became too dear; what is spent only grows, so that it stays too dear."""
        while self._by_cost and not self._pays(self._by_cost[-1]):
            self._open &= self._costs < self._by_cost.pop().cost_boxes
        self._num_open = int(self._open.sum())

    def _pays(self, image: PoolImage) -> bool:
        spent = self._ledger.spent
        if self._until is not None and (
            spent >= self._until or spent + self._ledger.price(image) > self._until + 1e-9
        ):
            return False
        return self._ledger.fits(image)

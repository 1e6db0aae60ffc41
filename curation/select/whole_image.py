"""Nearest whole images of the failures: what finds data without explaining.

Source:
    The usual recipe of embedding tools; vectors are centred on the pool first, without which
    all images of one camera look alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation.kernel.types import FloatArray
from curation.select.base import Candidate, Ledger, Need, PoolImage, SelectionRequest
from curation.select.offers import Offers
from curation.select.vectors import Whole, finite, with_vector


@dataclass(frozen=True, slots=True)
class WholeImageSelection:
    """Each failure's nearest images in turn, larger modes no more than their failures.

    Attributes:
        max_distance: bits by which near-duplicates differ at most.
    """

    max_distance: int = 4
    needs: ClassVar[frozenset[Need]] = frozenset({Need.VECTORS, Need.WHOLE_POOL})

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return "whole_image"

    def select(self, request: SelectionRequest) -> list[Candidate]:
        """See ``Policy.select``; images without a vector are passed over."""
        ledger = Ledger(request, self.max_distance)
        take_neighbours(ledger)
        return ledger.result()


def take_neighbours(ledger: Ledger) -> None:
    """Spend what is left of the budget on the failures' nearest images, each failure in turn."""
    pool = with_vector(ledger.eligible())
    failures = [
        (query.mode, vector)
        for query in ledger.request.queries
        if query.whole is not None
        for vector in query.whole[finite(query.whole)]
    ]
    if pool and failures:
        similarities = Whole(pool).alike(np.stack([vector for _, vector in failures]))  # [F, I]
        _take_in_turn(ledger, pool, [mode for mode, _ in failures], similarities)


def _take_in_turn(
    ledger: Ledger,
    pool: list[PoolImage],
    modes: list[str],
    similarities: FloatArray,
) -> None:
    """The best pairs of failure and image, each failure once a round."""
    ranks = np.stack([np.argsort(-own, kind="stable").astype(np.int32) for own in similarities])
    offers = Offers(ledger, pool)
    for rank in range(len(pool)):
        if not offers:
            return
        for row in np.argsort(-similarities[np.arange(len(modes)), ranks[:, rank]]):
            column = int(ranks[row, rank])
            if not offers.admits(column):
                continue
            image, score = pool[column], float(similarities[row, column])
            reason = f"whole image resembles a failure's ({score:.2f})"
            candidate = Candidate(
                image.image, score, modes[row], "whole_image", image.cost_boxes, (), reason
            )
            offers.take(column, candidate)

"""Uniform choice: the arm that every other must beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from curation.select.base import Candidate, Ledger, Need, SelectionRequest
from curation.select.offers import Offers


@dataclass(frozen=True, slots=True)
class RandomSelection:
    """Any eligible image is as likely as any other.

    Attributes:
        max_distance: bits by which near-duplicates differ at most.
    """

    max_distance: int = 4
    needs: ClassVar[frozenset[Need]] = frozenset({Need.WHOLE_POOL})

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return "random"

    def select(self, request: SelectionRequest) -> list[Candidate]:
        """See ``Policy.select``."""
        ledger = Ledger(request, self.max_distance)
        pool = ledger.eligible()
        offers = Offers(ledger, pool)
        for row in offers.among(request.rng.permutation(len(pool))):
            image, reason = pool[row], "drawn at random"
            candidate = Candidate(image.image, 0.0, None, "random", image.cost_boxes, (), reason)
            offers.take(row, candidate)
        return ledger.result()

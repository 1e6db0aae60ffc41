"""Uniform choice: the arm that every other must beat."""

from __future__ import annotations

from dataclasses import dataclass

from curation.select.base import Candidate, Ledger, SelectionRequest


@dataclass(frozen=True, slots=True)
class RandomSelection:
    """Any eligible image is as likely as any other.

    Attributes:
        max_distance: bits by which near-duplicates differ at most.
    """

    max_distance: int = 4

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return "random"

    def select(self, request: SelectionRequest) -> list[Candidate]:
        """See ``Policy.select``."""
        ledger = Ledger(request, self.max_distance)
        pool = ledger.eligible()
        for row in request.rng.permutation(len(pool)):
            image = pool[row]
            ledger.take(
                image,
                Candidate(
                    image.image, 0.0, None, "random", image.cost_boxes, (), "drawn at random"
                ),
            )
        return ledger.result()

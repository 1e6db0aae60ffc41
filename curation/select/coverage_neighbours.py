"""Part coverage, part neighbours of the failures: the published recipe of embedding tools.

Source:
    Voxel51, "data curation for failure modes": 30 % of the budget for coverage of the pool, 70 %
    for the nearest images of known failures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from curation.select.base import Candidate, Ledger, Need, SelectionRequest
from curation.select.core_set import cover, farthest
from curation.select.whole_image import take_neighbours


@dataclass(frozen=True, slots=True)
class CoverageNeighboursSelection:
    """k-center greedy for a share of the budget, whole-image neighbours for the rest.

    Attributes:
        coverage: share of the budget for coverage, in 0..1.
        max_distance: bits by which near-duplicates differ at most.
    """

    coverage: float = 0.3
    max_distance: int = 4
    needs: ClassVar[frozenset[Need]] = frozenset({Need.VECTORS, Need.WHOLE_POOL})

    def __post_init__(self) -> None:
        if not 0 <= self.coverage <= 1:
            raise ValueError(f"coverage is {self.coverage}, expected 0 to 1")

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return "coverage_neighbours"

    def select(self, request: SelectionRequest) -> list[Candidate]:
        """See ``Policy.select``; without failures all goes to coverage."""
        ledger = Ledger(request, self.max_distance)
        cover(ledger, farthest, "coverage", self.coverage)
        take_neighbours(ledger)
        cover(ledger, farthest, "coverage")  # what neighbours left over
        return ledger.result()

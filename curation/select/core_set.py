"""Coverage of the pool: farthest first, and k-means++ seeding.

Both look for images unlike what is labelled and unlike each other; one takes the farthest, the
other draws with odds of the squared distance, which outliers mislead less.

Source:
    Sener and Savarese, "Active Learning for Convolutional Neural Networks: A Core-Set Approach",
    ICLR 2018 (k-center greedy). Arthur and Vassilvitskii, "k-means++", 2007, used for selection
    as in Ash et al., "BADGE", ICLR 2020, on features instead of gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation.kernel.types import FloatArray
from curation.select.base import Candidate, Ledger, Need, SelectionRequest
from curation.select.offers import Offers
from curation.select.vectors import Whole, finite, with_vector

Pick = Callable[[FloatArray], int]
"""From distances [I] in 0..2, 0 where an image is out of question, to the row to take."""


@dataclass(frozen=True, slots=True)
class CoreSetSelection:
    """k-center greedy: always the image farthest from everything known.

    Attributes:
        max_distance: bits by which near-duplicates differ at most.
    """

    max_distance: int = 4
    needs: ClassVar[frozenset[Need]] = frozenset({Need.VECTORS, Need.WHOLE_POOL})

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return "core_set"

    def select(self, request: SelectionRequest) -> list[Candidate]:
        """See ``Policy.select``; images without a vector are passed over."""
        ledger = Ledger(request, self.max_distance)
        cover(ledger, farthest, self.name)
        return ledger.result()


@dataclass(frozen=True, slots=True)
class KMeansSelection:
    """k-means++ seeding: drawn with odds of the squared distance to everything known.

    Attributes:
        max_distance: bits by which near-duplicates differ at most.
    """

    max_distance: int = 4
    needs: ClassVar[frozenset[Need]] = frozenset({Need.VECTORS, Need.WHOLE_POOL})

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return "k_means"

    def select(self, request: SelectionRequest) -> list[Candidate]:
        """See ``Policy.select``; images without a vector are passed over."""
        ledger = Ledger(request, self.max_distance)
        cover(ledger, by_squared_distance(request.rng), self.name)
        return ledger.result()


def farthest(distances: FloatArray) -> int:
    """The row of the greatest distance; the first of equals."""
    return int(distances.argmax())


def by_squared_distance(rng: np.random.Generator) -> Pick:
    """Draws a row with odds of its squared Euclidean distance.

    Vectors are of unit length, so that squared Euclidean distance is twice the cosine distance.
    """

    def pick(distances: FloatArray) -> int:
        odds = np.maximum(distances.astype(np.float64), 0)
        return int(rng.choice(len(odds), p=odds / odds.sum())) if odds.sum() > 0 else 0

    return pick


def cover(ledger: Ledger, pick: Pick, share: str, until: float = 1.0) -> None:
    """Spend the budget on images unlike the labelled ones, the taken ones and each other.

    Args:
        ledger: holds the pool; what it has taken already counts as known.
        pick: which image comes next.
        share: of the candidates.
        until: stop once this share of the budget is spent, in 0..1.
    """
    pool = with_vector(ledger.eligible())
    if not pool:
        return
    known = _known(ledger)
    vectors = Whole(pool)
    distances = np.full(len(pool), 2.0, np.float32)
    if len(known):
        distances = 1 - vectors.nearest(known)
    offers, undrawn = Offers(ledger, pool, until), np.ones(len(pool), np.bool_)
    while offers:
        # What a draw gives must not depend on prices: too dear an image is drawn and refused.
        rows = np.flatnonzero(offers.open if pick is farthest else undrawn)
        row = int(rows[pick(distances[rows])])
        undrawn[row] = False
        image, score = pool[row], float(distances[row])
        reason = f"unlike all that is labelled or taken ({score:.2f})"
        candidate = Candidate(image.image, score, None, share, image.cost_boxes, (), reason)
        if offers.take(row, candidate):
            distances = np.minimum(distances, 1 - vectors.to(row))


def _known(ledger: Ledger) -> FloatArray:
    """Vectors [L, D] of what is labelled, excluded (labelled or asked for) or taken."""
    request = ledger.request
    gone = request.excluded | {candidate.image for candidate in ledger.taken}
    rows = [i.vector for i in request.pool if i.image in gone and i.vector is not None]
    if request.labelled is not None:
        rows.extend(request.labelled)
    known = np.stack(rows) if rows else np.zeros((0, 0), np.float32)
    return known[finite(known)]

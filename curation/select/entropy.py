"""Uncertainty of the detector: the most used rival.

Source:
    Settles, "Active Learning Literature Survey", 2009, section 3.1; aggregated over the boxes
    of an image as in Brust et al., "Active Learning for Deep Object Detection", 2019.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from curation.kernel.types import FloatArray
from curation.select.base import Candidate, Ledger, Need, PoolImage, SelectionRequest
from curation.select.looking import looked_at
from curation.select.offers import Offers


@dataclass(frozen=True, slots=True)
class EntropySelection:
    """Images whose detections are least sure, by the two-way entropy of each score.

    Attributes:
        aggregate: "max" of the detections of an image, or their "sum".
        max_distance: bits by which near-duplicates differ at most.
    """

    aggregate: Literal["max", "sum"] = "max"
    max_distance: int = 4
    needs: ClassVar[frozenset[Need]] = frozenset({Need.WHOLE_POOL})

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return "entropy" if self.aggregate == "max" else "entropy_sum"

    def select(self, request: SelectionRequest) -> list[Candidate]:
        """See ``Policy.select``; ties are broken at random."""
        ledger = Ledger(request, self.max_distance)
        pool = ledger.eligible()
        scores = np.array([self._score(image) for image in looked_at(request, pool)])
        offers = Offers(ledger, pool)
        for row in offers.among(np.lexsort((request.rng.random(len(pool)), -scores))):
            image, score = pool[row], float(scores[row])
            reason = f"{self.aggregate} entropy of its detections is {score:.2f} bits"
            offers.take(
                row, Candidate(image.image, score, None, self.name, image.cost_boxes, (), reason)
            )
        return ledger.result()

    def _score(self, image: PoolImage) -> float:
        if image.detections is None or not len(image.detections):
            return 0.0
        entropies = binary_entropy(image.detections.scores)
        return float(entropies.max() if self.aggregate == "max" else entropies.sum())


def binary_entropy(scores: FloatArray) -> FloatArray:
    """Entropy in bits, 0..1, of "this class or not" for probabilities [N]."""
    p = np.clip(np.asarray(scores, np.float64), 1e-9, 1 - 1e-9)
    entropy: FloatArray = (-p * np.log2(p) - (1 - p) * np.log2(1 - p)).astype(np.float32)
    return entropy

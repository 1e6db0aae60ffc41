"""Uncertain first, then unlike each other class by class.

Stage one ranks images by the sum of their detections' entropies, each weighted by how hard its
class is, and keeps several times what the budget buys. Stage two spreads the budget over these by
k-means++ seeding on a distance between images that compares objects of the same class only.

Source:
    Yang, Huang and Crowley, "Plug and Play Active Learning for Object Detection", CVPR 2024:
    difficulty-calibrated uncertainty (equations 3 to 5) and category-conditioned matching
    similarity (equations 6 and 7). We differ in two points: the difficulty of a class is given
    (1 - AP on a validation set) instead of a running mean of the training loss, and objects are
    described by the encoder of regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation.kernel.types import FloatArray
from curation.select.base import Candidate, Ledger, Need, PoolImage, SelectionRequest
from curation.select.core_set import by_squared_distance
from curation.select.entropy import binary_entropy
from curation.select.looking import looked_at, sampled
from curation.select.offers import Offers
from curation.select.vectors import centred, finite, mean_roi


@dataclass(frozen=True, slots=True)
class PpalSelection:
    """Difficulty-calibrated uncertainty, then category-conditioned diversity.

    Attributes:
        expansion: how many times the budget stage one keeps.
        alpha: how fast the weight of a class saturates with its difficulty.
        beta: the greatest addition to a class's weight, in units of alpha.
        max_distance: bits by which near-duplicates differ at most.
    """

    expansion: float = 4.0
    alpha: float = 0.3
    beta: float = 0.2
    max_distance: int = 4
    needs: ClassVar[frozenset[Need]] = frozenset({Need.DIFFICULTY, Need.OBJECTS, Need.WHOLE_POOL})

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return "ppal"

    def select(self, request: SelectionRequest) -> list[Candidate]:
        """See ``Policy.select``.

        Raises:
            ValueError: there are detections, but no region vectors.
        """
        ledger = Ledger(request, self.max_distance)
        pool = ledger.eligible()
        seen = looked_at(request, pool)
        uncertain = np.array([self._uncertainty(image, request) for image in seen])
        order = np.lexsort((request.rng.random(len(pool)), -uncertain))
        ranked = [(pool[row], float(uncertain[row])) for row in order]
        kept = self._affordable(ledger, ranked)
        self._spread(ledger, pool, kept, request)
        offers = Offers(ledger, [image for image, _ in ranked])
        for row in offers.among(range(len(ranked))):  # what diversity left over
            offers.take(row, self._candidate(*ranked[row]))
        return ledger.result()

    def _uncertainty(self, image: PoolImage, request: SelectionRequest) -> float:
        found = image.detections
        if found is None or not len(found):
            return 0.0
        entropies = binary_entropy(found.scores)
        if request.difficulty is None:
            return float(entropies.sum())
        hard = np.clip(request.difficulty[found.labels], 0, 1)  # [N]
        weights = 1 + self.alpha * self.beta * np.log1p(np.expm1(1 / self.alpha) * hard)
        return float((weights * entropies).sum())

    def _affordable(
        self, ledger: Ledger, ranked: Sequence[tuple[PoolImage, float]]
    ) -> list[tuple[PoolImage, float]]:
        prices = np.array([ledger.price(image) for image, _ in ranked])
        return list(ranked[: int((np.cumsum(prices) <= self.expansion).sum())])

    def _spread(
        self,
        ledger: Ledger,
        pool: Sequence[PoolImage],
        kept: Sequence[tuple[PoolImage, float]],
        request: SelectionRequest,
    ) -> None:
        """k-means++ seeding on the matching distance."""
        images = list(looked_at(request, [image for image, _ in kept], objects=True))
        if not any(image.detections is not None and len(image.detections) for image in images):
            return
        mean = mean_roi(looked_at(request, sampled(pool), objects=True))
        described = [_Objects.of(image, mean) for image in images]
        pick, nearest = by_squared_distance(request.rng), np.ones(len(images), np.float32)
        offers, undrawn = Offers(ledger, images), np.ones(len(images), np.bool_)
        while offers:
            rows = np.flatnonzero(undrawn)
            row = int(rows[pick(nearest[rows])])
            undrawn[row] = False
            if offers.take(row, self._candidate(*kept[row])):
                similar = [described[row].similarity(other) for other in described]
                nearest = np.minimum(nearest, 1 - np.array(similar, np.float32))

    def _candidate(self, image: PoolImage, score: float) -> Candidate:
        reason = f"calibrated uncertainty {score:.2f}"
        return Candidate(image.image, score, None, self.name, image.cost_boxes, (), reason)


@dataclass(frozen=True, slots=True, eq=False)
class _Objects:
    """The detections of one image: vectors [N, W] of unit length, labels [N], scores [N]."""

    vectors: FloatArray
    labels: np.ndarray[tuple[int], np.dtype[np.int64]]
    scores: FloatArray

    @staticmethod
    def of(image: PoolImage, mean: FloatArray) -> _Objects:
        found = image.detections
        if found is None or image.rois is None or not len(found):
            nothing = np.zeros(0, np.float32)
            return _Objects(np.zeros((0, len(mean)), np.float32), nothing.astype(np.int64), nothing)
        known = finite(image.rois)
        vectors = centred(image.rois[known], mean)
        return _Objects(vectors, found.labels[known], found.scores[known])

    def similarity(self, other: _Objects) -> float:
        """Category-conditioned matching similarity in 0..1, symmetric."""
        same = self.labels[:, None] == other.labels[None, :]  # [N, N']
        if not same.any():
            return 0.0
        cosines = np.where(same, np.maximum(self.vectors @ other.vectors.T, 0), 0)
        forth = np.average(cosines.max(axis=1), weights=self.scores + 1e-9)
        back = np.average(cosines.max(axis=0), weights=other.scores + 1e-9)
        return float(forth + back) / 2

"""Detected objects that resemble the failed ones, without asking twice for the same.

Facility-location mutual information (the query form, FLQMI) between chosen images A and failed
objects Q::

    f(A; Q) = sum_q max_{a in A} s(q, a)  +  eta * sum_{a in A} max_q s(q, a)

with s(q, a) the best cosine of the failed object's region and any detected region of the image.
The first term wants every failure answered, the second every image to answer one. It is monotone
and submodular: greedy choice is within 1 - 1/e of the best.

Source:
    Kothawade et al., "TALISMAN: Targeted Active Learning for Object Detection with Rare Classes
    and Slices using Submodular Mutual Information", ECCV 2022. We differ in the features: both
    sides come from the encoder of regions, not from a region proposal network, since a
    single-shot detector has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation.kernel.types import FloatArray
from curation.select.base import Candidate, Ledger, Need, PoolImage, SelectionRequest
from curation.select.looking import looked_at, sampled
from curation.select.offers import Offers
from curation.select.vectors import centred, finite, finite_rois, mean_roi


@dataclass(frozen=True, slots=True)
class TalismanSelection:
    """Greedy facility-location mutual information between images and failed objects.

    Attributes:
        eta: weight of an image's own relevance beside the cover of the failures.
        max_distance: bits by which near-duplicates differ at most.
    """

    eta: float = 1.0
    max_distance: int = 4
    needs: ClassVar[frozenset[Need]] = frozenset({Need.OBJECTS, Need.WHOLE_POOL})

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return "talisman"

    def select(self, request: SelectionRequest) -> list[Candidate]:
        """See ``Policy.select``; images without a detection resemble nothing.

        Raises:
            ValueError: there are failures, but no image has region vectors.
        """
        ledger = Ledger(request, self.max_distance)
        pool = ledger.eligible()
        failed = [query.targets[finite(query.targets)] for query in request.queries]
        modes = [q.mode for q, own in zip(request.queries, failed, strict=True) for _ in own]
        if pool and modes:
            objects = np.concatenate([own for own in failed if len(own)])
            mean = mean_roi(looked_at(request, sampled(pool), objects=True))
            seen = looked_at(request, pool, objects=True)
            similarities = _similarities(objects, seen, len(pool), mean)
            self._take_greedily(ledger, pool, modes, similarities)
        return ledger.result()

    def _take_greedily(
        self,
        ledger: Ledger,
        pool: Sequence[PoolImage],
        modes: Sequence[str],
        similarities: FloatArray,
    ) -> None:
        """Always the image of the greatest gain; a refused one is not asked for again."""
        relevance = similarities.max(axis=0)  # [I]
        covered = np.zeros(len(similarities), np.float32)  # [Q], similarities start at 0
        gains = self._gains(similarities, covered)
        offers = Offers(ledger, pool)
        while offers:
            row = int(np.where(offers.open, gains, -np.inf).argmax())
            image, query = pool[row], int(similarities[:, row].argmax())
            reason = f"a detected object resembles a failed one ({relevance[row]:.2f})"
            candidate = Candidate(
                image.image,
                float(gains[row]),
                modes[query],
                self.name,
                image.cost_boxes,
                (),
                reason,
            )
            if offers.take(row, candidate):
                covered = np.maximum(covered, similarities[:, row])
                gains = self._gains(similarities, covered)

    def _gains(self, similarities: FloatArray, covered: FloatArray) -> FloatArray:
        """[I] what each image would add, the failures being answered as well as ``covered``."""
        relevance = similarities.max(axis=0)  # [I]
        more = np.maximum(similarities - covered[:, None], 0).sum(0)
        gains: FloatArray = more + self.eta * relevance
        return gains


def _similarities(
    objects: FloatArray, pool: Iterable[PoolImage], count: int, mean: FloatArray
) -> FloatArray:
    """[Q, I] in 0..1: the best detected region of each image for each of the failed objects."""
    failed = centred(objects, mean)  # [Q, W]
    result = np.zeros((len(failed), count), np.float32)
    for column, image in enumerate(pool):
        rois = finite_rois(image)
        if len(rois):
            result[:, column] = (failed @ centred(rois, mean).T).max(axis=1)
    return np.maximum(result, 0)

"""Selection by explanation: pool images that hold what hurt the failures, with what was missed.

An image's score for a mode is a late interaction: for each query region the best similarity of
any region of the image, weighted by the region's share of the harm, plus the same for the missed
object, plus what the detector itself half sees there. The budget is divided over modes, and a
share goes to images unlike all others, so that fixing does not become forgetting.

Source:
    Late interaction: Khattab and Zaharia, "ColBERT", SIGIR 2020, over regions instead of words.
    Coverage: Sener and Savarese, "Active Learning for CNNs: A Core-Set Approach", ICLR 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation.boxes import pairwise_iou
from curation.select.base import (
    Candidate,
    Ledger,
    Match,
    ModeQuery,
    PoolImage,
    RegionSearch,
    SelectionRequest,
)
from curation.select.core_set import cover, farthest
from curation.types import Detections, FailureKind, FloatArray

FLOOR = -1.0
"""Similarity of an image that the index does not hold: below anything that it could find."""


@dataclass(frozen=True, slots=True)
class E2XSelection:
    """Late interaction of harmful regions and missed objects, by failure mode.

    Attributes:
        object_weight: of the object's similarity beside the harm's, which counts 1.
        evidence_weight: of the detector's own weak detections near a match.
        alpha: a mode of n failures gets a share of the budget in proportion to n ** alpha.
        min_size: smaller modes get no share while there are larger ones: a failure alone shows
            no pattern, and many such would take half of the budget.
        coverage: share of the budget for images unlike all that is taken, in 0..1.
        max_distance: bits by which near-duplicates differ at most.
        weak: scores that count as half seen.
    """

    object_weight: float = 1.0
    evidence_weight: float = 0.2
    alpha: float = 1.0
    min_size: float = 2.0
    coverage: float = 0.1
    max_distance: int = 4
    weak: tuple[float, float] = (0.01, 0.5)

    @property
    def name(self) -> str:
        """Its name in the registry."""
        return "e2x"

    def select(self, request: SelectionRequest) -> list[Candidate]:
        """See ``Policy.select``.

        Raises:
            ValueError: there are queries and no index.
        """
        ledger = Ledger(request, self.max_distance)
        pool = ledger.eligible()
        large = [query for query in request.queries if query.size >= self.min_size]
        queries = sorted(large or request.queries, key=lambda query: query.mode)
        if queries and pool:
            if request.index is None:
                raise ValueError("selection by explanation needs a region index")
            rankings = [self.rank(query, pool, request.index) for query in queries]
            self._spend_on_modes(ledger, queries, rankings, 1 - self.coverage)
            cover(ledger, farthest, "coverage")
            self._spend_on_modes(ledger, queries, rankings, 1.0)  # what coverage left over
        else:
            cover(ledger, farthest, "coverage")
        return ledger.result()

    def rank(
        self, query: ModeQuery, pool: Sequence[PoolImage], index: RegionSearch
    ) -> list[tuple[PoolImage, Candidate]]:
        """All images of the pool for one mode, best first, with their reasons."""
        vectors = query.vectors
        if query.object_vector is not None:
            vectors = np.concatenate([vectors, query.object_vector[None]])
        if not len(vectors):
            return []
        found = index.score_images(vectors)
        column = {image: position for position, image in enumerate(found.images)}
        ranked = []
        for image in pool:
            matches: tuple[Match, ...] = ()
            if image.image in column:
                position = column[image.image]
                matches = _matches(
                    len(query.vectors),
                    found.similarities[:, position],
                    found.boxes_xyxy[:, position],
                )
            ranked.append((image, self._candidate(query, image, matches)))
        return sorted(ranked, key=lambda pair: (-pair[1].score, pair[1].image))

    def _candidate(
        self, query: ModeQuery, image: PoolImage, matches: tuple[Match, ...]
    ) -> Candidate:
        harm = sum(float(query.weights[m.query]) * m.similarity for m in matches if m.query >= 0)
        missed = sum(m.similarity for m in matches if m.query < 0)
        evidence = self._evidence(query, image.detections, matches)
        score = FLOOR * (1 + self.object_weight)
        if matches:
            score = harm + self.object_weight * missed + self.evidence_weight * evidence
        reason = f"harm {harm:.2f}, object {missed:.2f}, detector {evidence:+.2f}"
        return Candidate(
            image.image, float(score), query.mode, "mode", image.cost_boxes, matches, reason
        )

    def _evidence(
        self, query: ModeQuery, detections: Detections | None, matches: tuple[Match, ...]
    ) -> float:
        """In -1..1: does the detector half see the class where the image matches?

        For missed objects a weak detection of the class there is a sign of the same failure and
        a sure one a sign that there is none; for false positives any detection of the class is.
        """
        if detections is None or not matches:
            return 0.0
        own = detections.labels == query.label
        boxes = np.array([match.box_xyxy for match in matches], np.float32)
        near = (pairwise_iou(detections.boxes_xyxy, boxes) > 0).any(1) & own
        scores = detections.scores[near]
        if query.kind is FailureKind.FALSE_POSITIVE:
            return float(scores.max(initial=0))
        if (scores >= self.weak[1]).any():
            return -1.0
        return float((scores >= self.weak[0]).any())

    def _spend_on_modes(
        self,
        ledger: Ledger,
        queries: Sequence[ModeQuery],
        rankings: Sequence[list[tuple[PoolImage, Candidate]]],
        until: float,
    ) -> None:
        """Let the mode that has had least of its share choose next, until a share is spent."""
        shares = np.array([query.size**self.alpha for query in queries], np.float64)
        shares /= shares.sum()
        waiting = [iter(ranking) for ranking in rankings]
        had = np.zeros(len(queries))
        for candidate in ledger.taken:
            for row, query in enumerate(queries):
                had[row] += candidate.cost_boxes * (candidate.mode == query.mode)
        open_modes = set(range(len(queries)))
        while open_modes and ledger.spent < until:
            row = min(open_modes, key=lambda mode: (had[mode] / shares[mode], mode))
            for image, candidate in waiting[row]:
                if ledger.spent + ledger.price(image) <= until + 1e-9 and ledger.take(
                    image, candidate
                ):
                    had[row] += candidate.cost_boxes
                    break
            else:
                open_modes.discard(row)


def _matches(
    num_regions: int, similarities: FloatArray, boxes_xyxy: FloatArray
) -> tuple[Match, ...]:
    return tuple(
        Match(
            row if row < num_regions else -1,
            (float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            float(similarity),
        )
        for row, (similarity, box) in enumerate(zip(similarities, boxes_xyxy, strict=True))
    )

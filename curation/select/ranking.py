"""How well each pool image answers a failure mode.

The missed object is looked for among what the detector itself finds, down to a few percent of
confidence: a weak detection of the class that resembles the failures is the best evidence that
the same failure waits there. Where the detector sees nothing, the index's regions answer, for a
little less. What hurt is looked for among the regions, by late interaction: for each query
region the best similarity of any region of the image, weighted by its share of the harm.

Source:
    Late interaction: Khattab and Zaharia, "ColBERT", SIGIR 2020, over regions instead of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation.index.metric import Metric
from curation.index.snapshot import ImageScores
from curation.select.base import Candidate, Match, ModeQuery, PoolImage, RegionSearch
from curation.types import FloatArray, IntArray

FLOOR = -1.0
"""Similarity of an image that the index does not hold: below anything that it could find."""
OBJECT = -1
"""Of a match: it answers the object, no query region."""


@dataclass(frozen=True, slots=True)
class Weights:
    """What counts how much.

    Attributes:
        harm: of what hurt, beside the object's similarity, which counts 1.
        unseen: taken off an object that is matched by a region or by a detection of another
            class instead of a detection of the class.
    """

    harm: float
    unseen: float


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """One image for one mode.

    Attributes:
        image: of the pool.
        candidate: with the score and the reasons.
        likeness: the object's part of the score, in -1..1.
    """

    image: PoolImage
    candidate: Candidate
    likeness: float


@dataclass(frozen=True, slots=True, eq=False)
class _Objects:
    """What the detector finds in the pool: image row, mapped vector, class and box of each."""

    rows: IntArray
    vectors: FloatArray
    labels: IntArray
    boxes_xyxy: FloatArray


class Ranker:
    """All images of a pool against one mode after the other.

    Args:
        pool: images; those with ``rois`` are looked at more closely.
        index: their regions.
        weights: see there.
    """

    def __init__(self, pool: Sequence[PoolImage], index: RegionSearch, weights: Weights) -> None:
        self._pool, self._index, self._weights = pool, index, weights
        seen = [
            (row, image.rois, image.detections)
            for row, image in enumerate(pool)
            if image.rois is not None and image.detections is not None and len(image.rois)
        ]
        self._objects: _Objects | None = None
        if seen:
            self._objects = _Objects(
                np.concatenate([np.full(len(rois), row) for row, rois, _ in seen]),
                index.metric.apply(np.concatenate([rois for _, rois, _ in seen])),
                np.concatenate([found.labels for _, _, found in seen]),
                np.concatenate([found.boxes_xyxy for _, _, found in seen]),
            )

    @property
    def metric(self) -> Metric:
        """How vectors are compared."""
        return self._index.metric

    def centre(self, query: ModeQuery) -> FloatArray | None:
        """[m] of unit length: the mean of the mode's objects under the metric; None: unknown."""
        if not len(query.targets):
            return None
        mean = self._index.metric.apply(query.targets).mean(0)
        unit: FloatArray = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return unit

    def rank(self, query: ModeQuery) -> list[Ranked]:
        """All images, best first."""
        vectors = query.vectors
        if query.object_vector is not None:
            vectors = np.concatenate([vectors, query.object_vector[None]])
        if not len(vectors):
            return []
        found = self._index.score_images(vectors)
        column = {image: position for position, image in enumerate(found.images)}
        own = self._detected(query)
        ranked = []
        for row, image in enumerate(self._pool):
            matches = _matches(len(query.vectors), found, column.get(image.image))
            ranked.append(self._ranked(query, image, matches, own.get(row)))
        return sorted(ranked, key=lambda entry: (-entry.candidate.score, entry.image.image))

    def _detected(self, query: ModeQuery) -> dict[int, tuple[float, Match]]:
        """By row of the pool: likeness and match of the detection most like the mode's objects."""
        centre, seen = self.centre(query), self._objects
        if seen is None or centre is None:
            return {}
        similarities = seen.vectors @ centre  # [N]
        likeness = similarities - self._weights.unseen * (seen.labels != query.label)
        order = np.argsort(-likeness, kind="stable")
        rows, first = np.unique(seen.rows[order], return_index=True)
        best = order[first]
        return {
            int(row): (float(likeness[at]), _match(OBJECT, seen.boxes_xyxy[at], similarities[at]))
            for row, at in zip(rows, best, strict=True)
        }

    def _ranked(
        self,
        query: ModeQuery,
        image: PoolImage,
        matches: tuple[Match, ...],
        detected: tuple[float, Match] | None,
    ) -> Ranked:
        harms = tuple(match for match in matches if match.query != OBJECT)
        harm = sum(float(query.weights[m.query]) * m.similarity for m in harms) if harms else FLOOR
        unseen = next((match for match in matches if match.query == OBJECT), None)
        likeness, best = FLOOR, unseen
        if unseen is not None:
            likeness = unseen.similarity - self._weights.unseen
        if detected is not None and detected[0] >= likeness:
            likeness, best = detected
        score = likeness + self._weights.harm * harm
        reason = f"object {likeness:.2f}, harm {harm:.2f}"
        if best is not None and best is not unseen:
            reason += ", half seen by the detector"
        kept = harms + ((best,) if best is not None else ())
        candidate = Candidate(
            image.image, float(score), query.mode, "mode", image.cost_boxes, kept, reason
        )
        return Ranked(image, candidate, likeness)


def _matches(num_regions: int, found: ImageScores, position: int | None) -> tuple[Match, ...]:
    if position is None:
        return ()
    return tuple(
        _match(row if row < num_regions else OBJECT, box, similarity)
        for row, (similarity, box) in enumerate(
            zip(found.similarities[:, position], found.boxes_xyxy[:, position], strict=True)
        )
    )


def _match(query: int, box: FloatArray, similarity: float) -> Match:
    return Match(
        query, (float(box[0]), float(box[1]), float(box[2]), float(box[3])), float(similarity)
    )

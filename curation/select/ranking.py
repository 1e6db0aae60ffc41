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

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from curation.index.metric import Metric
from curation.index.snapshot import ImageScores
from curation.kernel.types import FloatArray, IntArray
from curation.select.base import Candidate, Match, ModeQuery, PoolImage, RegionSearch
from curation.select.vectors import finite

FLOOR = -1.0
"""Similarity where there is nothing to compare: below anything that could be found."""
NOTHING = ImageScores((), np.zeros((0, 0), np.float32), np.zeros((0, 0, 4), np.float32))
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


@dataclass(frozen=True, slots=True, eq=False)
class _Scores:
    """What answers one mode, by row of the pool.

    Attributes:
        harm: [P] of what hurt, FLOOR where the index lacks the image.
        likeness: [P] of the object, by a region or a detection, whichever answers better.
        detected: [P] row of that detection among the objects, -1 where a region answers better.
        column: [P] of the image in what the index found, -1 where it lacks the image.
    """

    harm: FloatArray
    likeness: FloatArray
    detected: IntArray
    column: IntArray


class Ranking:
    """Images that answer a mode, best first; reasons are put together for those looked at.

    Args:
        ranker: whose pool it is.
        query: the mode.
        scores: of each image.
        found: what the index found.
        order: rows of the pool.
    """

    def __init__(
        self,
        ranker: Ranker,
        query: ModeQuery,
        scores: _Scores,
        found: ImageScores,
        order: IntArray,
    ) -> None:
        self._ranker, self._query, self._scores = ranker, query, scores
        self._found, self._order = found, order

    def __iter__(self) -> Iterator[Ranked]:
        return map(self.explained, self.rows)

    @property
    def rows(self) -> list[int]:
        """Of the pool, best first."""
        rows: list[int] = self._order.tolist()
        return rows

    def explained(self, row: int) -> Ranked:
        """An image of the pool, with what in it answers the mode."""
        return self._ranker.explained(self._query, row, self._scores, self._found)

    def above(self, floor: float) -> Ranking:
        """Those whose object's likeness exceeds it, in the same order."""
        order = self._order[self._scores.likeness[self._order] > floor]
        return Ranking(self._ranker, self._query, self._scores, self._found, order)


class Ranker:
    """All images of a pool against one mode after the other.

    Args:
        pool: images; those with ``rois`` are looked at more closely.
        index: their regions.
        weights: see there.
        excluded: images that the index may hold beside the pool; they are not looked at.
        is_proposed: the index proposed the pool: it scores that, and searches for no others.
    """

    def __init__(
        self,
        pool: Sequence[PoolImage],
        index: RegionSearch,
        weights: Weights,
        excluded: Collection[str] = (),
        is_proposed: bool = False,
    ) -> None:
        self._pool, self._index, self._weights = pool, index, weights
        self._only = [image.image for image in pool] if is_proposed else None
        self._excluded = excluded
        self._rows = {image.image: row for row, image in enumerate(pool)}
        by_name = sorted(range(len(pool)), key=lambda row: pool[row].image)
        self._place = np.argsort(by_name)  # breaks ties
        seen = [
            (row, image.rois[known], image.detections, known)
            for row, image in enumerate(pool)
            if image.rois is not None and image.detections is not None
            if (known := finite(image.rois)).any()
        ]
        self._objects: _Objects | None = None
        if seen:
            self._objects = _Objects(
                np.concatenate([np.full(len(rois), row) for row, rois, _, _ in seen]),
                index.metric.apply(np.concatenate([rois for _, rois, _, _ in seen])),
                np.concatenate([found.labels[known] for _, _, found, known in seen]),
                np.concatenate([found.boxes_xyxy[known] for _, _, found, known in seen]),
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

    def rank(self, queries: Sequence[ModeQuery]) -> list[Ranking]:
        """For each mode the images that answer it, best first; none if it has nothing to ask with.

        An image answers by its regions in the index or by what the detector finds in it.

        The index is asked once: what it reads and maps serves all modes, and an image that is
        proposed for one is compared with all.
        """
        asked = [_asked(query) for query in queries]
        if not any(map(len, asked)):
            return [self._ranking(query, NOTHING) for query in queries]
        vectors = np.concatenate([own for own in asked if len(own)])
        found = (
            self._index.score_images(vectors, excluded=self._excluded)
            if self._only is None
            else self._index.score_images(vectors, only=self._only)
        )
        ends = np.cumsum([len(own) for own in asked])
        return [
            self._ranking(query, _part(found, int(end) - len(own), int(end)))
            for query, own, end in zip(queries, asked, ends, strict=True)
        ]

    def _ranking(self, query: ModeQuery, found: ImageScores) -> Ranking:
        scores = self._scores(query, found)
        if not len(found.similarities):
            return Ranking(self, query, scores, found, np.zeros(0, np.int64))
        total = scores.likeness + self._weights.harm * scores.harm
        order = np.lexsort((self._place, -total))
        answers = (scores.column >= 0) | (scores.detected >= 0)
        return Ranking(self, query, scores, found, order[answers[order]])

    def _scores(self, query: ModeQuery, found: ImageScores) -> _Scores:
        size, regions = len(self._pool), len(query.vectors)
        rows = np.array([self._rows.get(image, -1) for image in found.images], np.int64)
        own = np.flatnonzero(rows >= 0)
        harm, region = np.full(size, FLOOR), np.full(size, FLOOR)
        column = np.full(size, -1)
        column[rows[own]] = own
        if regions:
            harm[rows[own]] = query.weights.astype(np.float64) @ found.similarities[:regions, own]
        if query.object_vector is not None:
            region[rows[own]] = found.similarities[regions, own] - self._weights.unseen
        detection, detected = self._detected(query)
        better = (detected >= 0) & (detection >= region)
        return _Scores(
            harm, np.where(better, detection, region), np.where(better, detected, -1), column
        )

    def _detected(self, query: ModeQuery) -> tuple[FloatArray, IntArray]:
        """[P] likeness and row of the detection most like the mode's objects; -inf and -1."""
        likeness, best = np.full(len(self._pool), -np.inf), np.full(len(self._pool), -1)
        centre, seen = self.centre(query), self._objects
        if seen is None or centre is None:
            return likeness, best
        alike = seen.vectors @ centre - self._weights.unseen * (seen.labels != query.label)  # [N]
        order = np.argsort(-alike, kind="stable")
        rows, first = np.unique(seen.rows[order], return_index=True)
        likeness[rows], best[rows] = alike[order[first]], order[first]
        return likeness, best

    def explained(self, query: ModeQuery, row: int, scores: _Scores, found: ImageScores) -> Ranked:
        """One image of a ranking, with what in it answers the mode."""
        image, column = self._pool[row], int(scores.column[row])
        likeness, harm = float(scores.likeness[row]), float(scores.harm[row])
        matches: tuple[Match, ...] = ()
        if column >= 0:
            matches = tuple(
                _match(OBJECT if number == len(query.vectors) else number, box, similarity)
                for number, (similarity, box) in enumerate(
                    zip(found.similarities[:, column], found.boxes_xyxy[:, column], strict=True)
                )
            )
        reason = f"object {likeness:.2f}, harm {harm:.2f}"
        seen, at = self._objects, int(scores.detected[row])
        if seen is not None and at >= 0:
            similarity = likeness + self._weights.unseen * bool(seen.labels[at] != query.label)
            harms = tuple(match for match in matches if match.query != OBJECT)
            matches = (*harms, _match(OBJECT, seen.boxes_xyxy[at], similarity))
            reason += ", half seen by the detector"
        score = likeness + self._weights.harm * harm
        candidate = Candidate(
            image.image, score, query.mode, "mode", image.cost_boxes, matches, reason
        )
        return Ranked(image, candidate, likeness)


def _asked(query: ModeQuery) -> FloatArray:
    """[q, W] raw: the mode's regions, then its object where it has one."""
    if query.object_vector is None:
        return query.vectors
    return np.concatenate([query.vectors, query.object_vector[None]])


def _part(found: ImageScores, start: int, end: int) -> ImageScores:
    """Of some of the queries."""
    return ImageScores(found.images, found.similarities[start:end], found.boxes_xyxy[start:end])


def _match(query: int, box: FloatArray, similarity: float) -> Match:
    return Match(
        query, (float(box[0]), float(box[1]), float(box[2]), float(box[3])), float(similarity)
    )

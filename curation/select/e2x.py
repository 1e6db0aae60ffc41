"""Selection by explanation: pool images that show what failed, with what hurt it.

Failures come as modes, clustered by what was missed and what hurt it. The budget is divided over
modes by their size and by their novelty: how unlike the training set their objects are. Each
mode takes the images that answer it best, until what is left resembles it no more than the
training set does. What the modes leave over goes to images unlike all others, and a share set aside
for them if one is asked for.

Source:
    Coverage: Sener and Savarese, "Active Learning for CNNs: A Core-Set Approach", ICLR 2018.
    The rest is ours; read ``novelty`` and ``ranking``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curation.kernel.types import FloatArray
from curation.select.base import (
    Candidate,
    Ledger,
    ModeQuery,
    Need,
    PoolImage,
    RegionSearch,
    SelectionRequest,
)
from curation.select.core_set import cover, farthest
from curation.select.looking import looked_at
from curation.select.novelty import MIN_KNOWN, KnownObjects, novelty
from curation.select.offers import Offers
from curation.select.plan import shortlist
from curation.select.ranking import Ranker, Ranking, Weights


@dataclass(frozen=True, slots=True)
class E2XSelection:
    """Missed objects and harmful regions, by failure mode.

    Attributes:
        harm_weight: of the harm's similarity beside the object's, which counts 1.
        unseen: taken off an object that no detection of its class matches.
        alpha: a mode of n failures gets a share of the budget in proportion to n ** alpha.
        novelty_power: and to (2 nu - 1) ** this, with nu in 0..1 the mean novelty of its objects
            and nothing below one half; 0 leaves novelty out.
        min_size: smaller modes get no share while there are larger ones: a failure alone shows
            no pattern, and many such would take half of the budget.
        stop_quantile: a mode is exhausted at images that are no more like it than this share of
            the training objects of its class; 0 for never.
        coverage: share of the budget for images unlike all that is taken, in 0..1; beside what the
            modes leave over. A tenth found fewer useful images and gained nothing in the benchmark.
        max_distance: bits by which near-duplicates differ at most.
        taught: how much a box of a frame that teaches counts of what its mode is due, in 0..1.
    """

    harm_weight: float = 0.25
    unseen: float = 0.1
    alpha: float = 0.75
    novelty_power: float = 4.0
    min_size: float = 2.0
    stop_quantile: float = 0.999
    coverage: float = 0.0
    max_distance: int = 4
    taught: float = 0.0
    takes: ClassVar[frozenset[str]] = frozenset({"coverage"})

    @property
    def needs(self) -> frozenset[Need]:
        """A share for images unlike all others can only be spent on a pool seen whole."""
        own = frozenset({Need.REGIONS, Need.OBJECTS, Need.VECTORS})
        return own | {Need.WHOLE_POOL} if self.coverage else own

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
        pool = self._looked_at(request, ledger)
        large = [query for query in request.queries if query.size >= self.min_size]
        queries = sorted(large or request.queries, key=lambda query: query.mode)
        if queries and pool:
            if request.index is None:
                raise ValueError("selection by explanation needs a region index")
            weights = Weights(self.harm_weight, self.unseen)
            ranker = Ranker(pool, request.index, weights, ledger.barred, request.is_proposed)
            rankings = ranker.rank(queries)
            shares = self.shares(queries, request.known, request.index)
            floors = [self._floor(query, request.known, ranker) for query in queries]
            alike = [found.above(floor) for found, floor in zip(rankings, floors, strict=True)]
            own = np.array([self.taught * query.taught for query in queries], np.float32)
            _spend(ledger, pool, queries, alike, shares, own, 1 - self.coverage)
            cover(ledger, farthest, "coverage")
            for rest in (alike, rankings):  # what coverage left over, then whatever is nearest
                _spend(ledger, pool, queries, rest, shares, own, 1.0)
        else:
            cover(ledger, farthest, "coverage")
        return ledger.result()

    def _looked_at(self, request: SelectionRequest, ledger: Ledger) -> list[PoolImage]:
        """The eligible pool; of one that cannot be held, what the index proposes is seen closely.

        The others answer by their regions in the index.
        """
        pool = ledger.eligible()
        if request.look is None or request.index is None:
            return pool
        boxes = request.budget.boxes or 0
        near = shortlist(request.queries, request.index, boxes, ledger.barred)
        wanted = [image for image in pool if image.image in near]
        close = {one.image: one for one in looked_at(request, wanted, objects=True)}
        return [close.get(image.image, image) for image in pool]

    def shares(
        self, queries: Sequence[ModeQuery], known: KnownObjects | None, index: RegionSearch
    ) -> FloatArray:
        """[Q] float64 summing to 1: of the budget, for each mode.

        Where no mode is novel, size alone decides.
        """
        sizes = np.array([query.size**self.alpha for query in queries], np.float64)
        news = np.array([_mean_novelty(query, known, index) for query in queries])
        shares = sizes * np.maximum(2 * news - 1, 0) ** self.novelty_power
        if not shares.sum() > 0:
            shares = sizes
        total: FloatArray = shares / shares.sum()
        return total

    def _floor(self, query: ModeQuery, known: KnownObjects | None, ranker: Ranker) -> float:
        """Likeness that an image must exceed to be of the mode."""
        centre = ranker.centre(query)
        if not self.stop_quantile or known is None or centre is None:
            return -np.inf
        own = known.of(query.label)
        if len(own) < MIN_KNOWN:
            return -np.inf
        return float(np.quantile(ranker.metric.apply(own) @ centre, self.stop_quantile))


def _mean_novelty(query: ModeQuery, known: KnownObjects | None, index: RegionSearch) -> float:
    if known is None or not len(query.targets):
        return 1.0
    apply = index.metric.apply
    return float(novelty(apply(query.targets), apply(known.of(query.label))).mean())


def _spend(
    ledger: Ledger,
    pool: Sequence[PoolImage],
    queries: Sequence[ModeQuery],
    rankings: Sequence[Ranking],
    shares: FloatArray,
    own: FloatArray,
    until: float,
) -> None:
    """Let the mode that is furthest behind its share choose next, until a share is spent.

    A mode begins with the boxes that it has already, ``own``.


    Each counts as if it had half an image, so that a mode whose share is less than that gets none:
    if every mode chose once before any chose twice, many small ones would take a small budget.

    Source:
        Sainte-Laguë, "La représentation proportionnelle et la méthode des moindres carrés", 1910.
    """
    offers = Offers(ledger, pool, until)
    waiting = [offers.among(ranking.rows) for ranking in rankings]
    had = _mean_cost(ledger) / 2 + own
    for candidate in ledger.taken:
        for row, query in enumerate(queries):
            had[row] += candidate.cost_boxes * (candidate.mode == query.mode)
    open_modes = {row for row, share in enumerate(shares) if share > 0}
    while open_modes and offers:
        mode = min(open_modes, key=lambda one: (had[one] / shares[one], one))
        for row in waiting[mode]:
            candidate = rankings[mode].explained(row).candidate  # costly: only of what is taken
            offers.take(row, candidate)
            had[mode] += candidate.cost_boxes
            break
        else:
            open_modes.discard(mode)


def _mean_cost(ledger: Ledger) -> float:
    """Boxes of an image of the pool, one at least."""
    return max(1.0, float(np.mean([image.cost_boxes for image in ledger.request.pool])))

"""A choice with everything looked at that it wants to see: the one way to a plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from curation.embedding.embed import RegionEmbedder
from services.config.policies import walks_pool
from services.context import Context
from services.db.tables import Model
from services.selection import pool_scores
from services.selection.choose import Chosen, Terms, choose
from services.selection.pool_scores import PoolScores

See = Callable[[Sequence[str]], None]
"""Lets the champion look at pool images, so that the scores have what it sees."""


def make(
    context: Context,
    champion: Model,
    embedder: RegionEmbedder,
    scores: PoolScores,
    terms: Terms,
    see: See | None,
    most: int | None = None,
) -> Chosen:
    """Choose as the next cycle would; asks for nothing.

    Args:
        context: wiring.
        champion: whose failures, with its figures on the holdout.
        embedder: of regions.
        scores: what the champion has seen of the pool; ``see`` adds to it.
        terms: policy, seed, budget.
        see: lets the champion look; None: the choice is made with what it has seen.
        most: images of the whole pool that it looks at at most, for a policy that needs all; None:
            all of them.
    """
    if see is None:
        return choose(context, champion, embedder, scores, terms)
    tried = set[str]()
    if walks_pool(context.settings, terms.policy):
        unseen = pool_scores.unknown(context, scores)[:most]
        see(unseen)
        tried.update(unseen)
    while True:
        chosen = choose(context, champion, embedder, scores, terms, tried)
        if not chosen.unseen:
            return chosen
        see(chosen.unseen)
        tried.update(chosen.unseen)

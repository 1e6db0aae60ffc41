"""What would be asked for now: failures to modes, modes to pool images under the budget.

The selection stage stores the answer; ``e2x cycle plan`` only shows it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from curation import select as policies
from curation.embedding.embed import RegionEmbedder
from curation.kernel.errors import BudgetTooSmall
from curation.kernel.types import Detections
from curation.modes import Mode
from curation.select import plan
from curation.select.base import Ledger
from services.config.policies import policy_of
from services.context import Context
from services.db.tables import Model
from services.modes.recognise import Recognised
from services.selection import rois
from services.selection.inputs import Prices, difficulty_of, pool_of, prices_of
from services.selection.load import Inputs, load
from services.selection.looks import PoolLook
from services.selection.parents import Parents, deal_frames
from services.selection.readable import unreadable
from services.selection.terms import Terms as Terms

logger = logging.getLogger(__name__)

MOST_GROWN = 3
"""Times that a shortlist grows: 64 times its length; a budget too small ends somewhere. What was
encoded for a shorter one is encoded again, and not kept: all of them are a third of the last."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Failure modes by falling size, and candidates in the order of choice."""

    modes: list[Mode]
    candidates: list[policies.Candidate]
    known_as: dict[str, Recognised] = field(default_factory=dict)
    """By key of the mode."""
    parents: Parents = field(default_factory=Parents)
    """How field frames are dealt; those to label are the first of the candidates."""
    note: str = ""
    """Why there are no candidates although there are modes to fix, with what to do."""
    unseen: tuple[str, ...] = ()
    """Images that the champion should look at first; nothing is chosen before that."""
    struck: frozenset[str] = frozenset()
    """Keys of modes that a person wants nothing spent on."""


def choose(
    context: Context,
    champion: Model,
    embedder: RegionEmbedder,
    scores: Mapping[str, Detections],
    terms: Terms,
    tried: Collection[str] | None = None,
) -> Chosen:
    """Modes of the champion's explained failures, and the pool images to label for them.

    A policy that does not need the whole pool is shown what the index proposes for the modes, and
    more of it where that cannot spend the budget.

    Args:
        context: wiring.
        champion: whose failures.
        embedder: of regions; what it has not embedded yet takes no part.
        scores: what the champion finds in pool images; missing ones count as not looked at,
            cost what the others do on average and are not asked for if they cannot be read.
        terms: policy, seed, budget.
        tried: images that the champion was shown, so that those without scores cannot be read. An
            image that is proposed beside them ends the choice with ``Chosen.unseen``. None: the
            choice is made with the scores that are there.
    """
    inputs = load(context, champion, embedder)
    policy = policy_of(context.settings, terms.policy)
    prices = prices_of(context, champion, scores)
    parents = deal_frames(
        context, inputs.known, inputs.unfixed, prices.usual, terms.budget_boxes, inputs.spent
    )
    queries = [replace(one, taught=parents.taught.get(one.mode, 0.0)) for one in inputs.queries]
    inputs = replace(inputs, queries=queries, spent=inputs.spent | parents.barred)
    taught = Chosen(inputs.modes, parents.asked, inputs.known_as, parents, struck=inputs.struck)
    left = replace(terms, budget_boxes=terms.budget_boxes - parents.boxes)
    if not inputs.queries or left.budget_boxes < 1:
        return taught
    if policies.Need.WHOLE_POOL in policy.needs:
        vectors = policies.Need.VECTORS in policy.needs
        pool = pool_of(context, embedder.version, prices, vectors=vectors)
        look = PoolLook(context, scores, embedder, policies.Need.OBJECTS in policy.needs)
        return _decided(context, inputs, policy, pool, left, taught, look)[0] if pool else taught
    chosen, pool, near = taught, list[policies.PoolImage](), frozenset[str]()
    for grown in range(MOST_GROWN + 1):
        # By the whole budget: what is left after the parents changes with what has been looked at.
        more = plan.shortlist(inputs.queries, inputs.index, terms.budget_boxes, inputs.spent, grown)
        fresh, near = more - near, near | more
        if grown and not fresh:
            break  # that was all
        unseen = () if tried is None else tuple(sorted(fresh - scores.keys() - set(tried)))
        if unseen:
            return replace(taught, unseen=unseen)
        pool += _proposed(context, inputs, policy, prices, scores, fresh)
        chosen, is_spent = _decided(context, inputs, policy, pool, left, taught)
        if is_spent:
            break
    return chosen


def _proposed(
    context: Context,
    inputs: Inputs,
    policy: policies.Policy,
    prices: Prices,
    scores: Mapping[str, Detections],
    only: Collection[str],
) -> list[policies.PoolImage]:
    """Some images of the pool with what the policy says that it needs, and nothing else."""
    embedder = inputs.embedder
    vectors = policies.Need.VECTORS in policy.needs
    pool = pool_of(context, embedder.version, prices, scores, only, vectors)
    if policies.Need.OBJECTS not in policy.needs:
        return pool
    free = {image.image for image in pool} - inputs.spent
    return rois.with_rois(context, pool, embedder, free)


def _decided(
    context: Context,
    inputs: Inputs,
    policy: policies.Policy,
    pool: list[policies.PoolImage],
    terms: Terms,
    taught: Chosen,
    look: policies.Look | None = None,
) -> tuple[Chosen, bool]:
    """What a policy chooses of a pool beside the frames that teach; whether it spends its terms."""
    sample, parents = inputs.sample, taught.parents
    request = policies.SelectionRequest(
        pool=pool,
        queries=inputs.queries,
        budget=policies.Budget(boxes=terms.budget_boxes),
        rng=np.random.default_rng(terms.seed),
        index=inputs.index,
        excluded=inputs.spent,
        excluded_hashes=(*inputs.hashes, *parents.hashes),
        labelled=sample.wholes if sample else None,
        difficulty=difficulty_of(inputs.champion),
        known=sample.objects if sample else None,
        is_proposed=policies.Need.WHOLE_POOL not in policy.needs,
        look=look,
    )
    lost: set[str] = set()

    def gone(images: Iterable[str]) -> set[str]:
        found = unreadable(context, images)
        lost.update(found)
        return found

    try:
        candidates = plan.decide(policy, request, gone)
    except BudgetTooSmall as error:
        request = replace(request, pool=[one for one in pool if one.image not in lost])
        note = _why_nothing(request, terms.budget_boxes) or str(error)
        logger.warning("nothing to label: %s", note)
        return replace(taught, note=note), False
    left = terms.budget_boxes - sum(one.cost_boxes for one in candidates)
    usual = float(np.mean([image.cost_boxes for image in pool]))
    return replace(taught, candidates=[*parents.asked, *candidates]), left < usual


def _why_nothing(request: policies.SelectionRequest, budget_boxes: int) -> str:
    """Why a policy could choose nothing, with what to do; "" where it must say so itself."""
    free = Ledger(request).eligible()
    if not free:
        return (
            "every pool image is labelled, asked for or nearly the same as one that is, or none "
            "can be read: `e2x import FOLDER --role pool` brings more in"
        )
    cheapest = min(image.cost_boxes for image in free)
    if cheapest <= budget_boxes:
        return ""
    return (
        f"a budget of {budget_boxes} boxes buys none of the {len(free)} images, the cheapest "
        f"costs about {cheapest}: raise selection.budget_boxes"
    )

"""What would be asked for now: failures to modes, modes to pool images under the budget.

The selection stage stores the answer; ``e2x cycle plan`` only shows it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from curation import modes
from curation import select as policies
from curation.embedding.embed import RegionEmbedder
from curation.index import RegionIndex
from curation.kernel.errors import BudgetTooSmall, CurationError
from curation.kernel.types import Detections
from curation.modes import Mode
from curation.select import plan
from curation.select.base import Ledger
from services.config.policies import policy_of
from services.context import Context
from services.db.engine import reading
from services.db.tables import (
    Image,
    Model,
)
from services.modes.recognise import Recognised, recognise
from services.selection import rois
from services.selection.inputs import (
    barred_hashes,
    difficulty_of,
    evidence_of,
    pool_of,
    spent,
)
from services.selection.training_sample import TrainingSample, training_sample
from services.store.region_index import open_index
from services.store.storage import open_image

logger = logging.getLogger(__name__)

MOST_GROWN = 3
"""Times that a shortlist grows: 64 times its length; a budget too small ends somewhere."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a selection is made: policy, its seed and its budget."""

    policy: str
    seed: int
    budget_boxes: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """Failure modes by falling size, and candidates in the order of choice."""

    modes: list[Mode]
    candidates: list[policies.Candidate]
    known_as: dict[str, Recognised] = field(default_factory=dict)
    """By key of the mode."""
    note: str = ""
    """Why there are no candidates although there are modes to fix, with what to do."""
    unseen: tuple[str, ...] = ()
    """Images that the champion should look at first; nothing is chosen before that."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a decision needs of a project, loaded once.

    Attributes:
        champion: whose failures.
        modes: of its explained failures.
        known_as: by key of the mode.
        queries: modes that are not fixed, as searches.
        index: regions of the pool.
        sample: of what it was trained on.
        spent: images that are labelled or asked for.
        hashes: whose near-duplicates must not be asked for.
        embedder: of regions.
    """

    champion: Model
    modes: list[Mode]
    known_as: dict[str, Recognised]
    queries: list[policies.ModeQuery]
    index: RegionIndex
    sample: TrainingSample | None
    spent: frozenset[str]
    hashes: tuple[int, ...]
    embedder: RegionEmbedder


def load(context: Context, champion: Model, embedder: RegionEmbedder) -> Inputs:
    """Failures, modes and what is barred; nothing of it grows with the pool.

    Args:
        context: wiring.
        champion: whose failures.
        embedder: of regions; what it has not embedded yet takes no part.
    """
    index = open_index(context, embedder.version, embedder.width)
    known = evidence_of(context, champion.id, embedder.version, tuple(champion.class_names))
    sample = training_sample(context, champion, embedder) if known else None
    usual = sample.objects.alike(index.metric.apply) if sample else {}
    found = modes.cluster(known, index.metric.apply, usual=usual)
    known_as = recognise(context, champion, found, embedder.version, index.metric.apply)
    fixed = {mode.key for mode in found if known_as[mode.key].is_fixed}
    queries = plan.queries_of(found, known, fixed)
    barred = barred_hashes(context) if queries else ()
    return Inputs(
        champion, found, known_as, queries, index, sample, spent(context), barred, embedder
    )


def choose(
    context: Context,
    champion: Model,
    embedder: RegionEmbedder,
    scores: dict[str, Detections],
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
    none = Chosen(inputs.modes, [], inputs.known_as)
    if not inputs.queries:
        return none
    if policies.Need.WHOLE_POOL in policy.needs:
        pool = pool_of(context, champion, embedder.version, scores)
        return _decided(context, inputs, policy, pool, terms)[0] if pool else none
    chosen, near = none, frozenset[str]()
    for grown in range(MOST_GROWN + 1):
        more = plan.shortlist(inputs.queries, inputs.index, terms.budget_boxes, inputs.spent, grown)
        if grown and len(more) <= len(near):
            break  # that was all
        near = more
        unseen = () if tried is None else tuple(sorted(near - scores.keys() - set(tried)))
        if unseen:
            return replace(none, unseen=unseen)
        pool = pool_of(context, champion, embedder.version, scores, near)
        chosen, is_spent = _decided(context, inputs, policy, pool, terms)
        if is_spent:
            break
    return chosen


def _decided(
    context: Context,
    inputs: Inputs,
    policy: policies.Policy,
    pool: list[policies.PoolImage],
    terms: Terms,
) -> tuple[Chosen, bool]:
    """What a policy chooses of a pool, and whether that spends the budget."""
    if policies.Need.OBJECTS in policy.needs:
        free = {image.image for image in pool} - inputs.spent
        pool = rois.with_rois(context, pool, inputs.embedder, free)
    sample = inputs.sample
    request = policies.SelectionRequest(
        pool=pool,
        queries=inputs.queries,
        budget=policies.Budget(boxes=terms.budget_boxes),
        rng=np.random.default_rng(terms.seed),
        index=inputs.index,
        excluded=inputs.spent,
        excluded_hashes=inputs.hashes,
        labelled=sample.wholes if sample else None,
        difficulty=difficulty_of(inputs.champion),
        known=sample.objects if sample else None,
        is_proposed=policies.Need.WHOLE_POOL not in policy.needs,
    )
    lost: set[str] = set()

    def unreadable(images: Iterable[str]) -> set[str]:
        found = _unreadable(context, images)
        lost.update(found)
        return found

    try:
        candidates = plan.decide(policy, request, unreadable)
    except BudgetTooSmall as error:
        request = replace(request, pool=[one for one in pool if one.image not in lost])
        note = _why_nothing(request, terms.budget_boxes) or str(error)
        logger.warning("nothing to label: %s", note)
        return Chosen(inputs.modes, [], inputs.known_as, note), False
    left = terms.budget_boxes - sum(one.cost_boxes for one in candidates)
    usual = float(np.mean([image.cost_boxes for image in pool]))
    return Chosen(inputs.modes, candidates, inputs.known_as), left < usual


def _unreadable(context: Context, image_ids: Iterable[str]) -> set[str]:
    """Those of some images that cannot be opened."""
    lost = set()
    for image_id in image_ids:
        with reading(context.sessions) as session:
            row = session.get_one(Image, image_id)
        try:
            open_image(context, row)
        except (CurationError, OSError) as error:
            logger.error("image %s is not asked for: %s", image_id, error)
            lost.add(image_id)
    return lost


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

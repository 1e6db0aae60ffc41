"""What would be asked for now: failures to modes, modes to pool images under the budget.

The selection stage stores the answer; ``e2x cycle plan`` only shows it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

import numpy as np

from curation import modes
from curation import select as policies
from curation.embedding.embed import RegionEmbedder
from curation.kernel.errors import BudgetTooSmall
from curation.kernel.types import Detections
from curation.modes import FailureEvidence, Mode
from curation.select.base import Ledger
from services.context import Context
from services.db.tables import (
    Model,
)
from services.modes.recognise import Recognised, recognise
from services.selection import rois
from services.selection.inputs import barred_hashes, evidence_of, pool_of
from services.selection.parents import Parents, deal_frames
from services.selection.readable import unreadable
from services.selection.training_sample import training_sample
from services.store.region_index import open_index

logger = logging.getLogger(__name__)


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
    parents: Parents = field(default_factory=Parents)
    """How field frames are dealt; those to label are the first of the candidates."""
    note: str = ""
    """Why there are no candidates although there are modes to fix, with what to do."""


def choose(
    context: Context,
    champion: Model,
    embedder: RegionEmbedder,
    scores: dict[str, Detections],
    terms: Terms,
) -> Chosen:
    """Modes of the champion's explained failures, and the pool images to label for them.

    Args:
        context: wiring.
        champion: whose failures.
        embedder: of regions; what it has not embedded yet takes no part.
        scores: what the champion finds in pool images; missing ones count as not looked at,
            cost what the others do on average and are not asked for if they cannot be read.
        terms: policy, seed, budget.
    """
    index = open_index(context, embedder.version, embedder.width)
    known = evidence_of(context, champion.id, embedder.version, tuple(champion.class_names))
    sample = training_sample(context, champion, embedder) if known else None
    usual = sample.objects.alike(index.metric.apply) if sample else {}
    found = modes.cluster(known, index.metric.apply, usual=usual)
    known_as = recognise(context, champion, found, embedder.version, index.metric.apply)
    unfixed = [mode for mode in found if not known_as[mode.key].is_fixed]
    pool, excluded = pool_of(context, champion, embedder.version, scores)
    parents = deal_frames(context, known, unfixed, pool, terms.budget_boxes)
    terms = replace(terms, budget_boxes=terms.budget_boxes - parents.boxes)
    if not unfixed or not pool or terms.budget_boxes < 1:
        return Chosen(found, parents.asked, known_as, parents)
    queries = [_query(mode, known) for mode in unfixed]
    if terms.policy in rois.POLICIES:
        pool = rois.with_rois(context, pool, embedder, {i.image for i in pool} - excluded)
    elif terms.policy == "e2x":
        near = rois.shortlist(queries, index, terms.budget_boxes, excluded)
        pool = rois.with_rois(context, pool, embedder, near)
    request = policies.SelectionRequest(
        pool=pool,
        queries=queries,
        budget=policies.Budget(boxes=terms.budget_boxes),
        rng=np.random.default_rng(terms.seed),
        index=index,
        excluded=excluded,
        excluded_hashes=(*barred_hashes(context), *parents.hashes),
        labelled=sample.wholes if sample else None,
        known=sample.objects if sample else None,
    )
    shares = {"e2x": {"coverage": context.settings.selection.coverage_share}}
    policy = policies.get(terms.policy, **shares.get(terms.policy, {}))
    candidates, note = _buy(context, policy, request, terms)
    return Chosen(found, [*parents.asked, *candidates], known_as, parents, note)


def _buy(
    context: Context, policy: policies.Policy, request: policies.SelectionRequest, terms: Terms
) -> tuple[list[policies.Candidate], str]:
    """What a policy chooses among the images that can be read; if nothing, why.

    Nobody looked at an image without detections, so that it may be unreadable. To open every one
    takes too long; it is done for what is chosen, and where that fails, the policy chooses again.
    """
    while True:
        request = replace(request, rng=np.random.default_rng(terms.seed))
        try:
            chosen = policy.select(request)
        except BudgetTooSmall as error:
            note = _why_nothing(request, terms.budget_boxes) or str(error)
            logger.warning("nothing to label: %s", note)
            return [], note
        unseen = {image.image for image in request.pool if image.detections is None}
        lost = unreadable(context, [one.image for one in chosen if one.image in unseen])
        if not lost:
            return chosen, ""
        request = replace(request, pool=[one for one in request.pool if one.image not in lost])


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


def _query(mode: Mode, known: list[FailureEvidence]) -> policies.ModeQuery:
    return policies.ModeQuery(
        mode=mode.key,
        kind=mode.kind,
        label=mode.label,
        vectors=mode.vectors,
        weights=mode.weights,
        object_vector=mode.object_vector,
        whole=mode.whole,
        size=mode.weight,
        objects=np.stack([item.object_vector for item in known if item.failure in mode.members]),
    )

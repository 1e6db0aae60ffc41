"""What would be asked for now: failures to modes, modes to pool images under the budget.

The selection stage stores the answer; ``e2x cycle plan`` only shows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import and_, or_, select

from curation import modes
from curation import select as policies
from curation.embed import RegionEmbedder
from curation.errors import BudgetTooSmall
from curation.modes import FailureEvidence, Mode
from curation.types import Detections, FailureKind
from services import rois
from services.context import Context
from services.datasets import TRAINING_ROLES
from services.db.engine import reading
from services.db.tables import (
    EVALUATION_ROLES,
    Annotation,
    Embedding,
    Explanation,
    FailureRow,
    FailureState,
    Image,
    LabelTask,
    Model,
    Role,
    TaskState,
)
from services.known import training_sample
from services.label_cost import boxes_estimate, rate_of
from services.modes import Recognised, recognise
from services.stages.index import open_index
from services.storage import read_npz


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
        scores: what the champion finds in pool images; missing ones count as not looked at.
        terms: policy, seed, budget.
    """
    index = open_index(context, embedder.version, embedder.width)
    known = _evidence(context, champion.id, embedder.version, tuple(champion.class_names))
    sample = training_sample(context, champion, embedder) if known else None
    usual = sample.objects.alike(index.metric.apply) if sample else {}
    found = modes.cluster(known, index.metric.apply, usual=usual)
    known_as = recognise(context, champion, found, embedder.version, index.metric.apply)
    unfixed = [mode for mode in found if not known_as[mode.key].is_fixed]
    pool, excluded = _pool(context, champion, embedder.version, scores)
    if not unfixed or not pool:
        return Chosen(found, [], known_as)
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
        excluded_hashes=barred_hashes(context),
        labelled=sample.wholes if sample else None,
        known=sample.objects if sample else None,
    )
    shares = {"e2x": {"coverage": context.settings.selection.coverage_share}}
    policy = policies.get(terms.policy, **shares.get(terms.policy, {}))
    try:
        return Chosen(found, policy.select(request), known_as)
    except BudgetTooSmall:
        return Chosen(found, [], known_as)


def _evidence(
    context: Context, model_id: str, encoder_version: str, names: tuple[str, ...]
) -> list[FailureEvidence]:
    """What the explanations of the champion's open failures point at."""
    with reading(context.sessions) as session:
        rows = session.execute(
            select(FailureRow, Explanation)
            .join(Explanation, Explanation.failure_id == FailureRow.id)
            .where(
                FailureRow.model_id == model_id,
                FailureRow.state == FailureState.EXPLAINED,
                Explanation.encoder_version == encoder_version,
            )
            .order_by(FailureRow.id, Explanation.created_at)
        ).all()
    newest = {failure.id: (failure, explanation) for failure, explanation in rows}
    return [
        _one_evidence(context, failure, explanation, names)
        for failure, explanation in newest.values()
    ]


def _one_evidence(
    context: Context, failure: FailureRow, explanation: Explanation, names: tuple[str, ...]
) -> FailureEvidence:
    arrays = read_npz(context.project.explanations / explanation.file)
    return FailureEvidence(
        failure=failure.id,
        kind=FailureKind(failure.kind),
        label=names.index(failure.label),
        vectors=arrays["vectors"],
        weights=arrays["weights"],
        object_vector=arrays["object_vector"],
        whole=arrays["image_vector"],
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


def _pool(
    context: Context, champion: Model, encoder_version: str, scores: dict[str, Detections]
) -> tuple[list[policies.PoolImage], frozenset[str]]:
    """Pool images with what policies need, and those that must not be chosen."""
    with reading(context.sessions) as session:
        rows = session.execute(
            select(Image, Embedding)
            .join(Embedding, Embedding.image_id == Image.id)
            .where(Image.role == Role.POOL, Embedding.encoder_version == encoder_version)
            .order_by(Image.id)
        ).all()
        labelled = session.scalars(select(Annotation.image_id).distinct()).all()
        asked = session.scalars(
            select(LabelTask.image_id).where(LabelTask.state != TaskState.SKIPPED)
        ).all()
    files = {embedding.file for _, embedding in rows}
    wholes = {file: read_npz(context.project.embeddings / file)["wholes"] for file in files}
    counted = context.settings.failures.score_threshold
    rate = rate_of(champion.reports)
    pool = [
        policies.PoolImage(
            image=image.id,
            boxes_estimate=boxes_estimate(scores.get(image.id), rate, counted),
            phash=int(image.perceptual_hash, 16),
            detections=scores.get(image.id),
            vector=wholes[embedding.file][embedding.row],
        )
        for image, embedding in rows
    ]
    return pool, frozenset(labelled) | frozenset(asked)


def barred_hashes(context: Context) -> tuple[int, ...]:
    """What must not be asked for: the like of a holdout, or of what may be trained on already.

    Not the like of a field frame whose truth is known: that is the best answer to its failures.
    """
    labelled = and_(Image.role.in_(TRAINING_ROLES), Image.id.in_(select(Annotation.image_id)))
    barred = or_(Image.role.in_(EVALUATION_ROLES), labelled)
    with reading(context.sessions) as session:
        hashes = session.scalars(select(Image.perceptual_hash).where(barred).distinct()).all()
    return tuple(sorted(int(text, 16) for text in hashes))

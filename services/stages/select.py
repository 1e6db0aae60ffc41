"""Select: the explained failures of a cycle → modes, candidates and label tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from curation import modes
from curation import select as policies
from curation.errors import BudgetTooSmall
from curation.modes import FailureEvidence, Mode
from curation.types import Detections, FailureKind
from services import cycles
from services.context import Context
from services.db.tables import (
    EVALUATION_ROLES,
    Annotation,
    CandidateRow,
    Cycle,
    Embedding,
    Explanation,
    FailureRow,
    FailureState,
    Image,
    LabelTask,
    Model,
    ModeRow,
    Role,
    TaskState,
)
from services.db.units import Claim
from services.pipeline import StageContext, Store
from services.rows import detections_as_json
from services.stages import evidence
from services.stages.index import open_index
from services.stages.resident import embedder_of
from services.stages.score_pool import read_pool_scores
from services.storage import read_npz

PRELABEL_SCORE = 0.3
"""Weaker detections cost a labeller more to delete than to draw anew."""
COUNTED_SCORE = 0.3
"""Detections above it are taken as the number of boxes that a label will cost."""


def run(stage: StageContext, claim: Claim) -> Store:
    """Choose what to label for ``payload['cycle']``."""
    context = stage.context
    with context.sessions() as session:
        cycle = session.get_one(Cycle, claim.payload["cycle"])
        champion = session.get_one(Model, str(cycle.champion_id))
    names = tuple(champion.class_names)
    embedder = embedder_of(stage)
    lacking = evidence.missing(context, champion.id, embedder.version)
    if lacking and claim.payload["round"] == 0:  # once: what cannot be embedded stays out
        return lambda session: evidence.request(session, context, cycle.id, lacking)
    index = open_index(context, embedder.version, embedder.width)
    known = _evidence(context, champion.id, embedder.version, names)
    found = modes.cluster(known, index.metric.apply) if known else []
    scores = read_pool_scores(context.project, cycle.id)
    pool, excluded = _pool(context, embedder.version, scores)
    candidates: list[policies.Candidate] = []
    if found and pool:
        request = policies.SelectionRequest(
            pool=pool,
            queries=[_query(mode) for mode in found],
            budget=policies.Budget(boxes=cycle.budget_boxes),
            rng=np.random.default_rng(cycle.seed),
            index=index,
            excluded=excluded,
            excluded_hashes=_evaluation_hashes(context),
        )
        try:
            candidates = policies.get(
                cycle.policy, **_policy_parameters(context, cycle.policy)
            ).select(request)
        except BudgetTooSmall:
            candidates = []

    def store(session: Session) -> dict[str, Any]:
        current = session.get_one(Cycle, cycle.id)
        rows = _store_modes(session, cycle.id, found, names)
        _store_candidates(session, cycle.id, candidates, rows, scores, names)
        cycles.begin_labelling(session, context, current)
        return {"modes": len(found), "candidates": len(candidates)}

    return store


def _policy_parameters(context: Context, policy: str) -> dict[str, Any]:
    return {"coverage": context.settings.selection.coverage_share} if policy == "e2x" else {}


def _evidence(
    context: Context, model_id: str, encoder_version: str, names: tuple[str, ...]
) -> list[FailureEvidence]:
    """What the explanations of the champion's open failures point at."""
    with context.sessions() as session:
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


def _query(mode: Mode) -> policies.ModeQuery:
    return policies.ModeQuery(
        mode=mode.key,
        kind=mode.kind,
        label=mode.label,
        vectors=mode.vectors,
        weights=mode.weights,
        object_vector=mode.object_vector,
        whole=mode.whole,
        size=mode.weight,
    )


def _pool(
    context: Context, encoder_version: str, scores: dict[str, Detections]
) -> tuple[list[policies.PoolImage], frozenset[str]]:
    """Pool images with what policies need, and those that must not be chosen."""
    with context.sessions() as session:
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
    pool = [
        policies.PoolImage(
            image=image.id,
            boxes_estimate=_boxes_estimate(scores.get(image.id)),
            phash=int(image.perceptual_hash, 16),
            detections=scores.get(image.id),
            vector=wholes[embedding.file][embedding.row],
        )
        for image, embedding in rows
    ]
    return pool, frozenset(labelled) | frozenset(asked)


def _boxes_estimate(detections: Detections | None) -> float:
    return 1.0 if detections is None else float((detections.scores >= COUNTED_SCORE).sum())


def _evaluation_hashes(context: Context) -> tuple[int, ...]:
    """What the holdouts look like: near-duplicates of them must not be trained on."""
    with context.sessions() as session:
        hashes = session.scalars(
            select(Image.perceptual_hash).where(Image.role.in_(EVALUATION_ROLES)).distinct()
        ).all()
    return tuple(sorted(int(text, 16) for text in hashes))


def _store_modes(
    session: Session, cycle_id: int, found: list[Mode], names: tuple[str, ...]
) -> dict[str, ModeRow]:
    rows = {}
    for mode in found:
        row = ModeRow(
            cycle_id=cycle_id,
            key=mode.key,
            kind=mode.kind,
            label=names[mode.label],
            size=len(mode.members),
            exemplars=list(mode.exemplars),
        )
        session.add(row)
        session.flush()
        rows[mode.key] = row
        for failure_id in mode.members:
            session.get_one(FailureRow, failure_id).mode_id = row.id
    return rows


def _store_candidates(
    session: Session,
    cycle_id: int,
    candidates: list[policies.Candidate],
    rows: dict[str, ModeRow],
    scores: dict[str, Detections],
    names: tuple[str, ...],
) -> None:
    """Rows and label tasks; the first chosen has the highest priority."""
    for rank, candidate in enumerate(candidates):
        mode = rows.get(candidate.mode or "")
        failure = mode.exemplars[0] if mode and mode.exemplars else None
        reasons = [
            {
                "query": match.query,
                "box": [round(value, 1) for value in match.box_xyxy],
                "similarity": round(match.similarity, 4),
                "failure": failure,
            }
            for match in candidate.matches
        ]
        session.add(
            CandidateRow(
                cycle_id=cycle_id,
                image_id=candidate.image,
                mode_id=mode.id if mode else None,
                failure_id=failure,
                rank=rank,
                score=candidate.score,
                reasons=reasons,
            )
        )
        detections = scores.get(candidate.image)
        session.add(
            LabelTask(
                cycle_id=cycle_id,
                image_id=candidate.image,
                priority=float(len(candidates) - rank),
                prelabels=[]
                if detections is None
                else detections_as_json(detections, names, PRELABEL_SCORE),
                reason={
                    "text": candidate.reason,
                    "share": candidate.share,
                    "mode": mode.key if mode else None,
                    "label": mode.label if mode else None,
                    "failure": failure,
                    "overlay": f"/v1/failures/{failure}/overlay.png" if failure else None,
                    "matches": reasons,
                },
            )
        )

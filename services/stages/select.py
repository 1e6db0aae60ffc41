"""Select: the explained failures of a cycle → modes, candidates and label tasks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session, undefer

from curation.kernel.types import Detections
from retrain.memory import give_back_freed_memory
from services.context import Context
from services.cycle import cycle_units, cycles
from services.db import sides
from services.db.convert import detections_as_json
from services.db.engine import reading
from services.db.tables import CandidateRow, Cycle, LabelTask, ModeRow, ModeSighting, PlanRow
from services.models import evaluation
from services.models.loaded import embedder_of
from services.modes import recognise
from services.selection import traced
from services.selection.choose import Chosen, Terms, choose
from services.selection.plan_content import as_planned
from services.selection.pool_scores import known_scores
from services.stages import evidence
from services.units import Claim
from services.units.pipeline import StageContext, Store

logger = logging.getLogger(__name__)

PRELABEL_SCORE = 0.3
"""Weaker detections cost a labeller more to delete than to draw anew."""


def run(stage: StageContext, claim: Claim) -> Store:
    """Choose what to label for ``payload['cycle']``."""
    context = stage.context
    give_back_freed_memory()  # what the champion's batches took: the index is as large as the pool
    with reading(context.sessions) as session:
        cycle = session.get_one(Cycle, claim.payload["cycle"])
    champion = evaluation.measured(context, str(cycle.champion_id))
    names = tuple(champion.class_names)
    embedder = embedder_of(stage)
    if claim.payload["round"] == 0:  # once: what cannot be embedded stays out
        lacking = evidence.missing(context, champion.id, embedder.version)
        if lacking:
            return lambda session: evidence.request(session, context, cycle.id, lacking)
    scores = known_scores(context, champion)  # of earlier cycles too: it is the same model
    with reading(context.sessions) as session:
        tried = cycle_units.shown(session, cycle)
        plan = _plan(session, cycle)
    terms = Terms(cycle.policy, cycle.seed, cycle.budget_boxes)
    left: list[str] = []
    if plan is None:
        chosen = choose(context, champion, embedder, scores, terms, tried)
    else:
        chosen, left = as_planned(context, champion, embedder, scores, terms, plan)
        if left:
            logger.warning(
                "cycle %d asks for %d images of its plan less: they are labelled, asked for, "
                "struck, lost or judge by now",
                cycle.id,
                len(left),
            )
    if chosen.unseen:
        return lambda session: _ask_champion(session, context, cycle.id, chosen.unseen)
    recognise.keep_traces(context, cycle.id, chosen.modes)

    def store(session: Session) -> dict[str, Any]:
        current = session.get_one(Cycle, cycle.id)
        rows = recognise.store(
            session, current, chosen.modes, chosen.known_as, embedder.version, names
        )
        sides.keep(session, cycle.id, chosen.parents.sides)
        _store_candidates(session, cycle.id, chosen, rows, scores, names)
        traced.tell(session, cycle.id)
        recognise.settle(session, context.settings, cycle.id)
        cycles.begin_labelling(session, context, current, chosen.note)
        told = {"modes": len(chosen.modes), "candidates": len(chosen.candidates)}
        return told | ({"left_out_of_plan": left} if left else {})

    return store


def _plan(session: Session, cycle: Cycle) -> PlanRow | None:
    """The plan that a person approved for a cycle."""
    if cycle.plan_id is None:
        return None
    return session.get_one(PlanRow, cycle.plan_id, options=[undefer(PlanRow.members)])


def _ask_champion(
    session: Session, context: Context, cycle_id: int, images: tuple[str, ...]
) -> dict[str, Any]:
    """Let the champion look at what is proposed; the cycle waits for it and selects again."""
    cycle = session.get_one(Cycle, cycle_id)
    cycle_units.ask_pool_scores(session, context, cycle, images)
    cycles.gather_again(cycle)
    return {"images_to_look_at": len(images)}


def _store_candidates(
    session: Session,
    cycle_id: int,
    chosen: Chosen,
    rows: dict[str, tuple[ModeRow, ModeSighting]],
    scores: Mapping[str, Detections],
    names: tuple[str, ...],
) -> None:
    """Rows and label tasks; the first chosen has the highest priority."""
    asked_for, said = chosen.parents.failures, chosen.parents.said
    for rank, candidate in enumerate(chosen.candidates):
        mode, sighting = rows.get(candidate.mode or "", (None, None))
        typical = sighting.exemplars[0] if sighting and sighting.exemplars else None
        failure = asked_for.get(candidate.image, typical)
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
                priority=float(len(chosen.candidates) - rank),
                prelabels=said.get(candidate.image, [])
                if detections is None
                else detections_as_json(detections, names, PRELABEL_SCORE),
                reason={
                    "text": candidate.reason,
                    "share": candidate.share,
                    "mode": mode.name if mode else None,
                    "label": mode.label if mode else None,
                    "failure": failure,
                    "overlay": f"/v1/failures/{failure}/overlay.png" if failure else None,
                    "matches": reasons,
                },
            )
        )

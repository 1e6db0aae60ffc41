"""Plan: what a cycle would ask for now, for people to look at; asks for nothing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from retrain.memory import give_back_freed_memory
from services.config.policies import walks_pool
from services.context import Context
from services.db.engine import reading
from services.db.parts import in_parts
from services.db.tables import PlanRow
from services.models import evaluation, registry
from services.models.loaded import detector_of, embedder_of
from services.selection import plan_content, planning, plans, pool_scores
from services.selection.choose import Terms
from services.selection.pool_scores import PoolScores
from services.stages.score_pool import looked_at
from services.units import Claim
from services.units.pipeline import StageContext, Store

MOST = 512
"""Images that the champion looks at for a policy that wants to see the whole pool: of a large one
that takes hours, which the workers of a cycle share and a plan has not."""


def run(stage: StageContext, claim: Claim) -> Store:
    """Choose as ``payload`` says, and keep the choice.

    What the champion sees on the way is kept as well: the next plan and the cycle need it.
    """
    context, wanted = stage.context, claim.payload
    began = time.perf_counter()
    give_back_freed_memory()
    with reading(context.sessions) as session:
        champion_id = registry.require_champion(session).id
    champion = evaluation.measured(context, champion_id)
    terms = Terms(wanted["policy"], wanted["seed"], wanted["budget_boxes"])
    scores = pool_scores.known_scores(context, champion)

    def see(images: Sequence[str]) -> None:
        for part in in_parts(list(images)):
            found = looked_at(context, detector_of(stage, champion.id), part)
            if found:
                name = hashlib.sha256(",".join(part).encode()).hexdigest()[:16]
                pool_scores.keep(context, pool_scores.folder_of_plans(champion.id), name, found)
                scores.add(found)
            stage.heartbeat()

    chosen = planning.make(context, champion, embedder_of(stage), scores, terms, see, MOST)
    content = plan_content.written(chosen, len(scores), _unlooked(context, terms, scores))
    row = PlanRow(
        id=wanted["plan"],
        champion_id=champion.id,
        policy=terms.policy,
        seed=terms.seed,
        budget_boxes=terms.budget_boxes,
        content=content,
        members=plan_content.members_of(chosen),
        seconds=round(time.perf_counter() - began, 3),
    )

    def store(session: Session) -> dict[str, Any]:
        kept = plans.keep(session, context, row)
        return {
            "kept": kept,
            "images": content["images"],
            "boxes": content["boxes"],
            "seconds": row.seconds,
        }

    return store


def _unlooked(context: Context, terms: Terms, scores: PoolScores) -> int:
    """Pool images that a policy wants to see and that the champion has not looked at."""
    if not walks_pool(context.settings, terms.policy):
        return 0
    return len(pool_scores.unknown(context, scores))

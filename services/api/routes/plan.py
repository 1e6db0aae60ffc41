"""The plan: what the next cycle would ask for, and approving exactly that."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from services.api.deps import ContextOf, SessionOf, ViewOf, Word
from services.api.schemas import MAX_INT, CycleOut
from services.api.schemas_decisions import PlanContent, PlanIn, PlanOut
from services.api.strict import StrictRoute
from services.api.without import cycle_told
from services.selection import plans

router = APIRouter(tags=["plan"], route_class=StrictRoute)
PlanId = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
Budget = Annotated[int | None, Query(ge=1, le=MAX_INT, description="Boxes; without: the setting.")]


@router.get("/plan", response_model=PlanOut)
def show_plan(
    session: ViewOf, context: ContextOf, policy: Word = None, budget_boxes: Budget = None
) -> PlanOut:
    """The plan of this moment, if somebody has asked for it; asks for nothing."""
    return _told(plans.standing(session, context, policy, budget_boxes))


@router.post("/plan", response_model=PlanOut)
def ask_for_plan(body: PlanIn, session: SessionOf, context: ContextOf) -> PlanOut:
    """Have it computed by a worker, unless it is there; nobody is asked for labels by it."""
    return _told(plans.ask(session, context, body.policy, body.budget_boxes))


@router.post("/plan/{plan_id}/approve", status_code=201, response_model=CycleOut)
def approve_plan(plan_id: PlanId, session: SessionOf, context: ContextOf) -> CycleOut:
    """Start a cycle that asks for exactly what this plan says.

    Refused once failures, labels, decisions or settings have changed: there is another plan then.
    """
    return cycle_told(session, plans.approve(session, context, plan_id))


def _told(now: plans.Standing) -> PlanOut:
    return PlanOut(
        id=now.id,
        state=now.state,
        policy=now.terms.policy,
        budget_boxes=now.terms.budget_boxes,
        error=now.error,
        plan=None if now.row is None else PlanContent.model_validate(now.row),
    )

"""Plans for people: asked for, computed by a worker once, kept while nothing changes, approved.

A plan is named by everything that it follows from. Whoever asks for the same gets the same, and a
plan whose name is not that of now is of the past: it cannot be approved.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, undefer

from services import units
from services.context import Context
from services.cycle import cycles
from services.db.base import utc_now
from services.db.tables import (
    Annotation,
    Cycle,
    Decision,
    Embedding,
    Explanation,
    FailureRow,
    FieldSide,
    LabelTask,
    ModeRow,
    PlanRow,
    Pointer,
    Unit,
    UnitState,
)
from services.errors import Conflict, NotFound
from services.models import registry
from services.modes import decisions
from services.selection.terms import Terms
from services.units.requests import CHAMPION

State: TypeAlias = Literal["absent", "computing", "ready", "failed"]
KEPT = timedelta(days=7)
"""How long a plan is kept that nobody has approved."""
URGENT = 10
"""Priority of the work: somebody waits in front of the page."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the plan of this moment stands.

    Attributes:
        id: of the plan.
        terms: policy, seed and budget that it is made with.
        state: ``absent`` if nobody has asked for it yet.
        row: the plan, where it is ready.
        unit: number of the unit that computes it, or has failed to.
        error: why it failed.
    """

    id: str
    terms: Terms
    state: State
    row: PlanRow | None = None
    unit: int | None = None
    error: str = ""


def terms_of(
    session: Session, context: Context, policy: str | None, budget_boxes: int | None
) -> Terms:
    """Policy, seed and budget of the next cycle.

    Args:
        session: to read in.
        context: wiring.
        policy: None: the setting.
        budget_boxes: None: the setting.

    Raises:
        InvalidRequest: no policy has this name.
    """
    wanted = context.settings.selection
    cycles.check_policy(policy or wanted.policy)
    number = (session.scalar(select(func.max(Cycle.id))) or 0) + 1
    return Terms(
        policy or wanted.policy,
        context.settings.seed + number,
        wanted.budget_boxes if budget_boxes is None else budget_boxes,
    )


def standing(
    session: Session, context: Context, policy: str | None = None, budget_boxes: int | None = None
) -> Standing:
    """The plan of this moment, if there is one; asks for nothing.

    Raises:
        InvalidRequest: no policy has this name.
    """
    terms = terms_of(session, context, policy, budget_boxes)
    name = _name(session, context, terms)
    row = session.get(PlanRow, name)
    if row is not None:
        return Standing(name, terms, "ready", row)
    unit = _unit(session, name)
    if unit is None or unit.state in (UnitState.DONE, UnitState.CANCELLED):
        return Standing(name, terms, "absent")
    if unit.state == UnitState.DEAD:
        last = (unit.error or "").strip().splitlines()[-1:]
        return Standing(name, terms, "failed", None, unit.id, "".join(last))
    return Standing(name, terms, "computing", None, unit.id)


def ask(
    session: Session, context: Context, policy: str | None = None, budget_boxes: int | None = None
) -> Standing:
    """Have the plan of this moment computed, unless it is there or under way.

    Raises:
        InvalidRequest: no policy has this name.
        Conflict: there is no champion.
    """
    registry.require_champion(session)
    now = standing(session, context, policy, budget_boxes)
    if now.state == "absent":
        times = session.scalar(
            select(func.count()).where(Unit.kind == "plan", Unit.key.startswith(_key(now.id)))
        )
        payload = {
            "plan": now.id,
            "policy": now.terms.policy,
            "seed": now.terms.seed,
            "budget_boxes": now.terms.budget_boxes,
        }
        units.enqueue(session, "plan", f"{_key(now.id)}{times}", payload, priority=URGENT)
        session.flush()
        now = standing(session, context, policy, budget_boxes)
    return now


def keep(session: Session, context: Context, row: PlanRow) -> bool:
    """Store a plan, and forget old ones that nobody approved (called by the plan stage).

    Returns:
        Whether it is kept: not if anything that it follows from changed while it was made, since
        it may be of what was before or after.
    """
    if _name(session, context, Terms(row.policy, row.seed, row.budget_boxes)) != row.id:
        return False
    if session.get(PlanRow, row.id) is None:
        session.add(row)
    approved = select(Cycle.plan_id).where(Cycle.plan_id.is_not(None))
    session.execute(
        delete(PlanRow).where(PlanRow.made_at < utc_now() - KEPT, PlanRow.id.not_in(approved))
    )
    session.flush()
    return True


def approve(session: Session, context: Context, plan_id: str) -> Cycle:
    """Start a cycle that asks for exactly what a plan says.

    Raises:
        NotFound: there is no such plan.
        Conflict: what it was made of has changed, it asks for nothing, or a cycle runs.
    """
    row = session.get(PlanRow, plan_id)
    if row is None:
        raise NotFound(f"no plan {plan_id}: it is computed first, and kept for {KEPT.days} days")
    if not row.content["images"] and not row.content["frames_with_truth"]:
        raise Conflict(f"this plan asks for nothing: {row.content['note'] or 'no mode is open'}")
    registry.require_champion(session, hold=True)  # or a cycle could begin after the look below
    if _name(session, context, Terms(row.policy, row.seed, row.budget_boxes)) != plan_id:
        other = cycles.running(session)
        raise Conflict(
            f"cycle {other} is still running: wait for it or cancel it"
            if other is not None
            else "failures, labels, strikes or settings have changed since this plan was made: "
            "look at the new one"
        )
    return cycles.start(
        session,
        context,
        policy=row.policy,
        budget_boxes=row.budget_boxes,
        seed=row.seed,
        plan_id=row.id,
    )


def strike_mode(session: Session, plan_id: str, key: str, note: str) -> Decision:
    """Spend nothing on a mode of a plan, whether or not a cycle has seen it.

    Raises:
        NotFound: there is no such plan, or no such mode in it.
    """
    row = session.get(PlanRow, plan_id, options=[undefer(PlanRow.members)])
    modes = {} if row is None else {mode["key"]: mode for mode in row.content["modes"]}
    if row is None or key not in modes:
        raise NotFound("no such mode in this plan: look at the plan of now")
    known = modes[key]["id"]
    return decisions.strike_mode(session, note, known, () if known else row.members[key])


def _key(name: str) -> str:
    return f"plan:{name}:"


def _unit(session: Session, name: str) -> Unit | None:
    query = select(Unit).where(Unit.kind == "plan", Unit.key.startswith(_key(name)))
    return session.scalar(query.order_by(Unit.id.desc()).limit(1))


def _name(session: Session, context: Context, terms: Terms) -> str:
    """Hash of what a plan follows from; a handful of small questions, none over all of the pool."""
    told = json.dumps(
        {
            "terms": [terms.policy, terms.seed, terms.budget_boxes],
            "data": _data(session),
            "settings": _settings(context),
        },
        sort_keys=True,
        default=str,
    )
    return hashlib.sha256(told.encode()).hexdigest()


def _data(session: Session) -> dict[str, Any]:
    pointer = session.get(Pointer, CHAMPION)
    champion = None if pointer is None else pointer.target
    mine = FailureRow.model_id == champion
    # What is one value each is one statement.
    newest = select(
        select(func.count()).select_from(Explanation).scalar_subquery(),
        select(func.max(Explanation.created_at)).scalar_subquery(),
        select(func.max(Annotation.id)).scalar_subquery(),
        select(func.count()).select_from(FieldSide).scalar_subquery(),
        select(func.max(Embedding.id)).where(Embedding.indexed.is_(True)).scalar_subquery(),
        select(func.max(Cycle.id)).scalar_subquery(),
    )
    return {
        "champion": None if pointer is None else [champion, pointer.version],
        "failures": _counted(session, FailureRow.state, mine),
        "newest": list(session.execute(newest).one()),
        "tasks": _counted(session, LabelTask.state),
        "modes": _counted(session, ModeRow.state),
        "decisions": list(
            session.scalars(
                select(Decision.id).where(Decision.undone_at.is_(None)).order_by(Decision.id)
            )
        ),
        "runs": cycles.running(session),
    }


def _counted(session: Session, column: Any, *conditions: Any) -> list[list[Any]]:
    query = select(column, func.count()).where(*conditions).group_by(column).order_by(column)
    return [list(row) for row in session.execute(query)]


def _settings(context: Context) -> dict[str, Any]:
    chosen = {"selection", "modes", "failures", "explanation", "seed"}
    return context.settings.model_dump(mode="json", include=chosen)

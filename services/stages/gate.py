"""Gate: champion against challenger on everything that must hold, then promotion or not."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retrain.gate import GateInputs, Verdict, decide
from services import cycles, registry, science, training
from services.context import Context
from services.db.tables import (
    Cycle,
    FailureRow,
    FailureState,
    Image,
    ModelState,
    ModeMember,
    ModeRow,
    ModeSighting,
)
from services.db.tables import Model as ModelRow
from services.db.units import Claim
from services.errors import Conflict
from services.failure_check import still_failing
from services.pipeline import StageContext, Store

ACTOR = "gate"


def run(stage: StageContext, claim: Claim) -> Store:
    """Judge the challenger of ``payload['cycle']``."""
    context = stage.context
    with context.sessions() as session:
        cycle = session.get_one(Cycle, claim.payload["cycle"])
    champion_id, challenger_id = str(cycle.champion_id), str(cycle.challenger_id)
    before = _inputs(stage, cycle.id, champion_id)
    after = _inputs(stage, cycle.id, challenger_id)
    verdict = decide(before, after, science.gate_rules(context.settings))

    def store(session: Session) -> dict[str, Any]:
        return _settle(session, context, cycle.id, verdict, (before, after))

    return store


def _inputs(stage: StageContext, cycle_id: int, model_id: str) -> GateInputs:
    """How a model does on the evaluation splits, the fixed failures and the targeted modes."""
    context = stage.context
    reports = training.evaluate_splits(context, model_id)
    if "holdout" not in reports:
        raise Conflict("the gate needs a holdout: run `e2x import FOLDER --role holdout`")
    with context.sessions() as session:
        fixed = _failures(session, FailureRow.state == FailureState.FIXED)
        modes = _mode_members(session, cycle_id)
    rows = fixed + [row for members in modes.values() for row in members]
    failing = still_failing(stage, model_id, rows)
    return GateInputs(
        holdout=reports["holdout"],
        siblings=reports.get("siblings"),
        fixed={row.id: row.id not in failing for row in fixed},
        modes={
            key: sum(row.id not in failing for row in members) / len(members)
            for key, members in modes.items()
        },
    )


def _failures(session: Session, condition: Any) -> list[FailureRow]:
    query = select(FailureRow).join(Image, Image.id == FailureRow.image_id).where(condition)
    return list(session.scalars(query.order_by(FailureRow.id)))


def _mode_members(session: Session, cycle_id: int) -> dict[str, list[FailureRow]]:
    members: dict[str, list[FailureRow]] = defaultdict(list)
    query = (
        select(ModeRow.name, FailureRow)
        .join(ModeSighting, ModeSighting.mode_id == ModeRow.id)
        .join(ModeMember, ModeMember.sighting_id == ModeSighting.id)
        .join(FailureRow, FailureRow.id == ModeMember.failure_id)
        .where(ModeSighting.cycle_id == cycle_id)
        .order_by(ModeRow.id, FailureRow.id)
    )
    for name, row in session.execute(query):
        members[name].append(row)
    return dict(members)


def _settle(
    session: Session,
    context: Context,
    cycle_id: int,
    verdict: Verdict,
    sides: tuple[GateInputs, GateInputs],
) -> dict[str, Any]:
    """Store decision and mode figures; swap the champion in the same transaction."""
    cycle = session.get_one(Cycle, cycle_id)
    cycle.decision = verdict.to_dict()
    seen = (
        select(ModeRow.name, ModeSighting)
        .join(ModeSighting, ModeSighting.mode_id == ModeRow.id)
        .where(ModeSighting.cycle_id == cycle_id)
    )
    for name, sighting in session.execute(seen):
        sighting.found_before = sides[0].modes.get(name)
        sighting.found_after = sides[1].modes.get(name)
    challenger = session.get_one(ModelRow, str(cycle.challenger_id))
    promote = verdict.promote and context.settings.gate.auto_promote
    if promote and challenger.state != ModelState.CHAMPION:
        registry.promote(session, challenger, ACTOR, cycle.decision, cycle_id)
    elif not verdict.promote:
        challenger.state = ModelState.REJECTED
    cycles.close(session, cycle, promote)
    return {"promote": verdict.promote, "promoted": promote}

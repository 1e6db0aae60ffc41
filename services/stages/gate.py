"""Gate: champion against challenger on everything that must hold, then promotion or not.

A person may promote a model or roll one back while a cycle runs. So the opponent is the champion
of the moment, and where that has changed once more when the verdict is stored, the verdict is
dropped and the unit is judged again.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retrain.gate import GateInputs, Verdict, decide
from services import cycles, registry, science, training
from services.db.tables import (
    TAKEN_BACK,
    Cycle,
    FailureRow,
    FailureState,
    ModelState,
    ModeMember,
    ModeRow,
    ModeSighting,
)
from services.db.tables import Model as ModelRow
from services.db.units import Claim
from services.errors import ChampionChanged, Conflict
from services.failure_check import still_failing
from services.pipeline import StageContext, Store

ACTOR = "gate"


@dataclass(frozen=True, slots=True)
class _Questions:
    """What both sides are asked beside the evaluation splits.

    Read once for both: scans go on meanwhile, and settle which failures are fixed.
    """

    fixed: list[FailureRow]
    modes: dict[str, list[FailureRow]]

    def rows(self) -> list[FailureRow]:
        """All failures."""
        return self.fixed + [row for members in self.modes.values() for row in members]


@dataclass(frozen=True, slots=True)
class _Judgement:
    """A verdict, and about whom."""

    cycle_id: int
    opponent_id: str
    challenger_id: str
    verdict: Verdict
    before: GateInputs
    after: GateInputs

    def to_dict(self) -> dict[str, Any]:
        """As the cycle's decision."""
        return {**self.verdict.to_dict(), "against": self.opponent_id}


def run(stage: StageContext, claim: Claim) -> Store:
    """Judge the challenger of ``payload['cycle']``.

    Raises:
        Conflict: there is no holdout.
        ChampionChanged: (by the store) somebody else has become the champion meanwhile.
    """
    context = stage.context
    with context.sessions() as session:
        cycle = session.get_one(Cycle, claim.payload["cycle"])
        opponent_id, challenger_id = _opponent(session, cycle), str(cycle.challenger_id)
        fixed = _failures(session, FailureRow.state == FailureState.FIXED)
        questions = _Questions(fixed, _mode_members(session, cycle.id))
    before = _inputs(stage, opponent_id, questions)
    after = _inputs(stage, challenger_id, questions)
    verdict = decide(before, after, science.gate_rules(context.settings))
    judged = _Judgement(cycle.id, opponent_id, challenger_id, verdict, before, after)

    def store(session: Session) -> dict[str, Any]:
        return _settle(session, judged, context.settings.gate.auto_promote)

    return store


def _opponent(session: Session, cycle: Cycle) -> str:
    """The champion of now; the cycle's own where a person has promoted the challenger already."""
    champion = registry.require_champion(session).id
    return str(cycle.champion_id) if champion == cycle.challenger_id else champion


def _inputs(stage: StageContext, model_id: str, asked: _Questions) -> GateInputs:
    """How a model does on the evaluation splits, the fixed failures and the targeted modes."""
    reports = training.evaluate_splits(stage.context, model_id)
    if "holdout" not in reports:
        raise Conflict("the gate needs a holdout: run `e2x import FOLDER --role holdout`")
    rows = asked.rows()
    failing = still_failing(stage, model_id, rows) if rows else set()
    return GateInputs(
        holdout=reports["holdout"],
        siblings=reports.get("siblings"),
        fixed={row.id: row.id not in failing for row in asked.fixed},
        modes={
            key: sum(row.id not in failing for row in members) / len(members)
            for key, members in asked.modes.items()
        },
    )


def _failures(session: Session, condition: Any) -> list[FailureRow]:
    return list(session.scalars(select(FailureRow).where(condition).order_by(FailureRow.id)))


def _mode_members(session: Session, cycle_id: int) -> dict[str, list[FailureRow]]:
    members: dict[str, list[FailureRow]] = defaultdict(list)
    query = (
        select(ModeRow.name, FailureRow)
        .join(ModeSighting, ModeSighting.mode_id == ModeRow.id)
        .join(ModeMember, ModeMember.sighting_id == ModeSighting.id)
        .join(FailureRow, FailureRow.id == ModeMember.failure_id)
        .where(ModeSighting.cycle_id == cycle_id, FailureRow.state.not_in(TAKEN_BACK))
        .order_by(ModeRow.id, FailureRow.id)
    )
    for name, row in session.execute(query):
        members[name].append(row)
    return dict(members)


def _settle(session: Session, judged: _Judgement, auto_promote: bool) -> dict[str, Any]:
    """Store decision and mode figures; swap the champion in the same transaction."""
    champion = registry.require_champion(session, hold=True)
    if champion.id not in (judged.opponent_id, judged.challenger_id):
        raise ChampionChanged(
            f"model {champion.number} has become the champion while the challenger was compared "
            "with another: it is judged again, against this one"
        )
    if champion.id == judged.challenger_id:  # by a person: the gate takes nothing back
        promoted = judged.challenger_id != judged.opponent_id
    else:
        promoted = _promote_or_refuse(session, judged, auto_promote)
    _keep_mode_figures(session, judged)
    cycle = session.get_one(Cycle, judged.cycle_id)
    cycle.decision = judged.to_dict()
    cycles.close(session, cycle, promoted)
    return {"promote": judged.verdict.promote, "promoted": promoted}


def _promote_or_refuse(session: Session, judged: _Judgement, auto_promote: bool) -> bool:
    """Do what the verdict says; whether the challenger is the champion now."""
    challenger = session.get_one(ModelRow, judged.challenger_id)
    if not judged.verdict.promote:
        challenger.state = ModelState.REJECTED
        return False
    if not auto_promote:
        return False
    registry.promote(
        session, challenger, ACTOR, judged.to_dict(), judged.cycle_id, over=judged.opponent_id
    )
    return True


def _keep_mode_figures(session: Session, judged: _Judgement) -> None:
    seen = (
        select(ModeRow.name, ModeSighting)
        .join(ModeSighting, ModeSighting.mode_id == ModeRow.id)
        .where(ModeSighting.cycle_id == judged.cycle_id)
    )
    for name, sighting in session.execute(seen):
        sighting.found_before = judged.before.modes.get(name)
        sighting.found_after = judged.after.modes.get(name)

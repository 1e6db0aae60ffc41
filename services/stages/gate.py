"""Gate: champion against challenger on everything that must hold, then promotion or not.

A person may promote a model or roll one back while a cycle runs. So the opponent is the champion
of the moment, and where that has changed once more when the verdict is stored, the verdict is
dropped and the unit is judged again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retrain.gate import GateInputs, Verdict, decide
from retrain.report import EvaluationReport
from services.config import builders
from services.context import Context
from services.cycle import cycles, holdout
from services.db import sides
from services.db.engine import reading
from services.db.tables import (
    TAKEN_BACK,
    Annotation,
    CandidateRow,
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
from services.errors import ChampionChanged, Conflict
from services.failures.check import still_failing, words_about
from services.failures.findings import Words
from services.models import registry, training
from services.units import Claim
from services.units.pipeline import StageContext, Store

ACTOR = "gate"
MISSED = "missed"
"""Family of the modes whose failures are objects that were not found."""


@dataclass(frozen=True, slots=True)
class _Questions:
    """What both sides are asked beside the evaluation splits, of frames that judge.

    Read once for both: scans go on meanwhile, and settle which failures are fixed.

    Attributes:
        fixed: failures that earlier cycles fixed.
        modes: failures of every mode that the cycle saw and that has a judge.
        unjudged: the class that is missed, of modes all of whose frames teach; None: of a false
            detection, which no sibling can show.
        targeted: the modes that it brought images for; no other is expected to improve.
        said: about the frames of these failures.
        class_names: that both know: a challenger is compared on what the champion was taught.
    """

    fixed: list[FailureRow]
    modes: dict[str, list[FailureRow]]
    unjudged: dict[str, str | None]
    targeted: set[str]
    said: dict[str, Words]
    class_names: list[str]

    @staticmethod
    def read(session: Session, cycle_id: int, model_ids: Sequence[str]) -> _Questions:
        """Those of a cycle about these models."""
        fixed = _fixed(session)
        modes = _mode_members(session, cycle_id)
        unjudged = _seen(session, cycle_id, without=modes)
        said = words_about(session, _all_rows(fixed, modes))
        names = min((session.get_one(ModelRow, m).class_names for m in model_ids), key=len)
        return _Questions(fixed, modes, unjudged, _targeted(session, cycle_id), said, names)

    def rows(self) -> list[FailureRow]:
        """All failures."""
        return _all_rows(self.fixed, self.modes)


@dataclass(frozen=True, slots=True)
class _Answers:
    """How a model did.

    Attributes:
        inputs: what the verdict follows from.
        found: share of its failures that it gets right, of every mode that the cycle saw.
    """

    inputs: GateInputs
    found: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Judgement:
    """A verdict, and about whom."""

    cycle_id: int
    opponent_id: str
    challenger_id: str
    verdict: Verdict
    before: Mapping[str, float]
    after: Mapping[str, float]

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
    with reading(context.sessions) as session:
        cycle = session.get_one(Cycle, claim.payload["cycle"])
        opponent_id, challenger_id = _opponent(session, cycle), str(cycle.challenger_id)
        questions = _Questions.read(session, cycle.id, (opponent_id, challenger_id))
    before = _answers(stage, opponent_id, questions)
    after = _answers(stage, challenger_id, questions)
    verdict = decide(before.inputs, after.inputs, builders.gate_rules(context.settings))
    judged = _Judgement(cycle.id, opponent_id, challenger_id, verdict, before.found, after.found)

    def store(session: Session) -> dict[str, Any]:
        return _settle(session, judged, context.settings.gate.auto_promote)

    return store


def _opponent(session: Session, cycle: Cycle) -> str:
    """The champion of now; the cycle's own where a person has promoted the challenger already."""
    champion = registry.require_champion(session).id
    return str(cycle.champion_id) if champion == cycle.challenger_id else champion


def _answers(stage: StageContext, model_id: str, asked: _Questions) -> _Answers:
    """How a model does on the evaluation splits, the fixed failures and the modes."""
    training.evaluate_splits(stage.context, model_id)
    reports = training.reports_of(stage.context, model_id, asked.class_names)
    if "holdout" not in reports:
        raise Conflict(holdout.NO_HOLDOUT)
    rows = asked.rows()
    failing = still_failing(stage, model_id, rows, asked.said) if rows else set()
    found = {
        name: sum(row.id not in failing for row in members) / len(members)
        for name, members in asked.modes.items()
    }
    by_siblings = _judged_by_siblings(reports.get("siblings"), asked.unjudged)
    found |= by_siblings
    nobody = asked.unjudged.keys() - by_siblings.keys()
    measured = reports["holdout"].map is not None
    inputs = GateInputs(
        holdout=reports["holdout"],
        siblings=reports.get("siblings"),
        fixed={row.id: row.id not in failing for row in asked.fixed},
        modes={name: share for name, share in found.items() if name in asked.targeted},
        by_siblings=sorted(by_siblings.keys() & asked.targeted),
        unjudged=sorted(nobody & asked.targeted),
        holdout_labels=() if measured else _holdout_labels(stage.context),
    )
    return _Answers(inputs, found)


def _holdout_labels(context: Context) -> set[str]:
    with reading(context.sessions) as session:
        return holdout.counted_labels(session)


def _all_rows(fixed: list[FailureRow], modes: dict[str, list[FailureRow]]) -> list[FailureRow]:
    return fixed + [row for members in modes.values() for row in members]


def _judged_by_siblings(
    report: EvaluationReport | None, unjudged: Mapping[str, str | None]
) -> dict[str, float]:
    """Share of the siblings' objects that is found, for modes that miss objects of their class."""
    outcomes: dict[str, list[bool]] = defaultdict(list)
    for one in report.objects if report else ():
        outcomes[one.label].append(one.found)
    return {
        name: sum(outcomes[label]) / len(outcomes[label])
        for name, label in unjudged.items()
        if label is not None and outcomes.get(label)
    }


def _fixed(session: Session) -> list[FailureRow]:
    """What earlier cycles fixed, but not where the model was told the answer."""
    query = (
        select(FailureRow)
        .join(Image, Image.id == FailureRow.image_id)
        .where(FailureRow.state == FailureState.FIXED, sides.is_judged())
    )
    return list(session.scalars(query.order_by(FailureRow.id)))


def _seen(
    session: Session, cycle_id: int, without: Mapping[str, list[FailureRow]]
) -> dict[str, str | None]:
    """The modes of a cycle that have frames but no judge, with what siblings could judge."""
    query = (
        select(ModeRow)
        .join(ModeSighting, ModeSighting.mode_id == ModeRow.id)
        .join(ModeMember, ModeMember.sighting_id == ModeSighting.id)
        .join(FailureRow, FailureRow.id == ModeMember.failure_id)
        .where(ModeSighting.cycle_id == cycle_id, FailureRow.state.not_in(TAKEN_BACK))
        .order_by(ModeRow.id)
    )
    return {
        row.name: row.label if row.family == MISSED else None
        for row in session.scalars(query).unique()
        if row.name not in without
    }


def _mode_members(session: Session, cycle_id: int) -> dict[str, list[FailureRow]]:
    members: dict[str, list[FailureRow]] = defaultdict(list)
    query = (
        select(ModeRow.name, FailureRow)
        .join(ModeSighting, ModeSighting.mode_id == ModeRow.id)
        .join(ModeMember, ModeMember.sighting_id == ModeSighting.id)
        .join(FailureRow, FailureRow.id == ModeMember.failure_id)
        .join(Image, Image.id == FailureRow.image_id)
        .where(
            ModeSighting.cycle_id == cycle_id,
            FailureRow.state.not_in(TAKEN_BACK),
            sides.is_judged(),
        )
        .order_by(ModeRow.id, FailureRow.id)
    )
    for name, row in session.execute(query):
        members[name].append(row)
    return dict(members)


def _targeted(session: Session, cycle_id: int) -> set[str]:
    query = (
        select(ModeRow.name)
        .join(CandidateRow, CandidateRow.mode_id == ModeRow.id)
        .where(CandidateRow.cycle_id == cycle_id)
    )
    taught = (
        select(ModeRow.name)
        .join(ModeSighting, ModeSighting.mode_id == ModeRow.id)
        .join(ModeMember, ModeMember.sighting_id == ModeSighting.id)
        .join(FailureRow, FailureRow.id == ModeMember.failure_id)
        .join(Image, Image.id == FailureRow.image_id)
        .join(Annotation, Annotation.image_id == Image.id)
        .where(ModeSighting.cycle_id == cycle_id, sides.is_taught())
    )
    return {*session.scalars(query), *session.scalars(taught)}


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
        sighting.found_before = judged.before.get(name)
        sighting.found_after = judged.after.get(name)

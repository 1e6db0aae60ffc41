"""Gate: champion against challenger on everything that must hold, then promotion or not.

Where samples were drawn there may be two challengers, with and without them. The one with them must
hold against the champion, and be no worse than the other; else the other takes its place, and what
was drawn leaves further versions.

A person may promote a model or roll one back while a cycle runs. So the opponent is the champion
of the moment, and where that has changed once more when the verdict is stored, the verdict is
dropped and the unit is judged again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from retrain.config import GateRules
from retrain.gate import GateInputs, Verdict, decide, not_worse
from retrain.report import EvaluationReport
from services.config import builders
from services.context import Context
from services.cycle import cycles, holdout
from services.db.engine import reading
from services.db.tables import (
    Cycle,
    ModelState,
    ModeRow,
    ModeSighting,
)
from services.db.tables import Model as ModelRow
from services.errors import ChampionChanged, Conflict
from services.failures.check import still_failing
from services.models import evaluation, mirrored, pins, registry
from services.stages.gate_questions import Questions
from services.synthesis import samples
from services.units import Claim
from services.units.pipeline import StageContext, Store

ACTOR = "gate"


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
    """A verdict, and about whom.

    Attributes:
        cycle_id: whose challengers.
        opponent_id: the champion.
        challenger_id: the challenger that the verdict is about.
        other_id: the one that it was chosen from beside; None where there is one.
        verdict: see there.
        before: share found of each mode, by the champion.
        after: by the challenger.
        drawn: how the choice was made, where there was one.
        turned_down: why new drawn samples leave further versions; "" where they stay.
    """

    cycle_id: int
    opponent_id: str
    challenger_id: str
    other_id: str | None
    verdict: Verdict
    before: Mapping[str, float]
    after: Mapping[str, float]
    drawn: dict[str, Any] | None = None
    turned_down: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As the cycle's decision."""
        told = {**self.verdict.to_dict(), "against": self.opponent_id}
        return told if self.drawn is None else {**told, "drawn": self.drawn}


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
        asked = [opponent_id, challenger_id, *filter(None, [cycle.rival_id])]
        questions = Questions.read(session, cycle.id, asked)
        lone = cycle.rival_id is None and samples.are_all_that_is_new(session, cycle)
    answers = {model_id: _answers(stage, model_id, questions) for model_id in asked}
    judged = _judge(cycle, opponent_id, answers, builders.gate_rules(context.settings), lone)

    def store(session: Session) -> dict[str, Any]:
        return _settle(session, judged, context.settings.gate.auto_promote)

    return store


def _judge(
    cycle: Cycle, opponent_id: str, answers: Mapping[str, _Answers], rules: GateRules, lone: bool
) -> _Judgement:
    """The verdict on the challenger, or on the better of two.

    Args:
        cycle: whose challengers.
        opponent_id: the champion.
        answers: by model.
        rules: the bounds.
        lone: whether drawn samples are all that the champion has not learned from.
    """
    before, challenger_id = answers[opponent_id], str(cycle.challenger_id)
    after = answers[challenger_id]
    verdict = decide(before.inputs, after.inputs, rules)
    found = (before.found, after.found)
    if cycle.rival_id is None:
        down = "a model that learned from them does not hold against the champion"
        lost = down if lone and not verdict.promote else ""
        return _Judgement(
            cycle.id, opponent_id, challenger_id, None, verdict, *found, turned_down=lost
        )
    without = answers[cycle.rival_id]
    verdicts = {"with": verdict, "without": decide(before.inputs, without.inputs, rules)}
    compared = not_worse(without.inputs, after.inputs, rules)
    takes = (verdict.promote and compared.promote) or not (
        verdicts["without"].promote or verdict.promote
    )
    told = {
        "with": challenger_id,
        "without": cycle.rival_id,
        "chosen": "with" if takes else "without",
        "holds": {name: one.promote for name, one in verdicts.items()},
        "checks": compared.to_dict()["checks"],
    }
    lost = "" if compared.promote and takes else _why_down(verdict, compared)
    if takes:
        return _Judgement(
            *(cycle.id, opponent_id, challenger_id, cycle.rival_id, verdict, *found), told, lost
        )
    return _Judgement(
        *(cycle.id, opponent_id, cycle.rival_id, challenger_id, verdicts["without"]),
        *(before.found, without.found, told, lost),
    )


def _why_down(verdict: Verdict, compared: Verdict) -> str:
    """Why samples are turned down, by the first check that fails."""
    failed = [one for one in (*compared.checks, *verdict.checks) if one.passed is False]
    whom = "one without them" if not compared.promote else "the champion"
    return f"a model that learned from them does not hold against {whom}: {failed[0].name}"


def _opponent(session: Session, cycle: Cycle) -> str:
    """The champion of now; the cycle's own where a person has promoted a challenger already."""
    champion = registry.require_champion(session).id
    is_own = champion in (cycle.challenger_id, cycle.rival_id)
    return str(cycle.champion_id) if is_own else champion


def _answers(stage: StageContext, model_id: str, asked: Questions) -> _Answers:
    """How a model does on the evaluation splits, the fixed failures and the modes."""
    evaluation.evaluate_splits(stage.context, model_id)
    reports = evaluation.reports_of(stage.context, model_id, asked.class_names)
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


def _settle(session: Session, judged: _Judgement, auto_promote: bool) -> dict[str, Any]:
    """Store decision and mode figures; swap the champion in the same transaction."""
    champion = registry.require_champion(session, hold=True)
    own = filter(None, (judged.challenger_id, judged.other_id))
    if champion.id not in (judged.opponent_id, *own):
        raise ChampionChanged(
            f"model {champion.number} has become the champion while the challenger was compared "
            "with another: it is judged again, against this one"
        )
    if champion.id != judged.opponent_id:  # by a person: the gate takes nothing back
        promoted = True
    elif champion.id == judged.challenger_id:
        promoted = False
    else:
        promoted = _promote_or_refuse(session, judged, auto_promote)
        if judged.turned_down:
            samples.turn_down(session, judged.cycle_id, judged.turned_down)
    _keep_mode_figures(session, judged)
    cycle = session.get_one(Cycle, judged.cycle_id)
    cycle.decision = judged.to_dict()
    chosen = session.get_one(ModelRow, judged.challenger_id)
    cycle.challenger_id, cycle.rival_id = chosen.id, judged.other_id
    mirrored.want(session, chosen.id, judged.other_id)
    cycle.dataset_version_id = chosen.dataset_version_id
    cycles.close(session, cycle, promoted)
    return {"promote": judged.verdict.promote, "promoted": promoted}


def _promote_or_refuse(session: Session, judged: _Judgement, auto_promote: bool) -> bool:
    """Do what the verdict says; whether the challenger is the champion now."""
    challenger = session.get_one(ModelRow, judged.challenger_id)
    if judged.other_id is not None:
        session.get_one(ModelRow, judged.other_id).state = ModelState.REJECTED
    if not judged.verdict.promote:
        challenger.state = ModelState.REJECTED
        return False
    if not auto_promote or pins.pinned_id(session) is not None:
        return False  # it stays a challenger, which a person may promote
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

"""The gate judges against the champion of now, whatever a person does to it meanwhile."""

from __future__ import annotations

import pytest

from services.context import Context
from services.db.tables import Cycle, CycleState, Model, ModelState
from services.errors import ChampionChanged
from services.models import registry
from services.stages import gate
from services.units.pipeline import StageContext
from services.units.resident import Resident
from services.worker import shell
from tests.services.judged_models import add_gating_cycle, add_holdout, add_judged, claimed

OLD, RIVAL, CHALLENGER = 1, 2, 3
PERSON = {"reason": "by hand"}


@pytest.fixture
def gating(context: Context) -> tuple[int, int]:
    """A cycle at its gate: the challenger is better than the champion, a third is better still."""
    with context.sessions.begin() as session:
        champion = _with_holdout(context, session)
        add_judged(session, context, RIVAL, 0.9)
        challenger = add_judged(session, context, CHALLENGER, 0.7)
        return add_gating_cycle(session, champion, challenger)


def _with_holdout(context: Context, session) -> Model:  # type: ignore[no-untyped-def]
    add_holdout(session)
    champion = add_judged(session, context, OLD, 0.5)
    registry.promote(session, champion, "test", {})
    return champion


def _promote(context: Context, number: int) -> None:
    with context.sessions.begin() as session:
        registry.promote(session, registry.find(session, str(number)), "person", PERSON)


def _run(context: Context, unit_id: int) -> str:
    return shell.run(context, Resident(), unit_id, "test")


def _champion(context: Context) -> int:
    with context.sessions() as session:
        return registry.require_champion(session).number


def _cycle(context: Context, number: int) -> Cycle:
    with context.sessions() as session:
        return session.get_one(Cycle, number)


def _state(context: Context, number: int) -> str:
    with context.sessions() as session:
        return registry.find(session, str(number)).state


def test_a_better_challenger_takes_the_place(context: Context, gating: tuple[int, int]) -> None:
    number, unit = gating
    assert _run(context, unit) == "done"
    assert _champion(context) == CHALLENGER
    cycle = _cycle(context, number)
    assert cycle.promoted
    assert cycle.decision is not None
    assert cycle.decision["against"] == f"{OLD:064x}"


@pytest.mark.parametrize(("quality", "champion_after"), [(0.7, CHALLENGER), (0.3, OLD)])
def test_a_challenger_with_a_new_class_is_compared_by_those_of_the_champion(
    context: Context, quality: float, champion_after: int
) -> None:
    with context.sessions.begin() as session:
        champion = _with_holdout(context, session)
        challenger = add_judged(session, context, CHALLENGER, quality, more_classes=("bus",))
        _, unit = add_gating_cycle(session, champion, challenger)
    assert _run(context, unit) == "done"
    assert _champion(context) == champion_after


def test_the_opponent_is_the_champion_of_now(context: Context, gating: tuple[int, int]) -> None:
    number, unit = gating
    _promote(context, RIVAL)
    assert _run(context, unit) == "done"
    assert _champion(context) == RIVAL
    cycle = _cycle(context, number)
    assert not cycle.promoted
    assert cycle.decision is not None
    assert cycle.decision["against"] == f"{RIVAL:064x}"
    assert _state(context, CHALLENGER) == ModelState.REJECTED


def test_a_champion_that_came_while_the_gate_judged_is_judged_against_next(
    context: Context, gating: tuple[int, int]
) -> None:
    number, unit = gating
    stage = StageContext(context, Resident(), lambda: None)
    store = gate.run(stage, claimed(context, unit))
    _promote(context, RIVAL)

    with pytest.raises(ChampionChanged, match="judged again"), context.sessions.begin() as session:
        store(session)

    assert ChampionChanged.retryable
    assert _champion(context) == RIVAL
    cycle = _cycle(context, number)
    assert (cycle.state, cycle.decision, cycle.promoted) == (CycleState.GATING, None, None)


def test_a_changed_champion_costs_a_try_and_no_more(
    context: Context, gating: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    number, unit = gating
    decide = gate.decide

    def meanwhile(*sides):  # type: ignore[no-untyped-def]
        if _champion(context) == OLD:
            _promote(context, RIVAL)
        return decide(*sides)

    monkeypatch.setattr(gate, "decide", meanwhile)
    workers = context.settings.workers.model_copy(update={"backoff_s": 0.0})
    settings = context.settings.model_copy(update={"workers": workers})
    hasty = Context(settings, context.project, context.engine, context.sessions)
    assert [_run(hasty, unit), _run(hasty, unit)] == ["queued", "done"]
    assert _champion(context) == RIVAL
    assert not _cycle(context, number).promoted


def test_nothing_is_promoted_on_a_holdout_of_other_classes(sqlite_context: Context) -> None:
    """Names that differ in case alone are other classes, and every check had nothing to look at."""
    context = sqlite_context
    with context.sessions.begin() as session:
        add_holdout(session, label="Car")
        champion = add_judged(session, context, OLD, None)
        registry.promote(session, champion, "test", {})
        challenger = add_judged(session, context, CHALLENGER, None)
        number, unit = add_gating_cycle(session, champion, challenger)

    assert _run(context, unit) == "done"

    assert (_champion(context), _state(context, CHALLENGER)) == (OLD, ModelState.REJECTED)
    cycle = _cycle(context, number)
    assert cycle.promoted is False
    assert cycle.decision is not None
    first = cycle.decision["checks"][0]
    assert first["passed"] is False
    assert "no object of car (it has Car)" in first["reason"]


@pytest.mark.parametrize("quality", [0.7, 0.1])
def test_a_challenger_that_a_person_promoted_stays(context: Context, quality: float) -> None:
    with context.sessions.begin() as session:
        champion = _with_holdout(context, session)
        challenger = add_judged(session, context, CHALLENGER, quality)
        number, unit = add_gating_cycle(session, champion, challenger)
    _promote(context, CHALLENGER)

    assert _run(context, unit) == "done"

    assert (_champion(context), _state(context, CHALLENGER)) == (CHALLENGER, ModelState.CHAMPION)
    cycle = _cycle(context, number)
    assert cycle.promoted
    assert cycle.decision is not None
    assert cycle.decision["against"] == f"{OLD:064x}"
    assert cycle.decision["promote"] is (quality > 0.5)


def test_promotion_over_another_champion_is_refused(
    context: Context, gating: tuple[int, int]
) -> None:
    with context.sessions.begin() as session:
        rival = registry.find(session, str(RIVAL))
        with pytest.raises(ChampionChanged):
            registry.promote(session, rival, "gate", {}, over=f"{CHALLENGER:064x}")
    assert _champion(context) == OLD

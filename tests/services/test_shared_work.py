"""Work that several ask for: a cycle that is cancelled takes nothing from the others."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from benchmarks.common.projects import make_model
from services import units
from services.context import Context
from services.cycle import after_unit, cycles
from services.db.tables import Cycle, CycleState, Image, Outbox, Role, Unit, UnitState
from services.errors import LeaseLost
from services.models import registry
from services.units.requests import request_scan
from tests.services.builders import add_champion, add_holdout_image, finish_units, make_image

FRAMES = 3
SHARED = ("scan", "explain", "embed", "index")


@pytest.fixture
def ready(context: Context) -> Context:
    """A champion, a holdout, a pool image and some field frames that were scanned."""
    with context.sessions.begin() as session:
        session.add_all(make_image(number, Role.FIELD) for number in range(FRAMES))
        session.add(make_image(50))
        session.flush()
        add_champion(session)
        add_holdout_image(session)
        finish_units(session, context, "scan", {})
    return context


def ask(context: Context, kind: str, key: str = "k", cycle_id: int | None = None) -> int:
    with context.sessions.begin() as session:
        return units.enqueue(session, kind, key, {"model": f"{1:064x}"}, cycle_id=cycle_id).id


def start(context: Context) -> int:
    with context.sessions.begin() as session:
        return cycles.start(session, context, policy="random").id


def cancel(context: Context, number: int) -> None:
    with context.sessions.begin() as session:
        cycles.cancel(session, context, number, "anna")


def unit(context: Context, unit_id: int) -> Unit:
    with context.sessions() as session:
        return session.get_one(Unit, unit_id)


def states(context: Context, kind: str) -> list[str]:
    with context.sessions() as session:
        query = select(Unit.state).where(Unit.kind == kind).order_by(Unit.id)
        return list(session.scalars(query))


def cycle(context: Context, number: int) -> Cycle:
    with context.sessions() as session:
        return session.get_one(Cycle, number)


def work(context: Context, unit_id: int) -> None:
    """Do a unit as a worker does, but for the work."""
    with context.sessions.begin() as session:
        claim = units.claim(session, unit_id, "worker", 60.0)
        assert claim is not None
        units.finish(session, claim, {})
        after_unit.after(session, context, claim)


@pytest.mark.parametrize("kind", SHARED)
def test_what_others_need_goes_on_after_a_cycle_is_cancelled(ready: Context, kind: str) -> None:
    number = start(ready)
    shared = ask(ready, kind, cycle_id=number)
    cancel(ready, number)
    left = unit(ready, shared)
    assert (left.state, left.cycle_id) == (UnitState.QUEUED, None)
    assert set(states(ready, "score_pool")) == {UnitState.CANCELLED}

    second = start(ready)  # waits for what the first had asked for
    with ready.sessions.begin() as session:
        finish_units(session, ready, "score_pool", {})
        cycles.advance(session, ready, second)
    assert cycle(ready, second).state == CycleState.EXPLAINING
    work(ready, shared)
    assert cycle(ready, second).state == CycleState.SELECTING


def test_a_running_unit_of_a_cancelled_cycle_ends_or_is_dropped(ready: Context) -> None:
    number = start(ready)
    shared, own = ask(ready, "scan", cycle_id=number), ask(ready, "train", "t", number)
    with ready.sessions.begin() as session:
        scan, train = (units.claim(session, one, "worker", 60.0) for one in (shared, own))
    assert scan is not None
    assert train is not None
    cancel(ready, number)
    with ready.sessions.begin() as session:
        assert units.cycle_of(session, scan) is None  # what it asks for is nobody's either
        units.finish(session, scan, {})
    with ready.sessions.begin() as session, pytest.raises(LeaseLost):
        units.finish(session, train, {})


def test_a_scan_that_a_person_asked_for_survives_a_cycle_that_waited_for_it(
    ready: Context,
) -> None:
    with ready.sessions.begin() as session:
        request_scan(session, f"{0:064x}", "words")
    number = start(ready)
    cancel(ready, number)
    assert states(ready, "scan") == [UnitState.DONE] * FRAMES + [UnitState.QUEUED]


@pytest.mark.parametrize("kind", [*SHARED, "train"])
def test_cancelled_work_is_queued_again_by_whoever_asks_next(ready: Context, kind: str) -> None:
    first = ask(ready, kind)
    with ready.sessions.begin() as session:
        claim = units.claim(session, first, "worker", 60.0)
        assert units.cancel(session, first)
    assert claim is not None
    number = start(ready)
    assert ask(ready, kind, cycle_id=number) == first
    again = unit(ready, first)
    assert (again.state, again.cycle_id, again.attempts) == (UnitState.QUEUED, number, 0)
    assert again.finished_at is None
    with ready.sessions() as session:
        messages = select(func.count()).where(Outbox.unit_id == first)
        assert session.scalar(messages) == 2
    with ready.sessions.begin() as session, pytest.raises(LeaseLost):
        units.finish(session, claim, {})


def test_what_is_done_or_dead_stays_so(ready: Context) -> None:
    done, dead = ask(ready, "scan", "done"), ask(ready, "scan", "dead")
    work(ready, done)
    with ready.sessions.begin() as session:
        claim = units.claim(session, dead, "worker", 60.0)
        assert claim is not None
        units.fail(session, claim, "boom", "", False, 0.0)
    assert (ask(ready, "scan", "done"), ask(ready, "scan", "dead")) == (done, dead)
    assert [unit(ready, one).state for one in (done, dead)] == [UnitState.DONE, UnitState.DEAD]


def test_an_open_unit_is_waited_for_by_the_cycle_that_asks(ready: Context) -> None:
    number = start(ready)
    shared = ask(ready, "embed")  # by an import, after the cycle began
    assert unit(ready, shared).cycle_id is None
    assert ask(ready, "embed", cycle_id=number) == shared
    with ready.sessions.begin() as session:
        finish_units(session, ready, "score_pool", {})
        cycles.advance(session, ready, number)
    assert cycle(ready, number).state == CycleState.EXPLAINING
    work(ready, shared)
    assert cycle(ready, number).state == CycleState.SELECTING


@pytest.mark.parametrize("gone", [True, False])
def test_a_cycle_whose_step_is_gone_asks_for_it_again(ready: Context, gone: bool) -> None:
    number = start(ready)
    with ready.sessions.begin() as session:
        finish_units(session, ready, "score_pool", {})
        cycles.advance(session, ready, number)
        step = session.scalars(select(Unit).where(Unit.kind == "select")).one()
        if gone:
            session.query(Outbox).filter_by(unit_id=step.id).delete()
            session.delete(step)
        else:
            units.cancel(session, step.id)
    with ready.sessions.begin() as session:
        cycles.advance_waiting(session, ready)
        cycles.advance_waiting(session, ready)
    assert states(ready, "select") == [UnitState.QUEUED]


# --- scans of models that are champions no more


def promote(context: Context, number: int) -> None:
    with context.sessions.begin() as session:
        model = session.merge(make_model(number))
        session.flush()
        registry.promote(session, model, "person", {})


def waiting(context: Context) -> list[int]:
    """Numbers of the models whose scans wait."""
    with context.sessions() as session:
        query = select(Unit).where(Unit.kind == "scan", Unit.state == UnitState.QUEUED)
        return [int(one.payload["model"], 16) for one in session.scalars(query)]


def test_scans_for_a_model_that_is_no_champion_any_more_are_withdrawn(ready: Context) -> None:
    for number in (2, 3, 4):
        promote(ready, number)
        assert waiting(ready) == [number] * FRAMES
    with ready.sessions.begin() as session:
        registry.rollback(session, "person")
    assert waiting(ready) == [3] * FRAMES


def test_a_scan_that_runs_is_not_withdrawn(ready: Context) -> None:
    promote(ready, 2)
    with ready.sessions.begin() as session:
        one = session.scalars(select(Unit.id).where(Unit.state == UnitState.QUEUED)).first()
        assert one is not None
        assert units.claim(session, one, "worker", 60.0)
    promote(ready, 3)
    assert unit(ready, one).state == UnitState.LEASED


def test_a_cycle_that_gathers_failures_keeps_the_scans_of_its_champion(ready: Context) -> None:
    with ready.sessions.begin() as session:
        request_scan(session, f"{0:064x}", "words")
    start(ready)
    promote(ready, 2)
    assert waiting(ready) == [1] + [2] * FRAMES


def test_a_cycle_that_verifies_waits_for_the_scans_of_the_newest_champion(ready: Context) -> None:
    number = start(ready)
    with ready.sessions.begin() as session:
        finish_units(session, ready, "score_pool", {})
        row = session.get_one(Cycle, number)
        model = make_model(2)
        session.add(model)
        session.flush()
        registry.promote(session, model, "gate", {}, number)
        cycles.close(session, row, True)
    promote(ready, 3)
    with ready.sessions.begin() as session:
        cycles.advance_waiting(session, ready)
    assert cycle(ready, number).state == CycleState.VERIFYING
    with ready.sessions.begin() as session:
        finish_units(session, ready, "scan", {})
        cycles.advance_waiting(session, ready)
    assert cycle(ready, number).state == CycleState.DONE
    with ready.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == FRAMES + 2

"""Parked units of a cycle: tried again only where their cycle can go on, and only one goes on."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from benchmarks.common.waiting import PATIENCE
from services import units
from services.context import Context
from services.cycle import cycles, redrive
from services.db.base import utc_now
from services.db.tables import FINISHED_CYCLES, Cycle, CycleState, Unit, UnitState
from services.errors import Conflict, NotFound
from tests.services.builders import add_champion, add_holdout_image
from tests.services.commands import CommandLine

STEPS = [
    ("select", CycleState.SELECTING),
    ("train", CycleState.TRAINING),
    ("gate", CycleState.GATING),
]


def _failed(context: Context, kind: str = "train") -> tuple[int, int]:
    """A cycle that failed with a parked unit; numbers of both."""
    with context.sessions.begin() as session:
        if not session.scalar(select(func.count()).select_from(Cycle)):
            add_champion(session)
            add_holdout_image(session)
        champion = f"{1:064x}"
        cycle = Cycle(policy="e2x", budget_boxes=9, champion_id=champion, state=kind)
        session.add(cycle)
        session.flush()
        key = f"{kind}:cycle:{cycle.id}:0"
        unit = units.enqueue(session, kind, key, {"cycle": cycle.id}, cycle_id=cycle.id)
        claim = units.claim(session, unit.id, "test", 60.0)
        assert claim is not None
        units.fail(session, claim, "disk_full", "no space left", False, 0.0)
        cycles.advance(session, context, cycle.id)
        assert cycle.state == CycleState.FAILED
        return cycle.id, unit.id


def _dead_scan(session: Session, cycle_id: int | None) -> int:
    unit = units.enqueue(session, "scan", "s", {}, cycle_id=cycle_id)
    claim = units.claim(session, unit.id, "test", 60.0)
    assert claim is not None
    units.fail(session, claim, "image_unreadable", "…", False, 0.0)
    return claim.unit_id


def _running(context: Context) -> list[int]:
    with context.sessions() as session:
        return list(session.scalars(select(Cycle.id).where(Cycle.state.not_in(FINISHED_CYCLES))))


def _redrive(context: Context, unit_id: int) -> None:
    with context.sessions.begin() as session:
        redrive.redrive(session, unit_id)


@pytest.mark.parametrize(("kind", "state"), STEPS)
def test_a_failed_cycle_goes_on_where_it_stood(context: Context, kind: str, state: str) -> None:
    number, unit_id = _failed(context, kind)

    _redrive(context, unit_id)

    with context.sessions.begin() as session:
        cycle = session.get_one(Cycle, number)
        assert (cycle.state, cycle.error, cycle.finished_at) == (state, None, None)
        assert session.get_one(Unit, unit_id).state == UnitState.QUEUED
        cycles.advance(session, context, number)
        cycles.advance(session, context, number)
    with context.sessions() as session:
        assert session.get_one(Cycle, number).state == state


def test_it_does_not_go_on_beside_another(context: Context) -> None:
    first, unit_id = _failed(context)
    with context.sessions.begin() as session:
        other = cycles.start(session, context).id

    with pytest.raises(Conflict, match=f"cycle {other} is running.*wait for it or cancel it"):
        _redrive(context, unit_id)

    with context.sessions() as session:
        cycle = session.get_one(Cycle, first)
        assert (cycle.state, cycle.error) == (CycleState.FAILED, "train: disk_full: no space left")
        assert session.get_one(Unit, unit_id).state == UnitState.DEAD


@pytest.mark.parametrize("state", [CycleState.DONE, CycleState.CANCELLED])
def test_what_ended_otherwise_stays_ended(context: Context, state: CycleState) -> None:
    number, unit_id = _failed(context)
    with context.sessions.begin() as session:
        session.get_one(Cycle, number).state = state

    with pytest.raises(Conflict, match=rf"cycle {number} is {state}.*e2x cycle run"):
        _redrive(context, unit_id)

    assert _running(context) == []


def test_other_units_of_a_finished_cycle_are_tried_again(context: Context) -> None:
    number, _unit = _failed(context)
    with context.sessions.begin() as session:
        scan = _dead_scan(session, number)

    _redrive(context, scan)

    assert _running(context) == []
    with context.sessions() as session:
        assert session.get_one(Unit, scan).state == UnitState.QUEUED


def test_cancelled_work_that_others_need_is_tried_again_and_that_of_a_cycle_is_not(
    context: Context,
) -> None:
    number, train = _failed(context)
    with context.sessions.begin() as session:
        scan = units.enqueue(session, "scan", "shared", {}).id
        session.get_one(Unit, train).state = UnitState.QUEUED
        for unit_id in (scan, train):
            assert units.cancel(session, unit_id)
    _redrive(context, scan)
    with pytest.raises(Conflict, match=f"was cancelled with cycle {number}"):
        _redrive(context, train)
    with context.sessions() as session:
        states = [session.get_one(Unit, one).state for one in (scan, train)]
    assert states == [UnitState.QUEUED, UnitState.CANCELLED]


def test_only_dead_units_are_tried_again(context: Context) -> None:
    _number, unit_id = _failed(context)
    _redrive(context, unit_id)
    with pytest.raises(Conflict, match="only a dead unit"):
        _redrive(context, unit_id)
    with pytest.raises(NotFound, match="no unit 99"):
        _redrive(context, 99)


@pytest.mark.parametrize("state", FINISHED_CYCLES)
def test_a_late_step_does_not_revive_a_cycle(context: Context, state: CycleState) -> None:
    number, _unit = _failed(context)
    model = f"{1:064x}"
    with context.sessions.begin() as session:
        cycle = session.get_one(Cycle, number)
        cycle.state = state
        session.flush()
        for late in (
            lambda: cycles.begin_labelling(session, context, cycle),
            lambda: cycles.begin_gating(session, cycle, model, "d" * 64),
            lambda: cycles.close(session, cycle, True),
            lambda: cycles.gather_again(cycle),
        ):
            with pytest.raises(Conflict, match=f"cycle {number} is {state}"):
                late()
        assert (cycle.state, cycle.challenger_id, cycle.promoted) == (state, None, None)


def test_cycles_that_are_started_at_once_are_one(context: Context) -> None:
    with context.sessions.begin() as session:
        add_champion(session)
        add_holdout_image(session)
    together = threading.Barrier(4)

    def start(_number: int) -> bool:
        together.wait(30 * PATIENCE)
        try:
            with context.sessions.begin() as session:
                cycles.start(session, context)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(4) as people:
        assert sum(people.map(start, range(4))) == 1
    assert len(_running(context)) == 1


def test_failed_cycles_that_are_redriven_at_once_go_on_one_by_one(context: Context) -> None:
    failed = [_failed(context)[1] for _ in range(3)]
    together = threading.Barrier(3)

    def again(unit_id: int) -> bool:
        together.wait(30 * PATIENCE)
        try:
            _redrive(context, unit_id)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(3) as people:
        assert sum(people.map(again, failed)) == 1
    assert len(_running(context)) == 1


def test_all_goes_on_with_the_others_and_tells_which_were_refused(line: CommandLine) -> None:
    with line.opened() as context:
        first, first_unit = _failed(context)
        second, second_unit = _failed(context, "gate")
        with context.sessions.begin() as session:
            scan = _dead_scan(session, None)

    ran = line.run("units", "redrive", "--all")

    assert ran.code == 1
    assert "redriven: 2" in ran.out
    said = " ".join(ran.out.split())
    assert f"unit {first_unit}: cycle {second} is running" in said
    with line.opened() as context, context.sessions() as session:
        states = {one.id: one.state for one in session.scalars(select(Unit))}
        assert states == {first_unit: "dead", second_unit: "queued", scan: "queued"}
        assert session.get_one(Cycle, first).state == CycleState.FAILED
    with line.opened() as context, context.sessions.begin() as session:
        cycle = session.get_one(Cycle, second)
        cycle.state, cycle.finished_at = CycleState.DONE, utc_now()
    assert "redriven: 1" in line.done("units", "redrive", "--all").out

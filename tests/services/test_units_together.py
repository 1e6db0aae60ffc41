"""Quick units from one claim to one commit, on each database."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.orm import Session

from benchmarks.common.waiting import PATIENCE
from services import units
from services.context import Context
from services.cycle import after_unit
from services.db.base import utc_now
from services.db.engine import reading
from services.db.tables import Audit, Unit, UnitState
from services.errors import LeaseLost
from services.units.batches import enqueue_all
from services.units.pipeline import StageContext, Store
from services.units.resident import Resident
from services.worker import group, reconciler, turn
from tests.services.together import KIND, LEASE_S, Work, ask, messages, states, writes


def run(context: Context, ids: Sequence[int]) -> dict[int, str]:
    return group.run(context, Resident(), ids, "me")


def written(context: Context) -> Counter[int]:
    with reading(context.sessions) as session:
        return Counter(int(one) for one in session.scalars(select(Audit.subject)))


def test_each_of_many_is_done_once_with_its_own_result(
    context: Context, set_work: Callable[[Work], None]
) -> None:
    ids = ask(context, 30)
    assert run(context, ids) == dict.fromkeys(ids, "done")
    assert run(context, ids) == {}  # a message that comes again
    assert written(context) == Counter(ids)
    with reading(context.sessions) as session:
        for one in ids:
            unit = units.find(session, one)
            assert (unit.result, unit.attempts, unit.lease_until) == ({"unit": one}, 1, None)
            assert unit.finished_at is not None


def test_only_free_units_that_were_never_tried_are_taken_together(
    context: Context, set_work: Callable[[Work], None]
) -> None:
    """One that takes its worker down each time must not use up its neighbours' tries."""
    ids = ask(context, 6)
    taken, lost, failed, later, *free = ids
    with context.sessions.begin() as session:
        assert units.claim(session, taken, "other", LEASE_S)
        units.find(session, lost).lost = 1
        units.find(session, failed).attempts = 1
        units.find(session, later).not_before = utc_now() + timedelta(seconds=600)
    with context.sessions.begin() as session:
        claims = units.claim_all(session, ids, "me", LEASE_S)
    assert [one.unit_id for one in claims] == free
    assert {(one.attempt, one.token) for one in claims} == {(1, 1)}


def test_workers_that_claim_the_same_units_at_once_share_them(
    context: Context, set_work: Callable[[Work], None]
) -> None:
    ids = ask(context, 40)
    got: list[list[int]] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        with context.sessions.begin() as session:
            got.append([one.unit_id for one in units.claim_all(session, ids, "me", LEASE_S)])

    workers = [threading.Thread(target=work) for _ in range(4)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    assert sorted(number for mine in got for number in mine) == ids
    assert len(got) == 4


def test_a_late_write_of_an_expired_lease_is_refused_and_costs_no_other(
    context: Context, set_work: Callable[[Work], None]
) -> None:
    ids = ask(context, 5)
    late = ids[2]

    def overtaken(stage: StageContext, claim: units.Claim) -> Store:
        if claim.unit_id == late:  # its lease runs out, and another worker does it
            with context.sessions.begin() as session:
                units.find(session, late).lease_until = utc_now().replace(year=2000)
            with context.sessions.begin() as session:
                assert units.requeue_expired(session, late)
            with context.sessions.begin() as session:
                other = units.claim(session, late, "other", LEASE_S)
                assert other is not None
                units.finish(session, other, {"by": "other"})
        return writes(stage, claim)

    set_work(overtaken)
    assert run(context, ids) == {**dict.fromkeys(ids, "done"), late: "lost"}
    assert written(context) == Counter(one for one in ids if one != late)
    with reading(context.sessions) as session:
        assert units.find(session, late).result == {"by": "other"}


@pytest.mark.parametrize("where", ["run", "store"])
def test_an_error_is_that_of_its_unit_alone(
    context: Context, set_work: Callable[[Work], None], where: str
) -> None:
    ids = ask(context, 5)
    bad = ids[1]

    def fails(stage: StageContext, claim: units.Claim) -> Store:
        if claim.unit_id != bad:
            return writes(stage, claim)
        if where == "run":
            raise ValueError("odd")

        def store(session: Session) -> dict[str, Any]:
            writes(stage, claim)(session)
            session.flush()
            raise ValueError("odd")

        return store

    set_work(fails)
    assert run(context, ids) == {**dict.fromkeys(ids, "done"), bad: "queued"}
    assert written(context) == Counter(one for one in ids if one != bad)
    with reading(context.sessions) as session:
        unit = units.find(session, bad)
        assert (unit.state, unit.attempts, unit.error_code) == ("queued", 1, "unexpected")
        assert "odd" in (unit.error or "")
    assert messages(context)[bad] == 2


def test_a_worker_told_to_stop_gives_all_back(
    context: Context, set_work: Callable[[Work], None]
) -> None:
    ids = ask(context, 4)

    def stops(stage: StageContext, claim: units.Claim) -> Store:
        if claim.unit_id == ids[2]:
            raise SystemExit(0)
        return writes(stage, claim)

    set_work(stops)
    with pytest.raises(SystemExit):
        run(context, ids)
    assert states(context, ids) == [UnitState.QUEUED] * 4
    assert messages(context) == Counter(dict.fromkeys(ids, 2))
    assert not written(context)
    set_work(writes)
    assert run(context, ids) == dict.fromkeys(ids, "done")  # as if never tried


def test_units_that_turn_slow_are_given_back_to_others(
    context: Context, set_work: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "HELD_S", 0.0)
    first, *rest = ids = ask(context, 5)
    assert run(context, ids) == {first: "done"} | dict.fromkeys(rest, "given_back")
    assert states(context, ids) == [UnitState.DONE] + [UnitState.QUEUED] * 4
    assert messages(context) == Counter({first: 1} | dict.fromkeys(rest, 2))


def test_what_of_a_message_takes_too_long_is_announced_anew(
    context: Context, set_work: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "TURN_S", 0.0)
    first, *rest = ids = ask(context, 4)
    turn.take(context, Resident(), ids, KIND, "me")
    assert states(context, ids) == [UnitState.DONE] + [UnitState.QUEUED] * 3
    assert messages(context) == Counter({first: 1} | dict.fromkeys(rest, 2))


def test_all_leases_are_kept_while_one_unit_runs(
    sqlite_context: Context, set_work: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "HELD_S", 600.0)
    context = sqlite_context
    context.settings.workers.lease_s = 0.8 * PATIENCE
    ids = ask(context, 3)
    seen: list[int] = []

    def slow(stage: StageContext, claim: units.Claim) -> Store:
        until = time.monotonic() + PATIENCE * (2.0 if claim.unit_id == ids[0] else 0.0)
        while time.monotonic() < until:
            stage.heartbeat()
            seen.append(reconciler.reconcile(context, depth=lambda _queue: 0).requeued)
            time.sleep(0.02)
        return writes(stage, claim)

    set_work(slow)
    assert run(context, ids) == dict.fromkeys(ids, "done")
    assert len(seen) > 3
    assert sum(seen) == 0


def test_the_heartbeat_tells_of_that_units_lease_alone(
    sqlite_context: Context, set_work: Callable[[Work], None]
) -> None:
    context = sqlite_context
    context.settings.workers.lease_s = 0.3 * PATIENCE
    ids = ask(context, 3)
    told: list[int] = []

    def watch(stage: StageContext, claim: units.Claim) -> Store:
        if claim.unit_id == ids[0]:
            with context.sessions.begin() as session:
                units.cancel(session, ids[1])
        until = time.monotonic() + PATIENCE * (20.0 if claim.unit_id == ids[1] else 0.0)
        try:
            stage.heartbeat()
            while time.monotonic() < until:
                stage.heartbeat()
                time.sleep(0.02)
        except LeaseLost:
            told.append(claim.unit_id)
            raise
        return writes(stage, claim)

    set_work(watch)
    assert run(context, ids) == {**dict.fromkeys(ids, "done"), ids[1]: "lost"}
    assert told == [ids[1]]
    assert written(context) == Counter((ids[0], ids[2]))


def test_many_take_as_many_statements_as_few(
    context: Context, set_work: Callable[[Work], None]
) -> None:
    statements: list[str] = []
    event.listen(
        context.engine,
        "before_cursor_execute",
        lambda _c, _u, statement, *_: statements.append(statement),
    )

    def taken(number: int) -> int:
        ids = ask(context, number)[-number:]
        statements.clear()
        assert set(run(context, ids).values()) == {"done"}
        return sum(not one.startswith("INSERT INTO audit") for one in statements)  # the stage's

    with context.sessions.begin() as session:
        enqueue_all(session, KIND, {f"{KIND}:few{i}": {} for i in range(2)})
        few_ids = list(session.scalars(select(Unit.id).order_by(Unit.id)))
    statements.clear()
    assert len(run(context, few_ids)) == 2
    few = sum(not one.startswith("INSERT INTO audit") for one in statements)
    assert taken(80) == few, Counter(statements).most_common(3)
    assert few <= 16, statements  # SQLite: with BEGIN and the count of who computes


def test_a_group_moves_its_cycles_once(
    context: Context, set_work: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[int | None] = []
    monkeypatch.setattr(
        "services.cycle.cycles.advance", lambda _session, _context, cycle_id: moved.append(cycle_id)
    )
    claims = [
        units.Claim(unit_id=i, token=1, kind="train", payload={}, attempt=1, cycle_id=cycle_id)
        for i, cycle_id in enumerate((7, 7, None, 3, 7))
    ]
    with context.sessions.begin() as session:
        after_unit.after_all(session, context, claims)
    assert moved == [3, 7]

"""The state machine of a unit, on each database."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import event, func, select, update

from services import units
from services.context import Context
from services.db.base import utc_now
from services.db.engine import reading
from services.db.tables import TERMINAL, Outbox, Unit, UnitState
from services.errors import Conflict, InvalidRequest, LeaseLost, NotFound
from services.units.batches import enqueue_all

LEASE_S = 60.0


def enqueue(context: Context, key: str = "a", **options: int) -> int:
    with context.sessions.begin() as session:
        return units.enqueue(session, "scan", key, {"image": key}, **options).id


def claim(context: Context, unit_id: int, lease_s: float = LEASE_S) -> units.Claim:
    with context.sessions.begin() as session:
        taken = units.claim(session, unit_id, "me", lease_s)
    assert taken is not None
    return taken


def state(context: Context, unit_id: int) -> str:
    with reading(context.sessions) as session:
        return units.find(session, unit_id).state


def messages(context: Context) -> int:
    with reading(context.sessions) as session:
        return session.scalar(select(func.count()).select_from(Outbox)) or 0


def test_same_key_is_one_unit_and_one_message(context: Context) -> None:
    assert enqueue(context) == enqueue(context)
    assert messages(context) == 1


def test_concurrent_enqueues_of_one_key_make_one_unit(context: Context) -> None:
    found: list[int] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        found.append(enqueue(context))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert messages(context) == 1


def test_an_unknown_stage_is_refused(context: Context) -> None:
    with context.sessions.begin() as session, pytest.raises(InvalidRequest, match="nonsense"):
        units.enqueue(session, "nonsense", "k", {})


def test_a_rolled_back_enqueue_leaves_no_message(context: Context) -> None:
    def enqueue_and_fail() -> None:
        with context.sessions.begin() as session:
            units.enqueue(session, "scan", "gone", {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        enqueue_and_fail()
    assert messages(context) == 0


def test_only_one_of_many_claims_wins(context: Context) -> None:
    unit_id = enqueue(context)
    won: list[units.Claim] = []
    barrier = threading.Barrier(6)

    def work() -> None:
        barrier.wait()
        with context.sessions.begin() as session:
            taken = units.claim(session, unit_id, "me", LEASE_S)
        if taken is not None:
            won.append(taken)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [c.attempt for c in won] == [1]


def test_finish_keeps_the_result(context: Context) -> None:
    taken = claim(context, enqueue(context))
    with context.sessions.begin() as session:
        units.finish(session, taken, {"failures": 2})
    with reading(context.sessions) as session:
        unit = units.find(session, taken.unit_id)
        assert (unit.state, unit.result) == (UnitState.DONE, {"failures": 2})
        assert unit.finished_at is not None
        assert unit.lease_until is None


def test_a_stale_worker_writes_nothing(context: Context) -> None:
    unit_id = enqueue(context)
    stale = claim(context, unit_id, lease_s=-1)
    fresh = claim(context, unit_id)
    assert fresh.token > stale.token
    with context.sessions.begin() as session:
        for write in (
            lambda: units.finish(session, stale, {}),
            lambda: units.renew(session, stale, LEASE_S),
            lambda: units.fail(session, stale, "x", "x", True, 0),
            lambda: units.release(session, stale),
        ):
            with pytest.raises(LeaseLost):
                write()
    assert state(context, unit_id) == UnitState.LEASED


def test_a_failed_try_waits_longer_each_time_and_is_parked_in_the_end(context: Context) -> None:
    unit_id = enqueue(context)
    waits = []
    for attempt in (1, 2, 3):
        with context.sessions.begin() as session:
            session.execute(update(Unit).values(not_before=utc_now()))
        taken = claim(context, unit_id)
        assert taken.attempt == attempt
        before = utc_now()
        with context.sessions.begin() as session:
            units.fail(session, taken, "boom", "traceback", True, backoff_s=100)
        with reading(context.sessions) as session:
            waits.append(units.find(session, unit_id).not_before - before)
    assert waits[0] >= timedelta(seconds=100)
    assert waits[1] >= timedelta(seconds=200)
    assert state(context, unit_id) == UnitState.DEAD
    with reading(context.sessions) as session:
        assert [u.error_code for u in units.parked(session)] == ["boom"]


def test_a_unit_that_waits_after_a_failure_is_not_claimed(context: Context) -> None:
    taken = claim(context, enqueue(context))
    with context.sessions.begin() as session:
        units.fail(session, taken, "boom", "", True, backoff_s=100)
    with context.sessions.begin() as session:
        assert units.claim(session, taken.unit_id, "me", LEASE_S) is None


def test_what_cannot_be_retried_is_parked_at_once(context: Context) -> None:
    taken = claim(context, enqueue(context))
    with context.sessions.begin() as session:
        assert units.fail(session, taken, "bad", "why", False, 0) == UnitState.DEAD


def test_released_units_keep_their_tries(context: Context) -> None:
    unit_id = enqueue(context)
    for _ in range(5):
        taken = claim(context, unit_id)
        assert taken.attempt == 1
        with context.sessions.begin() as session:
            units.release(session, taken)


def test_a_unit_that_kills_its_workers_is_parked(context: Context) -> None:
    unit_id = enqueue(context)
    for _ in range(context.settings.workers.max_lost):
        claim(context, unit_id, lease_s=-1)
    with context.sessions.begin() as session:
        assert units.claim(session, unit_id, "me", LEASE_S) is None
        parked = units.park_exhausted(session, unit_id)
        assert parked is not None
        assert parked.kind == "scan"
    assert state(context, unit_id) == UnitState.DEAD
    with context.sessions.begin() as session:
        assert units.park_exhausted(session, unit_id) is None


def test_a_power_cut_uses_up_no_try(context: Context) -> None:
    """All leases run out at once, time and again; every try is left for errors of its own."""
    unit_id = enqueue(context)
    for lost in range(1, context.settings.workers.max_lost):
        claim(context, unit_id, lease_s=-1)
        with context.sessions.begin() as session:
            assert units.requeue_expired(session, unit_id)
            unit = units.find(session, unit_id)
            assert (unit.attempts, unit.lost) == (0, lost)
    for attempt in (1, 2, 3):
        taken = claim(context, unit_id)
        assert taken.attempt == attempt
        with context.sessions.begin() as session:
            units.fail(session, taken, "boom", "traceback", True, backoff_s=0)
    with reading(context.sessions) as session:
        assert units.find(session, unit_id).error_code == "boom"


def test_the_next_claim_counts_a_lost_worker_too(context: Context) -> None:
    unit_id = enqueue(context)
    claim(context, unit_id, lease_s=-1)
    assert claim(context, unit_id).attempt == 1
    with context.sessions.begin() as session:
        unit = units.find(session, unit_id)
        assert (unit.attempts, unit.lost) == (1, 1)


def test_a_redriven_unit_forgets_the_workers_that_it_lost(context: Context) -> None:
    unit_id = enqueue(context)
    for _ in range(context.settings.workers.max_lost):
        claim(context, unit_id, lease_s=-1)
    with context.sessions.begin() as session:
        assert units.park_exhausted(session, unit_id)
        parked = units.find(session, unit_id)
        assert (parked.attempts, parked.lost) == (0, context.settings.workers.max_lost)
        assert units.redrive(session, unit_id).lost == 0
    assert claim(context, unit_id).attempt == 1


@pytest.mark.parametrize("ending", sorted(TERMINAL))
def test_no_way_out_of_a_terminal_state_but_redrive(context: Context, ending: str) -> None:
    unit_id = enqueue(context)
    taken = claim(context, unit_id)
    with context.sessions.begin() as session:
        session.execute(update(Unit).values(state=ending))
    with context.sessions.begin() as session:
        assert units.claim(session, unit_id, "me", LEASE_S) is None
        assert units.park_exhausted(session, unit_id) is None
        assert not units.requeue_expired(session, unit_id)
        assert not units.cancel(session, unit_id)
        for write in (
            lambda: units.finish(session, taken, {}),
            lambda: units.renew(session, taken, LEASE_S),
            lambda: units.fail(session, taken, "x", "x", True, 0),
            lambda: units.release(session, taken),
        ):
            with pytest.raises(LeaseLost):
                write()
    assert state(context, unit_id) == ending
    with context.sessions.begin() as session:
        if ending != UnitState.DONE:
            assert units.redrive(session, unit_id).state == UnitState.QUEUED
        else:
            with pytest.raises(Conflict, match=ending):
                units.redrive(session, unit_id)


def test_a_redriven_unit_has_all_its_tries(context: Context) -> None:
    taken = claim(context, enqueue(context))
    with context.sessions.begin() as session:
        units.fail(session, taken, "bad", "why", False, 0)
    with context.sessions.begin() as session:
        unit = units.redrive(session, taken.unit_id)
        assert (unit.attempts, unit.error, unit.finished_at) == (0, None, None)
    assert claim(context, taken.unit_id).attempt == 1
    assert messages(context) == 2


def test_redrive_of_nothing_says_so(context: Context) -> None:
    with context.sessions.begin() as session, pytest.raises(NotFound):
        units.redrive(session, 77)


def test_a_cancelled_unit_is_taken_from_its_worker(context: Context) -> None:
    taken = claim(context, enqueue(context))
    with context.sessions.begin() as session:
        seen = units.find(session, taken.unit_id)
        assert units.cancel(session, taken.unit_id)
        assert seen.state == UnitState.CANCELLED  # an object that was read before is fresh
    with context.sessions.begin() as session, pytest.raises(LeaseLost):
        units.finish(session, taken, {})


def test_an_expired_unit_is_queued_again_with_a_message(context: Context) -> None:
    unit_id = enqueue(context)
    claim(context, unit_id, lease_s=-1)
    with context.sessions.begin() as session:
        assert units.requeue_expired(session, unit_id)
        assert not units.requeue_expired(session, unit_id)
    assert state(context, unit_id) == UnitState.QUEUED
    assert messages(context) == 2


def test_counts_name_every_state(context: Context) -> None:
    enqueue(context, "a")
    claim(context, enqueue(context, "b"))
    with reading(context.sessions) as session:
        found = units.counts(session)
    assert found == {"queued": 1, "leased": 1, "done": 0, "dead": 0, "cancelled": 0}


def test_a_reader_is_not_held_up_by_a_writer(context: Context) -> None:
    enqueue(context)
    with context.sessions.begin() as writer:
        units.enqueue(writer, "scan", "b", {})
        with reading(context.sessions) as session:  # would wait 30 s if it took the write lock
            assert units.counts(session)["queued"] == 1


def test_many_are_asked_for_in_a_few_statements(context: Context) -> None:
    with context.sessions.begin() as session:
        units.enqueue(session, "scan", "s:3", {"image": "3"})
    sent: list[str] = []
    event.listen(context.engine, "before_cursor_execute", lambda *given: sent.append(str(given[2])))
    with context.sessions.begin() as session:
        wanted = {f"s:{n}": {"image": str(n)} for n in range(300)}
        assert enqueue_all(session, "scan", wanted) == 299
        assert enqueue_all(session, "scan", wanted) == 0
        with pytest.raises(InvalidRequest, match="no stage"):
            enqueue_all(session, "gone", wanted)
    assert len(sent) < 12, sent

    with context.sessions() as session:
        rows = session.scalars(select(Unit)).all()
        announced = Counter(session.scalars(select(Outbox.unit_id)))
    assert sorted(row.key for row in rows) == sorted(wanted)
    assert all(row.payload == wanted[row.key] for row in rows)
    assert {row.state for row in rows} == {UnitState.QUEUED}
    assert announced == Counter(row.id for row in rows)

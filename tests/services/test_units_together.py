"""Quick units from one claim to one commit, on each database."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session

from services import units
from services.context import Context
from services.cycle import after_unit
from services.db.base import utc_now
from services.db.engine import reading
from services.db.tables import Audit, Outbox, Unit, UnitState
from services.errors import LeaseLost
from services.telemetry import counts
from services.telemetry.counts import Recorder
from services.telemetry.pace import MOST, Pace
from services.units import pipeline, threads
from services.units.batches import enqueue_all
from services.units.pipeline import Stage, StageContext, Store
from services.units.resident import Resident
from services.worker import alive, bundles, group, reconciler, redis_server, turn
from services.worker.app import make_app
from services.worker.bundles import Bundler, Waiting
from services.worker.relay import Relay

KIND = "together_test"
LEASE_S = 60.0
Work = Callable[[StageContext, units.Claim], Store]


@pytest.fixture
def set_work() -> Iterator[Callable[[Work], None]]:
    """Registers a stage that does what the test gives it."""
    module = ModuleType("e2x_together_stage")
    sys.modules[module.__name__] = module
    pipeline.register(Stage(KIND, "explain", f"{module.__name__}:run"))
    module.run = writes  # type: ignore[attr-defined]
    yield lambda function: setattr(module, "run", function)
    del pipeline.STAGES[KIND], sys.modules[module.__name__]


def writes(_stage: StageContext, claim: units.Claim) -> Store:
    """One row that only the fence keeps from being written twice, and a result of its own."""

    def store(session: Session) -> dict[str, Any]:
        session.add(Audit(actor="test", action="stored", subject=str(claim.unit_id)))
        return {"unit": claim.unit_id}

    return store


def ask(context: Context, number: int) -> list[int]:
    with context.sessions.begin() as session:
        enqueue_all(session, KIND, {f"{KIND}:{i:03d}": {"number": i} for i in range(number)})
        return list(session.scalars(select(Unit.id).where(Unit.kind == KIND).order_by(Unit.id)))


def run(context: Context, ids: Sequence[int]) -> dict[int, str]:
    return group.run(context, Resident(), ids, "me")


def states(context: Context, ids: Sequence[int]) -> list[str]:
    with reading(context.sessions) as session:
        return [units.find(session, one).state for one in ids]


def written(context: Context) -> Counter[int]:
    with reading(context.sessions) as session:
        return Counter(int(one) for one in session.scalars(select(Audit.subject)))


def messages(context: Context) -> Counter[int]:
    with reading(context.sessions) as session:
        return Counter(session.scalars(select(Outbox.unit_id)))


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
    context.settings.workers.lease_s = 0.8
    ids = ask(context, 3)
    seen: list[int] = []

    def slow(stage: StageContext, claim: units.Claim) -> Store:
        until = time.monotonic() + (2.0 if claim.unit_id == ids[0] else 0.0)
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
    context.settings.workers.lease_s = 0.3
    ids = ask(context, 3)
    told: list[int] = []

    def watch(stage: StageContext, claim: units.Claim) -> Store:
        if claim.unit_id == ids[0]:
            with context.sessions.begin() as session:
                units.cancel(session, ids[1])
        until = time.monotonic() + (20.0 if claim.unit_id == ids[1] else 0.0)
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


def test_quick_units_go_together_slow_ones_alone() -> None:
    pace = Pace()
    assert pace.group("scan") == 1
    for _ in range(30):
        pace.took("scan", 0.001)
        pace.took("explain", 10.0)
    assert pace.group("scan") == MOST
    assert pace.group("explain") == 1
    for _ in range(30):
        pace.took("scan", 10.0)
    assert pace.group("scan") == 1


def waiting(number: int, **values: Any) -> Waiting:
    told = {"unit_id": number, "queue": "explain", "priority": 0, "kind": KIND, "tried": False}
    return Waiting(id=number, **{**told, "created_at": utc_now(), **values})


def told(broker: str, **paces: float) -> None:
    client = redis_server.client(broker)
    for kind, seconds in paces.items():
        client.hset(counts.PACES, kind, str(seconds))
    client.close()


def test_messages_hold_as_much_as_workers_have_told(broker: str) -> None:
    told(broker, **{KIND: 0.01, "slow": 10.0})
    rows = [waiting(i) for i in range(100)] + [waiting(100 + i, kind="slow") for i in range(3)]
    sizes = [len(message) for message in Bundler(broker).divide(rows)]
    assert sizes == [50, 50, 1, 1, 1]


def test_of_a_kind_nobody_has_told_of_some_go_together_where_very_many_wait(broker: str) -> None:
    few = list(Bundler(broker).divide([waiting(i) for i in range(40)]))
    assert [len(one) for one in few] == [1] * 40
    many = list(Bundler(broker).divide([waiting(i) for i in range(1000)]))
    assert {len(one) for one in many} == {bundles.UNKNOWN_MOST}
    assert sum(len(one) for one in many) == 1000


def test_a_message_is_of_one_queue_kind_and_priority_and_none_was_tried(broker: str) -> None:
    told(broker, **{KIND: 0.001, "index": 0.001})
    rows = [
        waiting(0, priority=5),
        waiting(1),
        waiting(2, tried=True),
        waiting(3, kind="index", queue="index"),
        waiting(4, priority=5),
        waiting(5),
    ]
    found = [[row.id for row in message] for message in Bundler(broker).divide(rows)]
    assert found == [[0, 4], [1, 5], [2], [3]]


def test_a_worker_of_before_is_sent_units_one_by_one(broker: str) -> None:
    """It would take the first of a message and leave the others until they are missed."""
    told(broker, **{KIND: 0.001, "index": 0.001})
    alive.Giver(broker, alive.Sign(alive.WORKER, "new", ("explain", "index"))).give()
    rows = [waiting(i) for i in range(3)] + [waiting(9 + i, queue="index") for i in range(3)]
    assert [len(one) for one in Bundler(broker).divide(rows)] == [3, 3]
    client = redis_server.client(broker)
    said = {"kind": alive.WORKER, "name": "old", "queues": ["explain"]}
    client.set(f"{alive.PREFIX}worker:old@h:1", json.dumps(said))
    client.close()
    assert [len(one) for one in Bundler(broker).divide(rows)] == [1, 1, 1, 3]


def test_the_relay_sends_quick_units_in_few_messages(
    sqlite_context: Context, broker: str, set_work: Callable[[Work], None]
) -> None:
    told(broker, **{KIND: 0.005})
    ids = ask(sqlite_context, 250)
    relay = Relay(sqlite_context, make_app(sqlite_context.settings, sqlite_context.project))
    assert relay.publish() == 250
    assert relay.publish() == 0
    client = redis_server.client(broker)
    assert sum(int(str(client.llen(key))) for key in client.scan_iter("explain*")) == 3
    client.close()
    assert messages(sqlite_context) == Counter(ids)


def test_a_group_tells_the_relay_what_its_units_take(
    sqlite_context: Context, broker: str, set_work: Callable[[Work], None]
) -> None:
    recorder = Recorder(partial(redis_server.client, broker))
    ids = ask(sqlite_context, 20)
    turn.take(sqlite_context, Resident(), ids, KIND, "me", recorder)
    assert states(sqlite_context, ids) == [UnitState.DONE] * 20
    client = redis_server.client(broker)
    assert counts.paces(client)[KIND] > 0
    client.close()


def test_processes_of_this_host_share_its_cores(
    context: Context, set_work: Callable[[Work], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process with many claims computes one of them, and another host has cores of its own."""
    monkeypatch.setattr(threads, "cores", lambda: 8)
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    ids = ask(context, 12)
    with context.sessions.begin() as session:
        units.claim_all(session, ids[:6], "here:1", LEASE_S)
        units.claim_all(session, ids[6:9], "elsewhere:1", LEASE_S)
    assert threads.available(context) == 8
    with context.sessions.begin() as session:
        units.claim_all(session, ids[9:], "here:2", LEASE_S)
        assert session.scalar(select(func.count()).where(Unit.state == UnitState.LEASED)) == 12
    assert threads.available(context) == 4

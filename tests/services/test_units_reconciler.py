"""The reconciler and the relay look only at rows, and at how many messages wait."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from kombu.exceptions import OperationalError
from sqlalchemy import func, select, update

from benchmarks.common.projects import make_context
from benchmarks.common.waiting import PATIENCE
from services import units
from services.context import Context
from services.db.base import utc_now
from services.db.engine import reading
from services.db.tables import Outbox, Unit, UnitState
from services.upkeep import rows
from services.worker import reconciler
from services.worker.app import make_app
from services.worker.reconciler import Reconciled, reconcile
from services.worker.relay import Relay

LONG_AGO = timedelta(hours=5)


def enqueue(context: Context, key: str = "a", priority: int = 0) -> int:
    with context.sessions.begin() as session:
        return units.enqueue(session, "scan", key, {}, priority=priority).id


def publish_all(context: Context, age: timedelta) -> None:
    """As if every message had been sent, and the units had waited since."""
    with context.sessions.begin() as session:
        session.execute(update(Outbox).values(published_at=utc_now() - age))
        session.execute(update(Unit).values(not_before=utc_now() - age))


def unpublished(context: Context) -> int:
    with reading(context.sessions) as session:
        waiting = select(func.count()).where(Outbox.published_at.is_(None))
        return session.scalar(waiting) or 0


def empty(_queue: str) -> int:
    return 0


def long(_queue: str) -> int:
    return 1000


def test_a_lost_message_is_sent_again_once(context: Context) -> None:
    enqueue(context)
    publish_all(context, timedelta(seconds=context.settings.workers.resend_after_s + 1))
    assert reconcile(context, empty) == Reconciled(0, 0, resent=1)
    assert reconcile(context, empty) == Reconciled(0, 0, 0)  # one is on its way
    assert unpublished(context) == 1


def test_a_message_that_was_just_sent_is_not_sent_again(context: Context) -> None:
    enqueue(context)
    publish_all(context, timedelta(seconds=1))
    assert reconcile(context, empty) == Reconciled(0, 0, 0)


def take(context: Context, unit_id: int, age: timedelta) -> None:
    """As if a worker had a unit now that was asked for so long ago."""
    with context.sessions.begin() as session:
        session.execute(update(Unit).where(Unit.id == unit_id).values(not_before=utc_now() - age))
        assert units.claim(session, unit_id, "alive", 60) is not None


def test_a_unit_in_a_long_queue_waits_its_turn(context: Context) -> None:
    enqueue(context)
    publish_all(context, LONG_AGO)
    assert reconcile(context, long) == Reconciled(0, 0, 0)


def test_a_unit_is_sent_again_when_one_that_came_long_after_it_was_taken(context: Context) -> None:
    enqueue(context)
    later = enqueue(context, "later")
    publish_all(context, LONG_AGO)
    take(context, later, timedelta(0))
    assert reconcile(context, long) == Reconciled(0, 0, resent=1)
    assert reconcile(context, long) == Reconciled(0, 0, 0)
    assert unpublished(context) == 1


def test_a_unit_is_not_overtaken_by_its_neighbour_nor_by_one_more_urgent(context: Context) -> None:
    enqueue(context)
    neighbour, urgent = enqueue(context, "neighbour"), enqueue(context, "urgent", priority=1)
    with context.sessions.begin() as session:
        other = units.enqueue(session, "embed", "of another queue", {}).id
    publish_all(context, LONG_AGO)
    resend_s = context.settings.workers.resend_after_s
    take(context, neighbour, LONG_AGO - timedelta(seconds=resend_s / 2))
    take(context, urgent, timedelta(0))
    take(context, other, timedelta(0))
    assert reconcile(context, long) == Reconciled(0, 0, 0)


def test_who_has_overtaken_long_ago_says_nothing_of_what_is_announced_now(context: Context) -> None:
    later = enqueue(context, "later")
    take(context, later, timedelta(minutes=10))
    for number in range(3):
        enqueue(context, f"waits {number}")
    publish_all(context, timedelta(minutes=9))
    assert reconcile(context, long) == Reconciled(0, 0, 0)


def test_a_unit_that_waits_after_a_failure_is_left_alone(context: Context) -> None:
    unit_id = enqueue(context)
    publish_all(context, LONG_AGO)
    with context.sessions.begin() as session:
        later = utc_now() + timedelta(hours=1)
        session.execute(update(Unit).where(Unit.id == unit_id).values(not_before=later))
    assert reconcile(context, empty) == Reconciled(0, 0, 0)


def test_silent_workers_lose_their_units(context: Context) -> None:
    first, second, busy = enqueue(context, "a"), enqueue(context, "b"), enqueue(context, "c")
    with context.sessions.begin() as session:
        units.claim(session, first, "gone", -1)
        units.claim(session, busy, "alive", 60)
    for _ in range(context.settings.workers.max_lost):
        with context.sessions.begin() as session:
            units.claim(session, second, "gone", -1)
    assert reconcile(context, empty) == Reconciled(requeued=1, parked=1, resent=0)
    with reading(context.sessions) as session:
        assert units.find(session, first).state == UnitState.QUEUED
        assert units.find(session, second).state == UnitState.DEAD
        assert units.find(session, busy).state == UnitState.LEASED


def test_a_broker_that_is_away_counts_as_a_long_queue(context: Context) -> None:
    assert reconciler.broker_depth(context)("explain") == 1


def test_only_old_messages_are_forgotten(context: Context) -> None:
    enqueue(context, "a")
    assert rows.forget_published(context) == 0
    publish_all(context, timedelta(minutes=1))
    assert rows.forget_published(context) == 0
    publish_all(context, LONG_AGO)
    assert rows.forget_published(context) == 1
    assert reconcile(context, empty) == Reconciled(0, 0, resent=1)  # a unit that waits is not


@pytest.fixture
def on_memory(tmp_path: Path, sqlite_url: str, memory_broker: str) -> Iterator[Context]:
    """A project whose broker is Celery's own transport within one process."""
    wired = make_context(tmp_path / "m", sqlite_url, broker_url=memory_broker)
    yield wired
    wired.engine.dispose()


def test_the_relay_sends_what_is_due_in_order(on_memory: Context) -> None:
    plain, urgent, later = (
        enqueue(on_memory, "plain"),
        enqueue(on_memory, "urgent", priority=5),
        enqueue(on_memory, "later"),
    )
    with on_memory.sessions.begin() as session:
        soon = utc_now() + timedelta(hours=1)
        session.execute(update(Unit).where(Unit.id == later).values(not_before=soon))
    app = make_app(on_memory.settings, on_memory.project)
    with app.connection_for_read() as connection, connection.SimpleQueue("explain") as queue:
        relay = Relay(on_memory, app)
        assert relay.publish() == 2
        assert relay.publish() == 0
        got = [queue.get(timeout=5 * PATIENCE).payload[0][0] for _ in range(2)]
    assert got == [urgent, plain]
    assert unpublished(on_memory) == 1


def test_without_a_broker_messages_stay(sqlite_context: Context) -> None:
    enqueue(sqlite_context)
    relay = Relay(sqlite_context, make_app(sqlite_context.settings, sqlite_context.project))
    with pytest.raises(OperationalError):
        relay.publish()
    relay.reconnect()
    assert unpublished(sqlite_context) == 1

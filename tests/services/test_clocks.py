"""Clocks that jump: nothing waits for a day that a wrong clock named."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from benchmarks.common.projects import make_context
from benchmarks.common.waiting import PATIENCE
from services import units
from services.config.setting_groups import TriggerSettings
from services.context import Context
from services.cycle import cycles, triggers
from services.db.base import clock, utc_now
from services.db.tables import Annotation, Cycle, CycleState, LabelTask, Outbox, Role, Unit
from services.errors import Conflict
from services.labeling import queue
from services.models import registry
from services.upkeep import rows
from services.worker.app import make_app
from services.worker.beat import SteadyScheduler
from services.worker.reconciler import Reconciled, reconcile
from services.worker.relay import Relay
from tests.services.builders import (
    add_champion,
    add_holdout_image,
    add_task,
    finish_units,
    make_failure,
    make_image,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
JUMPS = pytest.mark.parametrize("ahead", [timedelta(hours=2), timedelta(days=400)])
LEASE_S = 60.0


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture(autouse=True)
def time_of_day() -> Iterator[Clock]:
    read = Clock()
    with clock(read):
        yield read


def empty(_queue: str) -> int:
    return 0


def enqueue(context: Context, key: str = "a") -> int:
    with context.sessions.begin() as session:
        return units.enqueue(session, "scan", key, {}).id


def claim(context: Context, unit_id: int) -> units.Claim | None:
    with context.sessions.begin() as session:
        return units.claim(session, unit_id, "me", LEASE_S)


@JUMPS
def test_a_lease_that_was_given_by_a_clock_ahead_is_over(
    context: Context, time_of_day: Clock, ahead: timedelta
) -> None:
    unit_id = enqueue(context)
    time_of_day.now = NOW + ahead
    lost = claim(context, unit_id)
    assert lost is not None
    time_of_day.now = NOW  # put right
    assert reconcile(context, empty).requeued == 1
    taken = claim(context, unit_id)
    assert taken is not None
    assert taken.token > lost.token


def test_a_lease_that_is_renewed_by_the_right_clock_holds(
    context: Context, time_of_day: Clock
) -> None:
    unit_id = enqueue(context)
    time_of_day.now = NOW + timedelta(days=400)
    mine = claim(context, unit_id)
    assert mine is not None
    time_of_day.now = NOW
    with context.sessions.begin() as session:
        units.renew(session, mine, LEASE_S)
    assert claim(context, unit_id) is None
    assert reconcile(context, empty) == Reconciled(0, 0, 0)


def test_the_lease_of_a_machine_whose_clock_differs_a_little_holds(
    context: Context, time_of_day: Clock
) -> None:
    unit_id = enqueue(context)
    time_of_day.now = NOW + timedelta(seconds=30)
    assert claim(context, unit_id) is not None
    time_of_day.now = NOW
    assert claim(context, unit_id) is None


@JUMPS
@pytest.mark.parametrize("how", ["queued", "failed", "released"])
def test_a_wait_that_began_in_the_future_is_over(
    context: Context, time_of_day: Clock, ahead: timedelta, how: str
) -> None:
    time_of_day.now = NOW + ahead
    unit_id = enqueue(context)
    if how != "queued":
        taken = claim(context, unit_id)
        assert taken is not None
        with context.sessions.begin() as session:
            if how == "failed":
                units.fail(session, taken, "boom", "", True, 100.0)
            else:
                units.release(session, taken)
    time_of_day.now = NOW
    assert claim(context, unit_id) is not None


def test_a_wait_of_another_age_in_the_row_alone_is_over(context: Context) -> None:
    unit_id = enqueue(context)
    with context.sessions.begin() as session:
        session.get_one(Unit, unit_id).not_before = NOW + timedelta(days=400)
    assert claim(context, unit_id) is not None


def test_a_right_wait_is_waited_for(context: Context, time_of_day: Clock) -> None:
    unit_id = enqueue(context)
    taken = claim(context, unit_id)
    assert taken is not None
    with context.sessions.begin() as session:
        units.fail(session, taken, "boom", "", True, 100.0)
    time_of_day.now = NOW + timedelta(seconds=99)
    assert claim(context, unit_id) is None
    time_of_day.now = NOW + timedelta(seconds=101)
    assert claim(context, unit_id) is not None


@JUMPS
def test_messages_of_the_future_are_sent_and_sent_again(
    tmp_path: Any, sqlite_url: str, memory_broker: str, time_of_day: Clock, ahead: timedelta
) -> None:
    context = make_context(tmp_path / "m", sqlite_url, broker_url=memory_broker)
    time_of_day.now = NOW + ahead
    unit_id = enqueue(context)
    time_of_day.now = NOW
    relay = Relay(context, make_app(context.settings, context.project))
    assert relay.publish() == 1
    with context.sessions.begin() as session:  # as if it had been sent by the wrong clock
        session.scalars(select(Outbox)).one().published_at = NOW + ahead
    assert reconcile(context, empty) == Reconciled(0, 0, resent=1)
    assert relay.publish() == 1
    assert rows.forget_published(context) == 1
    assert claim(context, unit_id) is not None
    context.engine.dispose()


# --- label tasks


def task(context: Context) -> int:
    with context.sessions.begin() as session:
        add_champion(session)
        image = make_image(1)
        session.add(image)
        row = Cycle(policy="e2x", budget_boxes=9, state=CycleState.LABELLING)
        session.add(row)
        session.flush()
        return add_task(session, row, image, None).id


def lease(context: Context, owner: str) -> list[LabelTask]:
    with context.sessions.begin() as session:
        return queue.lease(session, owner, 9, 1800.0)


@JUMPS
def test_a_label_lease_of_the_future_is_over(
    context: Context, time_of_day: Clock, ahead: timedelta
) -> None:
    task(context)
    time_of_day.now = NOW + ahead
    [held] = lease(context, "anna")
    with pytest.raises(Conflict, match="leased by anna"):
        queue.require_free(held)
    assert lease(context, "bert") == []
    time_of_day.now = NOW
    queue.require_free(held)
    [given] = lease(context, "bert")
    assert given.token > held.token


# --- triggers


def with_triggers(context: Context, **rules: Any) -> Context:
    settings = context.settings.model_copy(update={"triggers": TriggerSettings(**rules)})
    return Context(settings, context.project, context.engine, context.sessions)


def add_failures(context: Context, first: int) -> None:
    with context.sessions.begin() as session:
        champion = registry.require_champion(session)
        image = make_image(100 + first, Role.FIELD)
        session.add(image)
        session.flush()
        session.add(make_failure(first, image, champion))


def end(context: Context, number: int) -> None:
    with context.sessions.begin() as session:
        finish_units(session, context, "score_pool", {})
        row = session.get_one(Cycle, number)
        row.state, row.finished_at = CycleState.FAILED, utc_now()


@JUMPS
def test_a_cycle_of_the_future_does_not_stop_triggers(
    context: Context, time_of_day: Clock, ahead: timedelta
) -> None:
    ready = with_triggers(context, new_failures=1, cycle_cron="0 * * * *")
    with context.sessions.begin() as session:
        add_holdout_image(session)
        add_champion(session)
    time_of_day.now = NOW + ahead
    with context.sessions.begin() as session:
        number = cycles.start(session, ready).id
    end(ready, number)
    add_failures(ready, 1)  # seen by the wrong clock: starts nothing before its day
    time_of_day.now = NOW + timedelta(minutes=5)
    assert triggers.check(with_triggers(context, new_failures=1)) == []
    add_failures(ready, 2)
    [by_failures] = triggers.check(with_triggers(context, new_failures=1))
    end(ready, by_failures)
    assert triggers.check(ready) == []
    time_of_day.now = NOW + timedelta(hours=1, seconds=1)
    [by_cron] = triggers.check(with_triggers(context, cycle_cron="0 * * * *"))
    assert by_cron > by_failures


@JUMPS
def test_a_training_of_the_future_does_not_stop_retraining(
    context: Context, time_of_day: Clock, ahead: timedelta
) -> None:
    ready = with_triggers(context, new_labels=1)
    time_of_day.now = NOW + ahead
    with context.sessions.begin() as session:
        add_holdout_image(session)
        add_champion(session)  # of the future as well
        number = cycles.start(session, ready, kind=cycles.RETRAIN).id
    end(ready, number)
    time_of_day.now = NOW
    with context.sessions.begin() as session:
        session.add(make_image(1))
        session.flush()
        session.add(Annotation(image_id=f"{1:064x}", objects=[]))
    time_of_day.now = NOW + timedelta(seconds=1)
    with context.sessions() as session:
        assert triggers.new_labels(session) == 1


def test_a_cycle_waits_for_what_was_asked_for_by_a_clock_ahead(
    context: Context, time_of_day: Clock
) -> None:
    with context.sessions.begin() as session:
        add_holdout_image(session)
        add_champion(session)
    time_of_day.now = NOW + timedelta(days=400)
    enqueue(context)
    time_of_day.now = NOW
    with context.sessions.begin() as session:
        number = cycles.start(session, context).id
    with context.sessions() as session:
        assert session.get_one(Cycle, number).state == CycleState.EXPLAINING


# --- the scheduler


def test_the_scheduler_goes_by_a_clock_that_never_jumps(
    tmp_path: Any, sqlite_url: str, memory_broker: str
) -> None:
    context = make_context(tmp_path / "m", sqlite_url, broker_url=memory_broker)
    app = make_app(context.settings, context.project)
    scheduler = SteadyScheduler(app)
    seconds = [0.0]
    scheduler.clock = lambda: seconds[0]

    def sent() -> list[str]:
        with app.connection_for_read() as connection, connection.SimpleQueue("default") as waiting:
            found = []
            while len(waiting):
                message = waiting.get(timeout=5 * PATIENCE)
                found.append(message.headers["task"])
                message.ack()
            return sorted(found)

    assert scheduler.tick() <= 1.0
    assert sent() == ["e2x.housekeeping", "e2x.label_tools", "e2x.reconcile", "e2x.triggers"]
    for entry in scheduler.schedule.values():  # by a clock that was ahead
        entry.last_run_at = datetime.now(UTC) + timedelta(days=400)
    scheduler.tick()
    assert sent() == []
    seconds[0] = context.settings.workers.reconcile_interval_s
    scheduler.tick()
    assert sent() == ["e2x.label_tools", "e2x.reconcile"]
    seconds[0] = context.settings.triggers.interval_s
    scheduler.tick()
    assert sent() == ["e2x.label_tools", "e2x.reconcile", "e2x.triggers"]
    context.engine.dispose()

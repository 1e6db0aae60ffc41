"""Every unit is worked on, and its rows are written once, whatever messages and workers do."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select, update

from benchmarks.common import light_stage
from benchmarks.common.processes import StartServices, supervisor_of
from benchmarks.common.projects import QUICK_WORKERS, make_context
from benchmarks.common.waiting import wait_until
from services import units
from services.config.project import Project
from services.context import Context
from services.db.engine import reading
from services.db.tables import Audit, Outbox, Unit, UnitState
from services.worker import redis_server, timers
from services.worker.app import make_app
from services.worker.supervisor import Supervisor
from services.worker.tasks import RUN_UNIT

WORKERS = {"explain": ("explain",), "default": ("default",)}
pytestmark = [pytest.mark.whole, pytest.mark.usefixtures("light")]


@pytest.fixture
def light() -> None:
    """The light stage is known here too, since this process enqueues."""
    light_stage.register_stages()


@pytest.fixture
def quick(tmp_path: Path, database_url: str) -> Iterator[Context]:
    """A project on each database, whose workers find what is lost within seconds."""
    wired = make_context(tmp_path / "p", database_url, workers=QUICK_WORKERS)
    yield wired
    wired.engine.dispose()


@pytest.fixture
def quick_sqlite(tmp_path: Path, sqlite_url: str) -> Iterator[Context]:
    """The same on SQLite only."""
    wired = make_context(tmp_path / "p", sqlite_url, workers=QUICK_WORKERS)
    yield wired
    wired.engine.dispose()


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path
) -> Iterator[tuple[Context, Supervisor]]:
    """One project whose processes run for several tests; each asks for units of its own."""
    root = tmp_path_factory.mktemp("shared")
    shutil.copy(sqlite_template, root / "e2x.db")
    workers = {**QUICK_WORKERS, "max_lost": 3}
    context = make_context(root / "p", f"sqlite:///{root / 'e2x.db'}", workers=workers)
    with supervisor_of(context, WORKERS) as up:
        up.wait_ready()
        yield context, up
    context.engine.dispose()


def ask(context: Context, number: int, kind: str = "light", **payload: object) -> list[int]:
    with context.sessions.begin() as session:
        return [
            units.enqueue(session, kind, f"light:{i}:{payload}", dict(payload)).id
            for i in range(number)
        ]


def state(context: Context, unit_id: int) -> str:
    with reading(context.sessions) as session:
        return session.get_one(Unit, unit_id).state


def counts(context: Context) -> dict[str, int]:
    with reading(context.sessions) as session:
        return units.counts(session)


def all_ended(context: Context) -> bool:
    found = counts(context)
    return found["queued"] + found["leased"] == 0


def written(context: Context) -> dict[str, int]:
    """How many rows each unit has written."""
    with reading(context.sessions) as session:
        query = select(Audit.subject, func.count()).group_by(Audit.subject)
        return {row[0]: row[1] for row in session.execute(query)}


def state_of(context: Context, unit_id: int) -> str:
    with reading(context.sessions) as session:
        return units.find(session, unit_id).state


def started(project: Project, unit_id: int) -> bool:
    return (project.runs / f"started-{unit_id}").exists()


def pool_child(worker_pid: int) -> int:
    return psutil.Process(worker_pid).children()[0].pid


def test_a_flood_of_messages_changes_nothing(quick: Context, services: StartServices) -> None:
    services(quick, WORKERS)
    unit_ids = ask(quick, 60)
    app = make_app(quick.settings, quick.project)
    with app.connection_for_write() as connection:
        producer = app.amqp.Producer(connection, auto_declare=False)
        for _ in range(2):  # and once by the relay
            for unit_id in unit_ids:
                app.send_task(RUN_UNIT, args=[unit_id], queue="explain", producer=producer)
    wait_until(lambda: all_ended(quick), 60, "all units ended")
    depth = redis_server.client(redis_server.broker_url(quick.settings, quick.project))
    wait_until(lambda: depth.llen("explain") == 0, 30, "all messages were looked at")
    assert counts(quick)["done"] == 60
    assert written(quick) == {str(unit_id): 1 for unit_id in unit_ids}
    depth.close()


def test_a_full_queue_does_not_keep_a_worker_from_its_other_one(
    quick_sqlite: Context, services: StartServices
) -> None:
    many = ask(quick_sqlite, 200, seconds=0.05)
    (other,) = ask(quick_sqlite, 1, "light_train")

    services(quick_sqlite, {"both": ("explain", "train"), "default": ("default",)})
    wait_until(lambda: state(quick_sqlite, other) == UnitState.DONE, 120, "the other queue's unit")

    assert counts(quick_sqlite)["queued"] > len(many) / 2


def test_a_killed_worker_child_loses_nothing(shared: tuple[Context, Supervisor]) -> None:
    quick_sqlite, up = shared
    (unit_id,) = ask(quick_sqlite, 1, seconds=1.5)
    wait_until(lambda: started(quick_sqlite.project, unit_id), 30, "the unit started")
    os.kill(pool_child(up.pids["worker-explain"]), signal.SIGKILL)
    wait_until(lambda: all_ended(quick_sqlite), 60, "the unit ended")
    assert written(quick_sqlite)[str(unit_id)] == 1
    with reading(quick_sqlite.sessions) as session:
        unit = units.find(session, unit_id)
        assert (unit.attempts, unit.lost) == (1, 1)


def test_a_unit_that_kills_its_worker_is_parked_and_others_go_on(
    shared: tuple[Context, Supervisor],
) -> None:
    quick_sqlite, _ = shared
    (poison,) = ask(quick_sqlite, 1, "light_twice", die=True)
    good = ask(quick_sqlite, 10, poisoned=True)
    wait_until(lambda: all_ended(quick_sqlite), 90, "all units ended")
    assert state_of(quick_sqlite, poison) == UnitState.DEAD
    assert all(written(quick_sqlite)[str(unit_id)] == 1 for unit_id in good)
    with reading(quick_sqlite.sessions) as session:
        parked = units.find(session, poison)
        assert (parked.error_code, parked.attempts, parked.lost) == ("worker_lost", 0, 3)


def test_losing_the_whole_broker_loses_nothing(
    quick_sqlite: Context, services: StartServices
) -> None:
    unit_ids = ask(quick_sqlite, 20)
    with quick_sqlite.sessions.begin() as session:
        # As if all had been published to a broker that is gone with its file.
        session.execute(update(Outbox).values(published_at=Outbox.created_at))
    services(quick_sqlite, WORKERS)
    wait_until(lambda: all_ended(quick_sqlite), 60, "all units ended")
    assert written(quick_sqlite) == {str(unit_id): 1 for unit_id in unit_ids}


def test_errors_end_where_they_should(shared: tuple[Context, Supervisor]) -> None:
    quick_sqlite, _ = shared
    (refused,) = ask(quick_sqlite, 1, fail="refused")
    (hopeless,) = ask(quick_sqlite, 1, "light_twice", fail="always")
    wait_until(lambda: all_ended(quick_sqlite), 60, "all units ended")
    with reading(quick_sqlite.sessions) as session:
        first, second = units.find(session, refused), units.find(session, hopeless)
        assert (first.state, first.attempts, first.error_code) == ("dead", 1, "refused")
        assert (second.state, second.attempts, second.error_code) == ("dead", 2, "unexpected")
        assert "ValueError: never works" in (second.error or "")


def test_stopping_gives_back_what_runs(quick_sqlite: Context, services: StartServices) -> None:
    up = services(quick_sqlite, WORKERS)
    (unit_id,) = ask(quick_sqlite, 1, seconds=120)
    wait_until(lambda: started(quick_sqlite.project, unit_id), 30, "the unit started")
    up.stop()
    with reading(quick_sqlite.sessions) as session:
        unit = units.find(session, unit_id)
        assert (unit.state, unit.attempts) == (UnitState.QUEUED, 0)


def test_a_limit_outlasts_the_forgetting_of_timers(
    tmp_path: Path, sqlite_url: str, services: StartServices
) -> None:
    limits = {"soft_limit_s": int(timers.EVERY_S) + 2, "hard_limit_s": 600}
    context = make_context(tmp_path / "p", sqlite_url, workers={**QUICK_WORKERS, **limits})
    (unit_id,) = ask(context, 1, seconds=3600.0)

    def error() -> str | None:
        with reading(context.sessions) as session:
            return session.get_one(Unit, unit_id).error_code

    services(context, {"explain": ("explain",)})

    wait_until(lambda: error() == "time_limit", 240, "the unit is ended")
    context.engine.dispose()

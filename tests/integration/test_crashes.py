"""Processes that stop, a broker that forgets, a machine that loses everything at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select

from benchmarks.common import light_stage
from benchmarks.common.processes import ROOT, StartServices, supervisor_of
from benchmarks.common.projects import QUICK_WORKERS, make_context, make_project
from benchmarks.common.waiting import wait_until
from services import context as wiring
from services import units
from services.config.settings import Settings
from services.context import Context
from services.db import migrate
from services.db.engine import reading
from services.db.tables import Audit, Role, UnitState
from services.intake.imports import import_dataset
from services.models import registry, training
from services.upkeep import invariants
from services.worker import redis_server
from services.worker.environment import environment_of
from services.worker.up_file import running
from tests.services.datasets_on_disk import pictures, write_coco

pytestmark = pytest.mark.whole

WORKERS = {"explain": ("explain",), "other": ("explain",), "default": ("default",)}


@pytest.fixture
def quick(tmp_path: Path, sqlite_url: str) -> Iterator[Context]:
    """A project whose workers find what is lost within seconds."""
    light_stage.register_stages()
    wired = make_context(tmp_path / "p", sqlite_url, workers=QUICK_WORKERS)
    yield wired
    wired.engine.dispose()


def ask(context: Context, number: int, **payload: object) -> list[int]:
    with context.sessions.begin() as session:
        return [
            units.enqueue(session, "light", f"light:{i}:{payload}", dict(payload)).id
            for i in range(number)
        ]


def ended(context: Context) -> bool:
    with reading(context.sessions) as session:
        found = units.counts(session)
    return found["queued"] + found["leased"] == 0


def written(context: Context) -> list[int]:
    with reading(context.sessions) as session:
        query = select(func.count()).select_from(Audit).where(Audit.action == "light")
        return list(session.scalars(query.group_by(Audit.subject)))


def test_a_worker_that_stood_still_for_longer_than_its_lease_writes_nothing(
    quick: Context, services: StartServices
) -> None:
    up = services(quick, WORKERS)
    (unit_id,) = ask(quick, 1, seconds=1.0)

    def holder() -> int | None:
        with reading(quick.sessions) as session:
            unit = units.find(session, unit_id)
            return int(unit.owner.rpartition(":")[2]) if unit.owner else None

    wait_until(lambda: holder() is not None, 30, "the unit is held")
    stopped = holder()
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    try:
        wait_until(lambda: ended(quick), 60, "another worker has done it")
        assert written(quick) == [1]
    finally:
        os.kill(stopped, signal.SIGCONT)
    (name,) = [
        name
        for name, pid in up.pids.items()
        if stopped in {child.pid for child in psutil.Process(pid).children()}
    ]
    log = quick.project.logs / f"{name}.log"
    wait_until(lambda: "unit lost" in log.read_text(), 30, "the late worker is refused")
    assert written(quick) == [1]
    # It is not broken by that: it works on.
    ask(quick, 6, seconds=0.1)
    wait_until(lambda: ended(quick), 60, "all units ended")
    assert written(quick) == [1] * 7
    assert invariants.check(quick) == []


def test_a_broker_that_forgets_everything_loses_nothing(
    quick: Context, services: StartServices
) -> None:
    services(quick, WORKERS)
    ask(quick, 60, seconds=0.05)
    wait_until(lambda: len(written(quick)) >= 5, 60, "some are done")
    connection = redis_server.client(redis_server.broker_url(quick.settings, quick.project))
    for _ in range(3):  # also while it is being mended
        connection.flushall()
        before = len(written(quick))
        wait_until(lambda known=before: len(written(quick)) > known or ended(quick), 60, "more")  # type: ignore[misc]
    connection.close()
    wait_until(lambda: ended(quick), 90, "all units ended")
    assert written(quick) == [1] * 60
    assert invariants.check(quick) == []


RUN = """
from services.context import build
from services.worker.supervisor import Supervisor
Supervisor(build(), {"train": ("train",), "default": ("default",)}, api=False).run_forever()
"""


def test_everything_killed_while_it_trains_goes_on_where_it_stood(tmp_path: Path) -> None:
    root = make_project(tmp_path / "p").root
    settings = Settings(
        project=root,
        seed=3,
        detector={"weights": "random", "input_height_px": 64, "input_width_px": 64},
        training={"epochs": 6, "batch_size": 8},
        workers={**QUICK_WORKERS, "threads": 1},
    )
    context = wiring.build(settings)
    migrate.upgrade(context.engine)
    import_dataset(context, write_coco(tmp_path / "seed", pictures(*range(8))), Role.SEED)
    with context.sessions.begin() as session:
        unit_id = training.request(session).id
    run = context.project.runs / "train-first"
    variables = {**os.environ, **environment_of(settings)}
    process = subprocess.Popen([sys.executable, "-c", RUN], cwd=ROOT, env=variables)
    try:
        wait_until(lambda: bool(list(run.rglob("resume.pt"))), 60, "a checkpoint is written")
        everything = [process.pid, *(one.pid for one in psutil.Process(process.pid).children(True))]
        assert len(everything) >= 6
        for pid in everything:
            os.kill(pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not any(map(psutil.pid_exists, everything)), 30, "all are gone")
    assert running(context.project) is None
    with reading(context.sessions) as session:
        assert units.find(session, unit_id).state == UnitState.LEASED, "it had ended before"

    with supervisor_of(context, {"train": ("train",), "default": ("default",)}):
        wait_until(lambda: ended(context), 200, "the training ends")
    with reading(context.sessions) as session:
        unit = units.find(session, unit_id)
        assert (unit.state, unit.error) == (UnitState.DONE, None)
        assert registry.require_champion(session).number == 1
        assert len(registry.models(session)) == 1
    assert "resum" in (run / "log.txt").read_text()
    assert invariants.check(context) == []
    context.engine.dispose()

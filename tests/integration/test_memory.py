"""What the processes hold: the ones that only watch are small, the ones that compute give back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.common import light_stage
from benchmarks.common.processes import ROOT, StartServices
from benchmarks.common.projects import QUICK_WORKERS, make_context
from benchmarks.common.waiting import PATIENCE, wait_until
from services import units
from services.context import Context
from services.db.engine import reading
from services.db.tables import Unit, UnitState
from services.worker import supervisor
from services.worker.environment import environment_of

pytestmark = pytest.mark.whole

MIB = 2**20


@pytest.fixture
def quick(tmp_path: Path, sqlite_url: str) -> Iterator[Context]:
    light_stage.register_stages()
    wired = make_context(tmp_path / "p", sqlite_url, workers=QUICK_WORKERS)
    yield wired
    wired.engine.dispose()


def pid_of_unit(context: Context, key: str, **payload: object) -> int:
    """The process that worked on a unit."""
    with context.sessions.begin() as session:
        unit_id = units.enqueue(session, "light_train", key, payload).id

    def result() -> dict[str, int] | None:
        with reading(context.sessions) as session:
            unit = session.get_one(Unit, unit_id)
            return unit.result if unit.state == UnitState.DONE else None

    wait_until(lambda: result() is not None, 60, f"unit {key}")
    found = result()
    assert found is not None
    return found["pid"]


def test_a_worker_that_trains_is_replaced_once_a_unit_has_made_it_grow(
    quick: Context, services: StartServices
) -> None:
    services(quick, {"train": ("train",)})
    first = pid_of_unit(quick, "small")
    assert pid_of_unit(quick, "small again") == first
    assert pid_of_unit(quick, "large", grow_mb=500) == first
    assert pid_of_unit(quick, "after it") != first


def test_up_stays_small_whatever_method_is_set(tmp_path: Path, sqlite_url: str) -> None:
    project = make_context(
        tmp_path / "p", sqlite_url, workers=QUICK_WORKERS, explanation={"method": "e2x"}
    )
    environment = {**os.environ, **environment_of(project.settings), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "services.cli", "up", "--no-api"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:

        def up() -> bool:
            said = supervisor.running(project.project)
            return bool(said and len(said["processes"]) > 5)

        wait_until(up, 60, "the services")
        memory = psutil.Process(process.pid).memory_full_info().uss
        assert memory < 200 * MIB
    finally:
        process.terminate()
        process.wait(60 * PATIENCE)
        project.engine.dispose()

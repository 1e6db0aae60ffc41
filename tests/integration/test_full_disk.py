"""A disk that fills up while the services run: they stand, and go on when there is space."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from sqlalchemy import func, select

from benchmarks.common import light_stage
from benchmarks.common.processes import LIGHT, ROOT, StartServices
from benchmarks.common.projects import QUICK_WORKERS, make_context
from benchmarks.common.waiting import PATIENCE, wait_until
from services import units
from services.db import migrate
from services.db.engine import reading
from services.db.tables import Audit
from services.worker.children import Child, Program
from services.worker.environment import environment_of
from services.worker.supervisor import Supervisor, SupervisorDied
from services.worker.up_file import running, up_file
from tests.integration.small_disk import fill, small_disk

pytestmark = pytest.mark.whole

WORKERS = {"explain": ("explain",), "default": ("default",)}


def waits_to_be_ready(up: Supervisor) -> bool:
    """Whether the relay has a thread that tries to say that it is ready."""
    pid = up.pids.get("relay")
    return pid is not None and psutil.Process(pid).num_threads() > 1


def test_a_full_disk_ends_nothing_and_work_goes_on_when_there_is_space(
    tmp_path: Path, services: StartServices
) -> None:
    light_stage.register_stages()
    with small_disk(tmp_path / "disk", 24) as disk:
        root = disk / "p"
        context = make_context(root, f"sqlite:///{root}/state/e2x.db", workers=QUICK_WORKERS)
        migrate.upgrade(context.engine)
        up = services(context, WORKERS, extra_stages=LIGHT)
        with context.sessions.begin() as session:
            for i in range(40):
                units.enqueue(session, "light", f"l:{i}", {"seconds": 0.05})
        filler = fill(disk)
        # Everything dies while the disk is full: what is started again meets it from the start.
        before = dict(up.pids)
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: min(up.restarts.values()) >= 1, 60, "all are started again")
        wait_until(lambda: waits_to_be_ready(up), 60, "the relay meets the full disk")
        assert up.watched
        filler.unlink()
        up.wait_ready()

        def done() -> bool:
            with reading(context.sessions) as session:
                return units.counts(session)["done"] == 40

        wait_until(done, 90, "all units are done")
        with reading(context.sessions) as session:
            query = select(func.count()).select_from(Audit).group_by(Audit.subject)
            written = session.scalars(query).all()
        assert written == [1] * 40
        said = running(context.project)
        assert said is not None
        assert set(said["processes"]) == set(before)
        up.stop()
        context.engine.dispose()


def test_a_program_whose_start_fails_is_tried_again(tmp_path: Path, sqlite_url: str) -> None:
    """Such as when there are no processes to be had, or the log's folder is gone."""
    context = make_context(tmp_path / "p", sqlite_url, workers=QUICK_WORKERS)
    logs = context.project.logs
    logs.rmdir()
    logs.symlink_to("/dev/full/nowhere")
    with Supervisor(context, {}, api=False) as up:
        wait_until(lambda: set(up.pids) == {"redis", "relay", "beat"}, 30, "they run without logs")
        up_file(context.project).unlink()
        up_file(context.project).with_suffix(".new").mkdir()  # what runs cannot be said
        os.kill(up.pids["redis"], signal.SIGKILL)
        wait_until(lambda: up.restarts["redis"] == 1, 30, "it is started again all the same")
        up_file(context.project).with_suffix(".new").rmdir()
        wait_until(up_file(context.project).is_file, 30, "it is said when it can be")
        said = json.loads(up_file(context.project).read_text())
        assert said["restarts"]["redis"] == 1
    context.engine.dispose()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_supervisor_that_does_not_watch_any_more_says_so(tmp_path: Path, sqlite_url: str) -> None:
    context = make_context(tmp_path / "p", sqlite_url, workers=QUICK_WORKERS)
    with Supervisor(context, {}, api=False) as up:
        up.wait(0.0)
        (watcher,) = [one for one in threading.enumerate() if one.name == "supervisor"]
        assert watcher.ident is not None
        raised = ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(watcher.ident), ctypes.py_object(SystemExit)
        )
        assert raised == 1
        watcher.join(30)
        with pytest.raises(SupervisorDied, match="start them again"):
            up.wait(0.0)
        with pytest.raises(SupervisorDied, match="start them again"):
            up.wait_ready(60)
    context.engine.dispose()


DIES = """
import ctypes, threading, time
from services.worker import supervisor
look = supervisor.Supervisor._look
def dies(self):
    look(self)
    if self.pids.get("relay"):
        raise SystemExit
supervisor.Supervisor._look = dies
from services.cli import main
main()
"""


def test_up_ends_with_an_error_when_nothing_watches_any_more(
    tmp_path: Path, sqlite_url: str
) -> None:
    context = make_context(tmp_path / "p", sqlite_url, api={"port": 0})
    done = subprocess.run(
        [sys.executable, "-c", DIES, "up", "--no-api"],
        cwd=ROOT,
        env={**os.environ, **environment_of(context.settings)},
        capture_output=True,
        text=True,
        timeout=200 * PATIENCE,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "not watched" in done.stderr
    context.engine.dispose()


def test_a_program_that_cannot_be_mended_is_started_all_the_same(tmp_path: Path) -> None:
    def mend(_status: int) -> None:
        raise OSError(28, "No space left on device")

    command = (sys.executable, "-c", "raise SystemExit(1)")
    child = Child(Program("odd", command, lambda _pid: False, mend=mend), tmp_path / "odd.log")

    def restarted() -> bool:
        child.watch()
        return child.restarts >= 1

    wait_until(restarted, 30, "it is started again")
    child.stop(time.monotonic() + 5 * PATIENCE)

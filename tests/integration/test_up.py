"""The supervisor: what ``e2x up`` starts, keeps running and stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmarks.common.processes import ROOT, supervisor_of
from benchmarks.common.projects import QUICK_WORKERS, make_context, make_project
from benchmarks.common.waiting import PATIENCE, wait_until
from services.config.settings import Settings
from services.context import Context
from services.errors import Conflict, ToolUnavailable
from services.store.ready_file import ready_file
from services.worker import readiness, redis_server, supervisor, surroundings, up_file
from services.worker.environment import environment_of
from services.worker.supervisor import Supervisor

ONE_WORKER = {"default": ("default",)}


@pytest.fixture
def quick(tmp_path: Path, sqlite_url: str) -> Iterator[Context]:
    wired = make_context(tmp_path / "p", sqlite_url, workers=QUICK_WORKERS)
    yield wired
    wired.engine.dispose()


def alive(pids: dict[str, int]) -> set[str]:
    def runs(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return {name for name, pid in pids.items() if runs(pid)}


def test_up_starts_restarts_and_stops_everything(quick: Context) -> None:
    with supervisor_of(quick, ONE_WORKER) as up:
        up.wait_ready()
        assert set(up.pids) == {"redis", "relay", "beat", "worker-default"}
        assert up.memory_bytes() > 50e6
        seen = supervisor.running(quick.project)
        assert seen is not None
        assert seen["pid"] == os.getpid()

        wait_until(lambda: readiness.look(quick).ready, 30, "all parts give signs of life")
        assert "nobody serves explain" in readiness.look(quick).parts["workers"].detail

        with pytest.raises(Conflict, match="up already"):
            supervisor_of(quick, ONE_WORKER).start()

        first = dict(up.pids)
        os.kill(first["relay"], signal.SIGKILL)
        wait_until(lambda: up.pids.get("relay") not in (None, first["relay"]), 20, "a new relay")
        up.wait_ready()
        assert up.restarts["relay"] == 1
        pids = dict(up.pids)
    assert alive(pids) == set()
    assert supervisor.running(quick.project) is None
    assert not redis_server.answers(redis_server.broker_url(quick.settings, quick.project))


def test_all_die_with_a_killed_supervisor(quick: Context) -> None:
    program = (
        "from services.context import build; from services.worker.supervisor import Supervisor;"
        "Supervisor(build(), {'default': ('default',)}, api=False).run_forever()"
    )
    environment = {**os.environ, **environment_of(quick.settings)}
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment)
    try:

        def pids() -> dict[str, int]:
            said = supervisor.running(quick.project)
            return said["processes"] if said else {}

        wait_until(lambda: len(pids()) == 4, 60, "all processes run")
        started = pids()
        # Not any child: while it loads, a worker runs other programs for a moment.
        ready = ready_file(quick.project, "worker-default")
        wait_until(ready.is_file, 60, "the worker has its pool")
        pool = psutil.Process(started["worker-default"])
        started["pool"] = pool.children()[0].pid
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not alive(started), 30, "all processes are gone")
    assert supervisor.running(quick.project) is None


def test_sigterm_stops_everything_in_order(quick: Context) -> None:
    program = (
        "from services.context import build; from services.worker.supervisor import Supervisor;"
        "Supervisor(build(), {}, api=False).run_forever()"
    )
    environment = {**os.environ, **environment_of(quick.settings)}
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment)
    try:
        wait_until(lambda: supervisor.running(quick.project) is not None, 60, "it runs")
        process.terminate()
        assert process.wait(60 * PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
    assert not up_file.up_file(quick.project).exists()


def test_a_program_that_cannot_start_is_shown_with_its_log(quick: Context) -> None:
    up = Supervisor(quick, {}, api=False, environment={"E2X_LOG_LEVEL": "LOUD"})
    log = quick.project.logs / "relay.log"
    with up:
        wait_until(lambda: log.exists() and "LOUD" in log.read_text(), 60, "it says why")
        with pytest.raises(ToolUnavailable, match=r"relay is not ready(.|\n)*LOUD"):
            up.wait_ready(0.1)


def test_a_port_that_another_program_has_is_refused(tmp_path: Path, sqlite_url: str) -> None:
    """The other program would answer in the place of the API, and look like it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        wired = make_context(tmp_path / "p", sqlite_url, api={"port": port})
        with pytest.raises(ToolUnavailable, match=rf"127\.0\.0\.1:{port}.*api\.port"):
            Supervisor(wired, {}).start()
    assert supervisor.running(wired.project) is None
    wired.engine.dispose()


def test_a_silent_broker_is_refused(
    tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surroundings, "BROKER_S", 0.2)
    wired = make_context(tmp_path / "p", sqlite_url, broker_url="redis://:hush@127.0.0.1:1/0")
    with pytest.raises(ToolUnavailable, match="does not answer") as refused:
        Supervisor(wired, {}, api=False).start()
    assert "hush" not in str(refused.value)
    assert supervisor.running(wired.project) is None
    wired.engine.dispose()


def test_a_long_project_path_gets_a_short_socket(tmp_path: Path) -> None:
    project = make_project(tmp_path / ("long" * 25))
    path = redis_server.socket_path(project)
    assert len(str(path)) <= redis_server.MAX_SOCKET_CHARS
    assert redis_server.socket_path(project) == path
    assert not path.is_relative_to(project.root)


def test_settings_reach_the_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project(tmp_path / "p")
    given = Settings(
        project=project.root,
        seed=7,
        api={"token": "secret", "port": 0},
        labels={"wait_for_all": False},
        ingest={"watch_folder": tmp_path},
        workers=QUICK_WORKERS,
    )
    for name, value in environment_of(given).items():
        monkeypatch.setenv(name, value)
    assert Settings() == given

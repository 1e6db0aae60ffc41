"""Redis that Sentinels watch: its master is killed, and no unit is lost or done twice."""

from __future__ import annotations

import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from sqlalchemy import func, select

from benchmarks.common import light_stage
from benchmarks.common.processes import supervisor_of
from benchmarks.common.projects import QUICK_WORKERS, make_context
from benchmarks.common.waiting import wait_until
from services import units
from services.context import Context
from services.db.engine import reading
from services.db.tables import Audit, Unit, UnitState
from services.worker import redis_server

NAME = "e2x"
SENTINEL = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor {name} 127.0.0.1 {master} 2
sentinel down-after-milliseconds {name} 1500
sentinel failover-timeout {name} 4000
sentinel parallel-syncs {name} 1
"""
UNITS = 60


@dataclass(frozen=True, slots=True)
class Watched:
    """A master with its replica, and three Sentinels."""

    url: str
    master: subprocess.Popen[bytes]
    sentinels: tuple[int, ...]

    def address(self) -> int:
        """The port of the master, as the Sentinels say."""
        with redis.Redis(port=self.sentinels[0], socket_timeout=5) as asked:
            return int(asked.execute_command("SENTINEL", "get-master-addr-by-name", NAME)[1])


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """All of it, once the Sentinels know the replica and each other."""
    program = redis_server._executable()
    master, replica, *sentinels = free_ports(5)
    processes = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        processes.append(process)
        return process

    plain = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(tmp_path))
    try:
        first = start("--port", str(master), *plain)
        start("--port", str(replica), "--replicaof", "127.0.0.1", str(master), *plain)
        for port in sentinels:
            folder = tmp_path / f"sentinel-{port}"
            folder.mkdir()
            file = folder / "sentinel.conf"
            file.write_text(SENTINEL.format(port=port, folder=folder, master=master, name=NAME))
            start(str(file), "--sentinel")
        wait_until(lambda: all(_knows_all(port) for port in sentinels), 60, "they know each other")
        hosts = ";".join(f"sentinel://127.0.0.1:{port}" for port in sentinels)
        yield Watched(f"{hosts}/0?master_name={NAME}", first, tuple(sentinels))
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _knows_all(port: int) -> bool:
    try:
        with redis.Redis(port=port, socket_timeout=5) as asked:
            said = asked.execute_command("SENTINEL", "master", NAME)
    except redis.RedisError:
        return False
    told = said if isinstance(said, dict) else dict(zip(said[::2], said[1::2], strict=False))
    plain = {_text(key): _text(value) for key, value in told.items()}
    return plain.get("num-slaves") == "1" and plain.get("num-other-sentinels") == "2"


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def ask(context: Context, first: int) -> None:
    for number in range(first, first + UNITS):
        with context.sessions.begin() as session:
            units.enqueue(session, "light", f"light:{number}", {"seconds": 0.01})


def done(context: Context) -> int:
    with reading(context.sessions) as session:
        query = select(func.count()).where(Unit.state == UnitState.DONE)
        return session.scalar(query) or 0


@pytest.mark.whole
@pytest.mark.timeout(600)
def test_a_failover_loses_nothing_and_doubles_nothing(
    tmp_path: Path, sqlite_url: str, watched: Watched
) -> None:
    light_stage.register_stages()
    context = make_context(
        tmp_path / "project", sqlite_url, broker_url=watched.url, workers=QUICK_WORKERS
    )
    before = watched.address()
    with supervisor_of(context, {"explain": ("explain",), "default": ("default",)}) as up:
        up.wait_ready()
        ask(context, 0)
        wait_until(lambda: done(context) > UNITS // 3, 120, "work is under way")
        watched.master.kill()
        ask(context, UNITS)  # the relay keeps what it cannot send
        wait_until(lambda: watched.address() != before, 60, "the replica is the master")
        ask(context, 2 * UNITS)
        wait_until(lambda: done(context) == 3 * UNITS, 300, "all units are done")
        assert redis_server.answers(watched.url)
    with reading(context.sessions) as session:
        rows = Counter(session.scalars(select(Audit.subject).where(Audit.action == "light")))
    assert len(rows) == 3 * UNITS
    assert set(rows.values()) == {1}
    context.engine.dispose()

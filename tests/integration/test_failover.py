"""Redis that Sentinels watch, in the clear and over TLS: its master is killed, no unit is lost."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from sqlalchemy import func, select

from benchmarks.common import light_stage
from benchmarks.common.ports import free_ports
from benchmarks.common.processes import supervisor_of
from benchmarks.common.projects import QUICK_WORKERS, make_context
from benchmarks.common.waiting import wait_until
from services import units
from services.context import Context
from services.db.engine import reading
from services.db.tables import Audit, Unit, UnitState
from services.worker import redis_server
from tests.certificates import certificate

__all__ = ["certificate"]
NAME = "e2x"
SENTINEL = """
{listen}
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
    """A master with its replica, and three Sentinels.

    ``authority`` is the file of the only certificate that they speak by; None: without TLS.
    """

    url: str
    master: subprocess.Popen[bytes]
    sentinels: tuple[int, ...]
    authority: Path | None

    def address(self) -> int:
        """The port of the master, as the Sentinels say."""
        with client(self.sentinels[0], self.authority) as asked:
            return int(asked.execute_command("SENTINEL", "get-master-addr-by-name", NAME)[1])


def client(port: int, authority: Path | None) -> redis.Redis:
    tls = {} if authority is None else {"ssl": True, "ssl_ca_certs": str(authority)}
    return redis.Redis(host="127.0.0.1", port=port, socket_timeout=5, **tls)


@pytest.fixture(params=["in the clear", "tls"])
def watched(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: tuple[Path, Path]
) -> Iterator[Watched]:
    """All of it, once the Sentinels know the replica and each other."""
    secured = request.param == "tls"
    authority = certificate[0] if secured else None
    tls = {
        "tls-cert-file": certificate[0],
        "tls-key-file": certificate[1],
        "tls-ca-cert-file": certificate[0],
        "tls-auth-clients": "no",
        "tls-replication": "yes",  # to the master and among Sentinels, too
    }

    def listen(port: int) -> dict[str, object]:
        return {"port": 0, "tls-port": port, **tls} if secured else {"port": port}

    def options(port: int) -> list[str]:
        return [word for name, text in listen(port).items() for word in (f"--{name}", str(text))]

    program = shutil.which("redis-server") if secured else redis_server._executable()
    if program is None:
        pytest.skip("NO TEST OF TLS TO SENTINELS RUNS: apt-get install redis-server")
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
        first = start(*options(master), *plain)
        start(*options(replica), "--replicaof", "127.0.0.1", str(master), *plain)
        for port in sentinels:
            folder = tmp_path / f"sentinel-{port}"
            folder.mkdir()
            file = folder / "sentinel.conf"
            lines = "\n".join(f"{name} {text}" for name, text in listen(port).items())
            file.write_text(SENTINEL.format(listen=lines, folder=folder, master=master, name=NAME))
            start(str(file), "--sentinel")
        wait_until(
            lambda: all(_knows_all(port, authority) for port in sentinels),
            60,
            "they know each other",
        )
        hosts = ";".join(f"sentinel://127.0.0.1:{port}" for port in sentinels)
        url = f"{hosts}/0?master_name={NAME}" + (f"&ssl_ca_certs={authority}" if secured else "")
        yield Watched(url, first, tuple(sentinels), authority)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _knows_all(port: int, authority: Path | None) -> bool:
    try:
        with client(port, authority) as asked:
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


@pytest.mark.whole
@pytest.mark.timeout(300)
@pytest.mark.parametrize("watched", ["tls"], indirect=True)
def test_sentinels_with_a_certificate_of_nobody_are_refused(watched: Watched) -> None:
    """By the client and by Celery, unless the authority is named."""
    assert redis_server.answers(watched.url)
    unnamed = watched.url.partition("&")[0] + "&ssl_cert_reqs=required"
    with pytest.raises(redis.RedisError):
        redis_server.client(unnamed).ping()
    assert not redis_server.answers(watched.url.partition("&")[0])  # no TLS: not understood

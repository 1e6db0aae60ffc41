"""The embedded broker's files, when they are damaged: moved aside, so that it starts again.

Nothing is lost with them. A message is only a nudge: the database knows what is waiting, and the
reconciler sends it again.
"""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import redis

from services.config.project import Project
from services.guard import guarded
from services.worker import redis_server

logger = logging.getLogger(__name__)

ASIDE = ".damaged-"
TRIAL_S, TRIAL_BYTES = 5.0, 2**16
OUR_SIGNALS = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT)
"""Whoever stops the server from outside says nothing about its file."""


def mend(project: Project, status: int) -> None:
    """Move the files of a server aside that ended before it answered, if they are why.

    Whether they are is tried: with none it starts. That needs no knowledge of what a version of
    Redis or Valkey says, and a server that ends for another reason, such as a full disk, keeps
    its files.

    Args:
        project: whose server.
        status: exit status, or minus the signal that ended it.
    """
    kept = [path for path in stored(project) if path.exists()]
    if status == 0 or status in OUR_SIGNALS or not kept or not _starts_without(project):
        return
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for path in kept:
        aside = _free(path.with_name(f"{path.name}{ASIDE}{at}"))
        path.rename(aside)
        logger.warning(
            "the broker did not start with %s, which is damaged: moved aside as %s. No work is "
            "lost: what waits is in the database and is sent again",
            path.name,
            aside.name,
        )


def stored(project: Project) -> tuple[Path, ...]:
    """Where the server keeps its messages: one file up to Redis 6, a folder from Redis 7."""
    return project.state / redis_server.AOF_FILE, project.state / redis_server.AOF_FOLDER


def moved_aside(project: Project) -> list[Path]:
    """Damaged files that were kept, the oldest first."""
    patterns = [f"{kept.name}{ASIDE}*" for kept in stored(project)]
    return sorted(path for pattern in patterns for path in project.state.glob(pattern))


def _starts_without(project: Project) -> bool:
    """Whether the server starts in an empty folder on the same disk."""
    socket = redis_server.socket_path(project).with_name("trial.sock")  # no longer than its own
    folder = project.state / "redis-trial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    try:
        process = subprocess.Popen(
            guarded(redis_server.command_in(folder, socket)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return _answers_in_time(process, f"redis+socket://{socket}")
        finally:
            process.kill()
            process.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        socket.unlink(missing_ok=True)


def _answers_in_time(process: subprocess.Popen[bytes], url: str) -> bool:
    deadline = time.monotonic() + TRIAL_S
    while process.poll() is None and time.monotonic() < deadline:
        if redis_server.answers(url):
            return _writes(url)
        time.sleep(0.02)
    return False


def _writes(url: str) -> bool:
    """Whether what is sent reaches the disk: after a failed write the server takes no other."""
    connection = redis_server.client(url)
    try:
        for number in range(3):
            connection.set(f"trial:{number}", b"\0" * TRIAL_BYTES)
    except redis.RedisError:
        return False
    finally:
        connection.close()
    return True


def _free(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        free = path.with_name(f"{path.name}-{number}")
        number += 1
    return free

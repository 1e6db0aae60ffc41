"""Signs of life of relay, scheduler and workers, in the broker: here it is asked if work gets done.

A sign is a key that the broker forgets by itself, so that a process that hangs, is stopped or has
died is missed within :data:`KEEP_S`. It is given by the loop that does the work, not by a thread
beside it, which would go on when that loop no longer does.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import redis
from celery import bootsteps

from services.worker import redis_server

logger = logging.getLogger(__name__)

PREFIX = "e2x:alive:"
EVERY_S = 3.0
KEEP_S = 15
"""Five signs: one or two may come late on a machine that is busy."""
RELAY, SCHEDULER, WORKER = "relay", "scheduler", "worker"


@dataclass(frozen=True, slots=True)
class Sign:
    """A process that has given a sign of life lately.

    Attributes:
        kind: :data:`RELAY`, :data:`SCHEDULER` or :data:`WORKER`.
        name: of the process.
        queues: that a worker serves.
        bundles: whether it takes messages that name many units; workers of before did not.
    """

    kind: str
    name: str
    queues: tuple[str, ...] = ()
    bundles: bool = True


class Giver:
    """Gives the signs of one process.

    Args:
        url: of the broker.
        sign: what is said.
        file: touched too, also while the broker is away; None: none is.
    """

    def __init__(self, url: str, sign: Sign, file: Path | None = None) -> None:
        self._url, self._file = url, file
        owner = f"{socket.gethostname()}:{os.getpid()}"
        self._key = f"{PREFIX}{sign.kind}:{sign.name}@{owner}"
        self._value = json.dumps(asdict(sign))
        self._next = 0.0

    def give(self) -> None:
        """Give a sign if one is due; a broker that is away is no reason to stop."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY_S / 2  # a timer may come a little early
        self._touch()
        try:
            connection = redis_server.client(self._url)
            try:
                connection.set(self._key, self._value, ex=KEEP_S)
            finally:
                connection.close()
        except (redis.RedisError, OSError, ValueError) as error:
            logger.debug("no sign of life: %s", error)

    def _touch(self) -> None:
        if self._file is None:
            return
        try:
            self._file.touch()
        except OSError as error:  # a full disk; who looks at the file judges by its age
            logger.debug("no sign of life in %s: %s", self._file, error)


def signs(url: str) -> list[Sign]:
    """Who has given a sign of life lately.

    Raises:
        redis.RedisError: the broker does not answer.
        ValueError: its URL is none of Redis's own.
    """
    connection = redis_server.client(url)
    try:
        keys = list(connection.scan_iter(match=f"{PREFIX}*", count=1000))
        values: Any = connection.mget(keys) if keys else []
    finally:
        connection.close()
    return [_sign(json.loads(value)) for value in values if value is not None]


def _sign(said: dict[str, Any]) -> Sign:
    queues, bundles = tuple(said["queues"]), bool(said.get("bundles", False))
    return Sign(str(said["kind"]), str(said["name"]), queues, bundles)


def step(
    url: str, name: str, queues: Sequence[str], file: Path | None = None
) -> type[bootsteps.StartStopStep]:
    """A part of a Celery worker that gives its signs of life from the loop that takes messages."""
    giver: list[Giver] = []

    class SignsOfLife(bootsteps.StartStopStep):  # type: ignore[misc]  # untyped library
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:
            # After each new connection: the loop forgets its timers with the old one.
            if not giver:  # here: the process may have forked since it was set up
                giver.append(Giver(url, Sign(WORKER, name, tuple(queues)), file))
            giver[0].give()
            consumer.timer.call_repeatedly(EVERY_S, giver[0].give)

        def stop(self, _consumer: Any) -> None:
            """The timer goes with the connection."""

    return SignsOfLife

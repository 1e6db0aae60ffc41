"""The programs of a project: what the supervisor runs, and how each says that it is ready."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.context import Context
from services.errors import Conflict
from services.store.ready_file import ready_file
from services.units.pipeline import QUEUES
from services.worker import redis_repair, redis_server
from services.worker.children import Program


@dataclass(frozen=True, slots=True)
class Wish:
    """What to run beside relay and scheduler.

    Attributes:
        workers: worker processes by name, with their queues.
        port: of the API, None for none.
        environment: variables of every process.
        grace_s: how long a worker may go on with its unit when it is told to stop.
    """

    workers: Mapping[str, Sequence[str]]
    port: int | None
    environment: Mapping[str, str]
    grace_s: float


def programs(context: Context, wish: Wish) -> list[Program]:
    """All programs of a project on this machine, the broker first where it is embedded.

    Raises:
        Conflict: a worker is to serve a queue that there is none of.
        ToolUnavailable: there is no server for the embedded broker.
    """
    return list(_programs(context, wish))


def _programs(context: Context, wish: Wish) -> Iterator[Program]:
    if not context.settings.broker_url:
        yield _broker(context)
    yield _python(context, wish, "relay", "relay")
    yield _python(context, wish, "beat", "beat")
    for name, queues in wish.workers.items():
        unknown = set(queues) - set(QUEUES)
        if unknown:
            raise Conflict(f"no queue {', '.join(sorted(unknown))}: there are {QUEUES}")
        served = (f"--queues={','.join(queues)}", f"--name=worker-{name}")
        yield _python(context, wish, f"worker-{name}", "worker", *served, pool=True)
    if context.settings.ingest.watch_folder is not None:
        yield _python(context, wish, "watch", module="services.intake.watch")
    if wish.port is not None:
        yield _api(context, wish, wish.port)


def _broker(context: Context) -> Program:
    project = context.project
    url = redis_server.broker_url(context.settings, project)
    return Program(
        "redis",
        tuple(redis_server.command(project)),
        lambda _pid: redis_server.answers(url),
        death=signal.SIGTERM,  # it writes its file to the end
        grace_s=10.0,
        longest_wait_s=1.0,  # everybody waits for it
        mend=lambda status: redis_repair.mend(project, status),
    )


def _python(
    context: Context,
    wish: Wish,
    name: str,
    *arguments: str,
    pool: bool = False,
    module: str = "services.worker",
) -> Program:
    file = ready_file(context.project, name)

    def ready(pid: int) -> bool:
        return file.is_file() and file.read_text(encoding="utf-8") == str(pid)

    return Program(
        name,
        (sys.executable, "-m", module, *arguments),
        ready,
        wish.environment,
        grace_s=wish.grace_s if pool else 5.0,
        has_pool=pool,
    )


def _api(context: Context, wish: Wish, port: int) -> Program:
    def answers(_pid: int) -> bool:
        try:
            with socket.create_connection((context.settings.api.host, port), timeout=1.0):
                return True
        except OSError:
            return False

    environment = {**wish.environment, "E2X_API__PORT": str(port)}
    return Program("api", (sys.executable, "-m", "services.api"), answers, environment)

"""What a worker process has: its wiring, its models, and how it starts and ends.

Everything is made in the child process, on first use: neither database connections nor anything
of CUDA survives a fork.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from celery import Celery, signals

from services import context as wiring
from services import logs, tracing
from services.config.project import Project
from services.config.settings import Settings
from services.context import Context
from services.store.ready_file import announce_ready
from services.telemetry.counts import Recorder
from services.units.pipeline import load_extra_stages
from services.units.resident import Resident
from services.worker import redis_server
from services.worker.idle import Idle

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Own:
    """What belongs to this process.

    Attributes:
        context: settings, folders, sessions.
        resident: loaded models.
        owner: name that claims carry.
        idle: gives memory back between units.
        pid: the process that made it; a fork makes its own.
        recorder: counts what units take; None: nobody does.
    """

    context: Context
    resident: Resident
    owner: str
    idle: Idle
    pid: int
    recorder: Recorder | None = None


_own: Own | None = None


def own() -> Own:
    """The wiring of this process, made on first use."""
    global _own
    if _own is None or _own.pid != os.getpid():
        load_extra_stages()
        owner = f"{socket.gethostname()}:{os.getpid()}"
        context = wiring.build()
        url = redis_server.broker_url(context.settings, context.project)
        recorder = Recorder(partial(redis_server.client, url))
        _own = Own(context, Resident(), owner, Idle(), os.getpid(), recorder)
    return _own


def connect(app: Celery, name: str, settings: Settings, project: Project) -> None:
    """Set up logs, readiness and the ending of a worker and its children."""

    def set_up_logs(**_: Any) -> None:
        logs.configure(name, settings.log_level, project.logs, settings.logs)

    def child_started(**_: Any) -> None:
        signal.signal(signal.SIGTERM, _give_up)
        own()
        tracing.configure(name, settings)  # a thread, which does not survive a fork

    def child_ends(**_: Any) -> None:
        tracing.end()

    def worker_ready(**_: Any) -> None:
        announce_ready(project, name)

    signals.setup_logging.connect(set_up_logs, weak=False)
    signals.worker_process_init.connect(child_started, weak=False)
    signals.worker_process_shutdown.connect(child_ends, weak=False)
    signals.worker_ready.connect(worker_ready, weak=False)


def connect_beat(set_up_logs: Callable[..., None], ready: Callable[..., None]) -> None:
    """Set up logs and readiness of the scheduler."""
    signals.setup_logging.connect(set_up_logs, weak=False)
    signals.beat_init.connect(ready, weak=False)


def _give_up(_number: int, _frame: object) -> None:
    # Raised in the middle of a stage; the shell gives the unit back and lets it pass.
    sys.exit(0)

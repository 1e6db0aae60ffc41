"""Runs all processes of one project on one machine: what ``e2x up`` does.

::

    with Supervisor(context) as up:
        up.wait_ready()
        … up.api_url, up.memory_bytes() …

The embedded broker, the relay, the scheduler, one worker for each group of queues and the API are
child processes. One that dies is started again; all of them die with this one, however it dies.
Only one supervisor runs in a project at a time.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import IO, Self

import psutil

from services import log_files
from services.context import Context
from services.db import migrate
from services.db.engine import sqlite_file
from services.errors import ServiceError, ToolUnavailable
from services.store import private
from services.troubles import Troubles
from services.upkeep import sweep
from services.worker import redis_server, surroundings, up_file
from services.worker.children import Child
from services.worker.environment import environment_of
from services.worker.programs import Wish, programs
from services.worker.up_file import running

__all__ = ["WORKERS", "Supervisor", "SupervisorDied", "running"]

logger = logging.getLogger(__name__)

WORKERS: Mapping[str, Sequence[str]] = {
    "explain": ("explain",),
    "embed": ("embed", "index"),
    "train": ("train",),
    "default": ("default",),
}
"""Worker processes by name, with the queues that each serves."""

WATCH_S = 0.1
WORKER_GRACE_S = 8.0
READY_S = 120.0
"""Eight Python processes that start on two busy cores take about ten seconds."""
SAY_AGAIN_S = 1.0
"""Before the file that says what runs is tried again, where it could not be written."""


class SupervisorDied(ServiceError):
    """Nothing watches the processes any more, and with that they have ended too."""

    code = "supervisor_died"
    status = 500


class Supervisor:
    """Starts, watches and stops the processes of a project.

    Args:
        context: wiring of this process.
        workers: worker processes by name, with their queues; None: :data:`WORKERS`.
        api: whether to run the HTTP API.
        environment: more variables for the children.
        grace_s: how long a worker may go on with its unit when it is told to stop; after that the
            unit is given back.

    Raises:
        Conflict: (on start) another supervisor runs in this project.
        ToolUnavailable: (on start) the API's port is taken, or the configured broker is silent.
    """

    def __init__(
        self,
        context: Context,
        workers: Mapping[str, Sequence[str]] | None = None,
        api: bool = True,
        environment: Mapping[str, str] | None = None,
        grace_s: float = WORKER_GRACE_S,
    ) -> None:
        self._context = context
        self._project = context.project
        self._port = surroundings.free_port(context.settings.api) if api else None
        self._wish = Wish(
            dict(WORKERS if workers is None else workers),
            self._port,
            {**environment_of(context.settings), **(environment or {})},
            grace_s,
        )
        self._children: dict[str, Child] = {}
        self._troubles = Troubles(logger)
        self._said: dict[str, int] = {}
        self._not_said_before = 0.0
        self._lock: IO[str] | None = None
        self._stopping = False
        self._stopped = threading.Event()
        self._restarting = threading.Lock()  # or a child is started while all are stopped
        self._watcher: threading.Thread | None = None
        self._embedded_broker = not context.settings.broker_url
        self._broker = redis_server.broker_url(context.settings, context.project)

    @property
    def api_url(self) -> str | None:
        """Where the API answers; None without an API."""
        if self._port is None:
            return None
        host = self._context.settings.api.host
        return f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{self._port}"

    @property
    def pids(self) -> dict[str, int]:
        """The running processes by name."""
        return {name: child.pid for name, child in self._children.items() if child.pid is not None}

    @property
    def restarts(self) -> dict[str, int]:
        """How often each process was started again."""
        return {name: child.restarts for name, child in self._children.items()}

    @property
    def watched(self) -> bool:
        """Whether processes that die are started again."""
        return self._watcher is not None and self._watcher.is_alive()

    def memory_bytes(self) -> int:
        """Memory of this process and all below it; a page that n of them share counts 1/n each."""
        total = 0
        own = psutil.Process()
        for process in (own, *own.children(recursive=True)):
            try:
                total += process.memory_full_info().pss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return total

    def start(self) -> None:
        """Migrate the database and start every process; returns before they are ready."""
        self._lock = up_file.take_lock(self._project)
        try:
            self._tidy()
            if self._port is not None:
                surroundings.require_port(self._context.settings.api.host, self._port)
            if not self._embedded_broker:
                surroundings.require_broker(self._broker)
            migrate.upgrade(self._context.engine)
            for program in programs(self._context, self._wish):
                log = self._project.logs / f"{program.name}.log"
                self._children[program.name] = Child(program, log, self._context.settings.logs)
            self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
            self._watcher.start()
        except BaseException:
            self.stop()
            raise

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Return once every process does its work.

        Raises:
            ToolUnavailable: one does not; the message has the end of its log.
            SupervisorDied: see :meth:`wait`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            waiting = [child for child in self._children.values() if not child.is_ready()]
            if not waiting and self._children:
                return
            if time.monotonic() > deadline:
                child = waiting[0]
                raise ToolUnavailable(
                    f"{child.program.name} is not ready after {timeout_s:g} s; its log "
                    f"({self._project.logs / child.program.name}.log) ends with:\n{child.tail()}"
                )
            self.wait(WATCH_S)  # not a sleep: without a watcher nothing becomes ready any more

    def stop(self) -> None:
        """Stop workers first, then what feeds them, the broker last."""
        with self._restarting:
            self._stopping = True
        for group in self._stop_order():
            for child in group:
                child.tell_to_stop()
            started = time.monotonic()
            for child in group:
                child.stop(started + child.program.grace_s)
        self._stopped.set()
        if self._watcher is not None and self._watcher.is_alive():
            self._watcher.join()
        self._children.clear()
        if self._lock is not None:
            up_file.up_file(self._project).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def run_forever(self) -> None:
        """Start, and stop when told so by Ctrl-C or SIGTERM.

        Raises:
            SupervisorDied: see :meth:`wait`.
        """
        told = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: told.set())
        with self:
            while not told.is_set():
                self.wait(0.5)

    def wait(self, seconds: float) -> None:
        """Let time pass while the processes are watched.

        Raises:
            SupervisorDied: they are not: whoever has started us must start us again.
        """
        if self._watcher is not None:
            self._watcher.join(seconds)
        if not self.watched:
            raise SupervisorDied(
                "the processes are not watched any more, and have ended: start them again; the "
                f"end of {self._project.logs / 'relay.log'} and `e2x doctor` may say why"
            )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _tidy(self) -> None:
        """What earlier processes have left: files that others can read, half files, old logs."""
        context = self._context
        private.close(self._project, sqlite_file(context.engine))
        log_files.clean(self._project.logs, context.settings.logs, idle_too=True)
        sweep.start(context)

    def _watch(self) -> None:
        # This thread starts all processes, and it lives until the last has stopped: the kernel
        # ends a guarded process with the thread that started it. So nothing may end it: neither a
        # full disk, nor a process that cannot be had.
        while True:
            with self._restarting:
                if not self._stopping:
                    self._look()
            if self._stopped.wait(WATCH_S):
                return

    def _look(self) -> None:
        for name, child in self._children.items():
            try:
                child.watch()
            except Exception as error:
                self._troubles.met(name, error)
            else:
                if child.pid is not None:
                    self._troubles.over(name)
        if self.pids == self._said or time.monotonic() < self._not_said_before:
            return
        try:
            self._say()
        except Exception as error:
            self._not_said_before = time.monotonic() + SAY_AGAIN_S
            self._troubles.met("up.json", error)
        else:
            self._troubles.over("up.json")

    def _say(self) -> None:
        pids = self.pids
        said = {"api_url": self.api_url, "processes": pids, "restarts": self.restarts}
        up_file.write(self._project, said)
        self._said = pids

    def _stop_order(self) -> list[list[Child]]:
        workers = [child for child in self._children.values() if child.program.has_pool]
        broker = [child for name, child in self._children.items() if name == "redis"]
        others = [c for c in self._children.values() if c not in workers and c not in broker]
        return [workers, others, broker]

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

import fcntl
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psutil

from services.context import Context
from services.db import migrate
from services.errors import Conflict, ToolUnavailable
from services.pipeline import QUEUES
from services.project import Project
from services.worker import redis_server, surroundings
from services.worker.children import Child, Program
from services.worker.environment import environment_of
from services.worker.lifecycle import ready_file

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
        self._grace_s = grace_s
        self._context = context
        self._project = context.project
        self._workers = dict(WORKERS if workers is None else workers)
        self._port = surroundings.free_port(context.settings.api) if api else None
        self._environment = {**environment_of(context.settings), **(environment or {})}
        self._children: dict[str, Child] = {}
        self._lock: IO[str] | None = None
        self._stopping = False
        self._stopped = threading.Event()
        self._restarting = threading.Lock()
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
        self._lock = _take_lock(self._project)
        try:
            if self._port is not None:
                surroundings.require_port(self._context.settings.api.host, self._port)
            if not self._embedded_broker:
                surroundings.require_broker(self._broker)
            migrate.upgrade(self._context.engine)
            for program in self._programs():
                child = Child(program, self._project.logs / f"{program.name}.log")
                self._children[program.name] = child
            self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
            self._watcher.start()
        except BaseException:
            self.stop()
            raise

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Return once every process does its work.

        Raises:
            ToolUnavailable: one does not; the message has the end of its log.
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
            time.sleep(WATCH_S)

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
            up_file(self._project).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def run_forever(self) -> None:
        """Start, and stop when told so by Ctrl-C or SIGTERM."""
        told = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: told.set())
        with self:
            while not told.wait(0.5):
                pass

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

    def _watch(self) -> None:
        # This thread starts all processes, and it lives until the last has stopped: the kernel
        # ends a guarded process with the thread that started it.
        known: dict[str, int] = {}
        while True:
            with self._restarting:
                if not self._stopping:
                    for child in self._children.values():
                        child.watch()
                    if self.pids != known:
                        known = self.pids
                        self._write_up_file(known)
            if self._stopped.wait(WATCH_S):
                return

    def _write_up_file(self, pids: Mapping[str, int]) -> None:
        text = json.dumps(
            {
                "pid": os.getpid(),
                "api_url": self.api_url,
                "processes": dict(pids),
                "restarts": self.restarts,
            }
        )
        file = up_file(self._project)
        temporary = file.with_suffix(".new")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)

    def _stop_order(self) -> list[list[Child]]:
        workers = [child for child in self._children.values() if child.program.has_pool]
        broker = [child for name, child in self._children.items() if name == "redis"]
        others = [c for c in self._children.values() if c not in workers and c not in broker]
        return [workers, others, broker]

    def _programs(self) -> list[Program]:
        programs = []
        if self._embedded_broker:
            command = tuple(redis_server.command(self._project))
            programs.append(
                Program(
                    "redis",
                    command,
                    self._broker_answers,
                    death=signal.SIGTERM,  # it writes its file to the end
                    grace_s=10.0,
                    longest_wait_s=1.0,  # everybody waits for it
                )
            )
        programs += [self._python("relay", "relay"), self._python("beat", "beat")]
        for name, queues in self._workers.items():
            unknown = set(queues) - set(QUEUES)
            if unknown:
                raise Conflict(f"no queue {', '.join(sorted(unknown))}: there are {QUEUES}")
            programs.append(self._worker(f"worker-{name}", queues))
        if self._context.settings.ingest.watch_folder is not None:
            programs.append(self._python("watch", module="services.watch"))
        if self._port is not None:
            environment = {**self._environment, "E2X_API__PORT": str(self._port)}
            command = (sys.executable, "-m", "services.api")
            programs.append(Program("api", command, self._api_answers, environment))
        return programs

    def _python(
        self, name: str, *arguments: str, pool: bool = False, module: str = "services.worker"
    ) -> Program:
        file = ready_file(self._project, name)

        def ready(pid: int) -> bool:
            return file.is_file() and file.read_text(encoding="utf-8") == str(pid)

        return Program(
            name,
            (sys.executable, "-m", module, *arguments),
            ready,
            self._environment,
            grace_s=self._grace_s if pool else 5.0,
            has_pool=pool,
        )

    def _worker(self, name: str, queues: Sequence[str]) -> Program:
        return self._python(
            name, "worker", f"--queues={','.join(queues)}", f"--name={name}", pool=True
        )

    def _broker_answers(self, _pid: int) -> bool:
        return redis_server.answers(self._broker)

    def _api_answers(self, _pid: int) -> bool:
        assert self._port is not None
        host = self._context.settings.api.host
        try:
            with socket.create_connection((host, self._port), timeout=1.0):
                return True
        except OSError:
            return False


def up_file(project: Project) -> Path:
    """What runs, for other processes: ``{"pid": …, "api_url": …, "processes": {name: pid}}``."""
    return project.state / "up.json"


def running(project: Project) -> dict[str, Any] | None:
    """What the supervisor of a project says, None where none runs."""
    try:
        lock = _take_lock(project)
    except Conflict:
        try:
            said: dict[str, Any] = json.loads(up_file(project).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {"pid": None, "api_url": None, "processes": {}, "restarts": {}}
        return said
    lock.close()
    return None


def _take_lock(project: Project) -> IO[str]:
    lock = (project.state / "up.lock").open("a", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise Conflict(
            f"the services of {project.root} are up already: stop them first (Ctrl-C where "
            "`e2x up` runs)"
        ) from None
    return lock

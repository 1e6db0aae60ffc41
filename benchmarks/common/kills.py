"""Kills or cuts off processes of a project at random while its units are worked on."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

import psutil
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from services.context import Context
from services.db.engine import reading
from services.db.tables import Unit, UnitState
from services.errors import ToolUnavailable
from services.worker.supervisor import Supervisor

logger = logging.getLogger(__name__)

CUT_S = 3.0
"""Longer than a lease of the tests: a worker that goes on after it must find its unit taken."""
LOOK_S = 3.0
"""How long a running unit is looked for; all workers may be down."""


def stand_still(pids: Iterable[int], seconds: float = CUT_S) -> None:
    """Stop processes for a while, as a network that is cut or a host that swaps does.

    Raises:
        ProcessLookupError: one of them has ended.
    """
    stopped = list[int]()
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        time.sleep(seconds)
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Chaos:
    """A thread that sends SIGKILL to a random process again and again.

    Args:
        up: the supervisor of the processes.
        context: wiring of the project.
        seed: of the choice and of the waits.
        pause_s: the longest wait between two kills.
        targets: names of processes, ``child`` for a pool process that works on a unit, ``cut
            child`` and ``cut redis`` for such ones that stand still for :data:`CUT_S`, and names
            of ``actions``.
        settled_s: how long to wait before each kill for all processes to do their work again;
            with 0 a slow machine may do nothing else than start them.
        actions: more targets by name; each returns when what it has stopped is there again.
    """

    def __init__(
        self,
        up: Supervisor,
        context: Context,
        seed: int,
        pause_s: float = 1.0,
        targets: tuple[str, ...] = ("child", "child", "worker-explain", "redis", "relay"),
        settled_s: float = 0.0,
        actions: Mapping[str, Callable[[], object]] | None = None,
    ) -> None:
        self.kills: Counter[str] = Counter()
        self._up = up
        self._context = context
        self._random = random.Random(seed)
        self._pause_s = pause_s
        self._targets = targets
        self._settled_s = settled_s
        self._actions = actions or {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos", daemon=True)

    def __enter__(self) -> Chaos:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        deck: list[str] = []
        while not self._stop.wait(self._random.uniform(0.1, self._pause_s)):
            if not deck:  # every target comes in every round
                deck = self._random.sample(self._targets, len(self._targets))
            name = deck.pop()
            self._settle()
            try:
                self.kills[name] += self._hit(name)
            except SQLAlchemyError as error:  # of who looks for a busy child
                logger.warning("%s is left alone: %s", name, error)

    def _hit(self, name: str) -> bool:
        """Kill or cut off a target; False where there is none now."""
        if name in self._actions:
            self._actions[name]()
            return True
        cut, _, who = name.rpartition(" ")
        pid = self._busy_child() if who == "child" else self._up.pids.get(who)
        if pid is None:
            return False
        try:
            if cut:
                stand_still([pid])
            else:
                os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def _settle(self) -> None:
        if not self._settled_s:
            return
        try:
            self._up.wait_ready(self._settled_s)
        except ToolUnavailable:  # it is killed all the same: it may be what it never recovers from
            logger.warning("killed before all was up again")

    def _busy_child(self) -> int | None:
        """The pool process of a unit that runs now; killing an idle one shows little."""
        deadline = time.monotonic() + LOOK_S
        while time.monotonic() < deadline:
            with reading(self._context.sessions) as session:
                owner = session.scalar(select(Unit.owner).where(Unit.state == UnitState.LEASED))
            pid = int(owner.rpartition(":")[2]) if owner else 0
            if pid and psutil.pid_exists(pid):
                return pid
            time.sleep(0.01)
        return None

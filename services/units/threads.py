"""How many threads a unit may compute with.

Two PyTorch processes with two threads each on two cores run ten times slower than with one each:
a thread that waits for its peers spins. So the cores are divided by the processes of this host that
compute at the moment, counted in the database when a unit starts. A training that starts alone gets
every core; what starts beside it takes its share of one and does not slow it by much.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from sqlalchemy import func, select

from services.context import Context
from services.db.engine import reading
from services.db.tables import Unit, UnitState

COMPUTING = ("explain", "embed", "index", "train")
"""Queues whose units run a network."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Linux control groups, version 2: "quota period" in microseconds, or "max period"."""


def cores() -> int:
    """The cores that this process may use, at least 1; a container's quota counts."""
    allowed = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()
        allowed = min(allowed, round(int(quota) / int(period)))
    except (OSError, ValueError):  # no control groups, or no limit
        pass
    return max(1, allowed)


def available(context: Context) -> int:
    """Threads for a unit that runs now: the setting, or the cores over the busy processes.

    A process may hold many units that it works on one after the other, and those of other hosts
    compute on cores of their own.
    """
    if context.settings.workers.threads:
        return context.settings.workers.threads
    with reading(context.sessions) as session:
        busy = session.scalar(
            select(func.count(Unit.owner.distinct())).where(
                Unit.state == UnitState.LEASED,
                Unit.queue.in_(COMPUTING),
                Unit.owner.startswith(f"{socket.gethostname()}:", autoescape=True),
            )
        )
    return max(1, cores() // max(1, busy or 0))


def limit(number: int) -> None:
    """Let PyTorch use so many threads in this process, if a stage has loaded it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != number:
        torch.set_num_threads(number)


def set_variables(number: int) -> None:
    """Set what numeric libraries read when they load, unless somebody has set it."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, str(number))
    sleep_while_waiting()


def sleep_while_waiting() -> None:
    """Let a thread that waits for its peers sleep; it would spin, unless somebody wishes that.

    A pass of two threads takes many times as long where something else has one's core.
    OpenMP reads the variable when PyTorch loads, here and in the processes that this one starts.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

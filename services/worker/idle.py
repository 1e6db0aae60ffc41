"""What a worker gives back when it has nothing to do.

A worker keeps the memory that its batches were computed in, since asking for it anew costs up to
half of a pass. But a worker that explains waits while another trains, with a GB that the training
could have.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from retrain.memory import give_back_freed_memory

IDLE_S = 2.0
"""Without work for so long. Units of one kind follow each other within a fraction of a second."""


class Idle:
    """Calls something once when no unit has run for a while.

    Args:
        then: what to call, in a thread of its own.
        idle_s: after so long without a unit.
    """

    def __init__(
        self, then: Callable[[], None] = give_back_freed_memory, idle_s: float = IDLE_S
    ) -> None:
        self._then, self._idle_s = then, idle_s
        self._timer: threading.Timer | None = None

    @contextmanager
    def busy(self) -> Iterator[None]:
        """For the length of a unit."""
        if self._timer is not None:
            self._timer.cancel()
        try:
            yield
        finally:
            self._timer = threading.Timer(self._idle_s, self._then)
            self._timer.daemon = True  # it must not keep a process that is told to stop
            self._timer.start()

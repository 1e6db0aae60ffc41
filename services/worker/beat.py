"""The scheduler's clock: seconds since it started, whatever becomes of the time of day.

Celery's own compares times of day. After a clock that was ahead is put right, what was sent last
was sent in the future, and nothing is sent until then. A file of when things were sent last is not
needed either: all that is sent here may be sent at any time, and is, as the scheduler starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from celery.beat import Scheduler

from services.worker import alive

ALIVE_FILE = "e2x_alive_file"
"""Name in the application's configuration, which is all of ours that a scheduler is given."""


BROKER = "e2x_broker"
"""The same: the broker as the setting names it."""


class SteadyScheduler(Scheduler):  # type: ignore[misc]  # Celery has no types
    """Sends each entry as it starts, and then whenever the entry's seconds have passed.

    While it does, it gives signs of life.

    Attributes:
        clock: seconds that never go back.
    """

    clock: Callable[[], float] = staticmethod(time.monotonic)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._next_s: dict[str, float] = {}
        super().__init__(*arguments, **options)
        sign = alive.Sign(alive.SCHEDULER, alive.SCHEDULER)
        file = self.app.conf.get(ALIVE_FILE)
        self._alive = alive.Giver(str(self.app.conf[BROKER]), sign, file)

    def tick(self, *_: Any, **__: Any) -> float:
        """Send what is due; seconds until something is."""
        now_s = self.clock()
        for name, entry in self.schedule.items():
            if now_s >= self._next_s.get(name, now_s):
                self._next_s[name] = now_s + entry.schedule.run_every.total_seconds()
                self.apply_entry(entry, producer=self.producer)
        self._alive.give()
        wait_s = min(self._next_s.values(), default=now_s + self.max_interval) - self.clock()
        return float(max(0.0, min(wait_s, self.max_interval)))

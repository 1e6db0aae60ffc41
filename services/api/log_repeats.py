"""A log that strangers cannot fill: lines that repeat are written a few times, then counted."""

from __future__ import annotations

import copy
import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.api.answers import strangers

FIRST, WINDOW_S = 20, 60.0
MAX_KINDS = 1000
"""Kinds of lines that are told apart at once; what comes beyond is counted as one kind."""


@dataclass(slots=True)
class _Kind:
    """Lines of one kind since the window began."""

    until_s: float
    seen: int = 0
    last: logging.LogRecord | None = None


class RepeatLimit(logging.Filter):
    """Lets the first lines of a kind through; of the others one line says how many there were.

    A kind is logger, level and the text before its values are put in. Limited are warnings and
    what is above, and whatever ``loggers`` say.

    Args:
        write: takes the line that counts; most often the handler's ``handle``.
        loggers: whose lines of any level are limited.
        first: lines of a kind that are written in a window.
        window_s: seconds.
    """

    def __init__(
        self,
        write: Callable[[logging.LogRecord], object],
        loggers: tuple[str, ...] = (strangers.name,),
        first: int = FIRST,
        window_s: float = WINDOW_S,
    ) -> None:
        super().__init__()
        self._write, self._loggers = write, loggers
        self._first, self._window_s = first, window_s
        self._kinds: dict[tuple[str, int, str], _Kind] = {}
        self._lock = threading.Lock()  # handlers run in the threads of many requests

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        if record.levelno < logging.WARNING and record.name not in self._loggers:
            return True
        if getattr(record, "repeated", 0):  # the line that counts
            return True
        key = (record.name, record.levelno, str(record.msg)[:200])
        now = time.monotonic()
        with self._lock:
            ended = self._ended(now)
            if key not in self._kinds and len(self._kinds) >= MAX_KINDS:
                key = ("others", record.levelno, "")
            kind = self._kinds.setdefault(key, _Kind(now + self._window_s))
            kind.seen += 1
            written = kind.seen <= self._first
            if not written:
                kind.last = record
        for one in ended:
            self._tell(one)
        return written

    def look(self, *, all_of_them: bool = False) -> None:
        """Write what was counted in windows that have ended, or at the end of a process in all."""
        with self._lock:
            ended = self._ended(math.inf if all_of_them else time.monotonic())
        for kind in ended:
            self._tell(kind)

    def _ended(self, now: float) -> list[_Kind]:
        ended = [key for key, kind in self._kinds.items() if kind.until_s <= now]
        return [self._kinds.pop(key) for key in ended]

    def _tell(self, kind: _Kind) -> None:
        if kind.last is None:
            return
        line = copy.copy(kind.last)
        line.exc_info, line.exc_text = None, None
        line.msg = f"{kind.last.getMessage()} (and {kind.seen - self._first} like it)"
        line.args = None
        line.__dict__["repeated"] = kind.seen - self._first
        self._write(line)

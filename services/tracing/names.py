"""The span that is open in this thread or task, by its name alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from services import logs

TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
"""Version 00; of a later one nothing is known, and a trace of our own begins."""

_current: ContextVar[str | None] = ContextVar("e2x_traceparent", default=None)


def current() -> str | None:
    """``traceparent`` of the span that is open, 55 characters; None where none is."""
    return _current.get()


def of_header(text: str | None) -> str | None:
    """A ``traceparent`` that somebody sent, None where it is none."""
    return text if text is not None and TRACEPARENT.fullmatch(text) else None


@contextmanager
def within(traceparent: str | None) -> Iterator[None]:
    """Have a span as the current one, and in every line that is logged meanwhile."""
    named = None if traceparent is None else TRACEPARENT.fullmatch(traceparent)
    if named is None:
        yield
        return
    token = _current.set(traceparent)
    try:
        with logs.bound(trace_id=named[1], span_id=named[2]):
            yield
    finally:
        _current.reset(token)

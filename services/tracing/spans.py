"""Spans: opened around a piece of work, or written down after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal

from services.tracing.names import current, within

Kind = Literal["internal", "server", "producer", "consumer"]
Values = Mapping[str, str | int | float | bool | None]

_tracer: Any = None
"""Of this process; None while nothing is collected."""


def use(tracer: Any) -> None:
    """Have spans made by a tracer of OpenTelemetry; None: by nobody."""
    global _tracer
    _tracer = tracer


def is_on() -> bool:
    """Whether spans of this process go anywhere."""
    return _tracer is not None


class Span:
    """A span that is open; where nothing is collected it takes everything and keeps nothing."""

    def __init__(self, real: Any = None) -> None:
        self._real = real

    def set(self, name: str, value: str | int | float | bool | None) -> None:
        """Give it an attribute; None is left out."""
        if self._real is not None and value is not None:
            self._real.set_attribute(name, value)

    def rename(self, name: str) -> None:
        """Call it otherwise, where that is known late."""
        if self._real is not None:
            self._real.update_name(name)

    def fail(self, why: str) -> None:
        """Mark it as one that ended in an error."""
        if self._real is not None:
            from opentelemetry.trace import Status, StatusCode

            self._real.set_status(Status(StatusCode.ERROR, why))


@contextmanager
def span(
    name: str, *, parent: str | None = None, kind: Kind = "internal", values: Values | None = None
) -> Iterator[Span]:
    """Open a span for the length of a block.

    Args:
        name: of the work, not of what it is done on.
        parent: ``traceparent`` of the span that asked for it; None: the one that is open here, or
            a trace of its own.
        kind: as OpenTelemetry has it.
        values: attributes; None is left out.
    """
    parent = parent or current()
    if _tracer is None:
        with within(parent):
            yield Span()
        return
    real = _start(name, parent, kind, values, None, ())
    opened = Span(real)
    try:
        with within(_name_of(real)):
            yield opened
    except BaseException as error:
        if not isinstance(error, SystemExit | KeyboardInterrupt | GeneratorExit):
            opened.fail(type(error).__name__)
        raise
    finally:
        real.end()


def record(
    name: str,
    *,
    parent: str | None,
    started_at: datetime,
    ended_at: datetime,
    kind: Kind = "internal",
    values: Values | None = None,
    links: Sequence[str | None] = (),
) -> None:
    """Write a span down whose beginning is in the past.

    Args:
        name: of what happened.
        parent: ``traceparent`` of the span that asked for it.
        started_at: when it began.
        ended_at: when it ended; a clock that was put back makes it none shorter than nothing.
        kind: as OpenTelemetry has it.
        values: attributes; None is left out.
        links: other traces that it belongs to.
    """
    if _tracer is None:
        return
    real = _start(name, parent, kind, values, started_at, links)
    real.end(_ns(max(started_at, ended_at)))


def _start(
    name: str,
    parent: str | None,
    kind: Kind,
    values: Values | None,
    started_at: datetime | None,
    links: Sequence[str | None],
) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanKind

    linked = [_context_of(one) for one in links if one is not None]
    return _tracer.start_span(
        name,
        context=Context() if parent is None else _inside(parent),
        kind=SpanKind[kind.upper()],
        attributes={key: value for key, value in (values or {}).items() if value is not None},
        links=[Link(one) for one in linked],
        start_time=None if started_at is None else _ns(started_at),
    )


def _inside(traceparent: str) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


def _context_of(traceparent: str) -> Any:
    from opentelemetry.trace import get_current_span

    return get_current_span(_inside(traceparent)).get_span_context()


def _name_of(real: Any) -> str:
    context = real.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6) * 1000

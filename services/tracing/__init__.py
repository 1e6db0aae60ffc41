"""Traces from a frame's report to its label task, over processes and retries.

Where a span began a unit of work, the row of that unit keeps its name (W3C Trace Context). Whoever
works on the unit later goes on from there: another process, another host, another try. Spans leave
by OTLP over HTTP, in a thread of their own; where nothing collects them nothing is held up.

Without an endpoint there are no spans, but a trace that began elsewhere is passed on: in the rows,
and in the lines of the logs.

Source:
    https://www.w3.org/TR/trace-context/ for ``traceparent``.
"""

from services.tracing.names import current, of_header, within
from services.tracing.setup import configure, end
from services.tracing.spans import Span, is_on, record, span

__all__ = ["Span", "configure", "current", "end", "is_on", "of_header", "record", "span", "within"]

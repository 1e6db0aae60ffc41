"""What the time from a report to its label task is given to: every moment to one part."""

from __future__ import annotations

import pytest

from benchmarks.common.collector import Seen
from benchmarks.latency import parts
from benchmarks.latency.parts import parts_of

S = 10**9


def span(name: str, start_s: float, end_s: float, service: str = "w", **values: object) -> Seen:
    told = {key.replace("_", "."): value for key, value in values.items()}
    return Seen(name, "t", "s", "p", service, int(start_s * S), int(end_s * S), False, told, ())


def test_every_moment_is_given_to_one_part() -> None:
    spans = [
        span("POST /v1/frames", 0, 1, "e2x-api"),
        span("outbox", 0.5, 2, e2x_unit=1),
        span("scan", 3, 9, e2x_unit=1, e2x_attempt=1),
        span("scan: compute", 3.5, 8),
        span("scan: store", 8, 9),
        span("explain: compute", 7, 11),  # another worker, at the same time
        span("late", 13, 20),
    ]
    found = parts_of(spans, 0, 12 * S)
    assert found == pytest.approx(
        {
            parts.COMPUTING: 7.5,
            parts.STORING: 0.0,  # while another computed
            parts.REQUESTS: 1.0,
            parts.OUTBOX: 1.0,
            parts.HANDING: 1.0,
            parts.OTHER: 1.5,
        }
    )
    assert sum(found.values()) == pytest.approx(12)


def test_what_lies_outside_counts_for_nothing() -> None:
    found = parts_of([span("scan: compute", -5, 50)], 10 * S, 12 * S)
    assert found[parts.COMPUTING] == pytest.approx(2)
    assert sum(found.values()) == pytest.approx(2)

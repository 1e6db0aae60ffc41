"""What the time between two moments was spent on, by the spans that cover it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from benchmarks.common.collector import Seen

COMPUTING, STORING, REQUESTS, OUTBOX, HANDING, OTHER = PARTS = (
    "computing in the stages",
    "storing what the stages found",
    "answering requests",
    "waiting in the outbox",
    "from the relay to a worker that has it",
    "anything else",
)
"""In this order a moment is given away that several spans cover."""
OWN = PARTS[1:]
Span = tuple[int, int]


def parts_of(spans: Sequence[Seen], begin: int, end: int) -> dict[str, float]:
    """Seconds of each part between two moments; they sum to all of the time.

    Args:
        spans: of every trace and process in that time.
        begin: ns.
        end: ns.
    """
    covered = {
        COMPUTING: [_of(one) for one in spans if one.name.endswith(": compute")],
        STORING: [_of(one) for one in spans if one.name.endswith(": store")],
        REQUESTS: [_of(one) for one in spans if one.service == "e2x-api"],
        OUTBOX: [_of(one) for one in spans if one.name == "outbox"],
        HANDING: list(_handed(spans)),
    }
    moments = sorted(
        {begin, end}
        | {at for part in covered.values() for one in part for at in one if begin < at < end}
    )
    found = dict.fromkeys(PARTS, 0.0)
    for first, last in pairwise(moments):
        part = next(
            (
                name
                for name, several in covered.items()
                if any(low <= first and last <= high for low, high in several)
            ),
            OTHER,
        )
        found[part] += (last - first) / 1e9
    return found


def _of(span: Seen) -> Span:
    return span.start, span.end


def _handed(spans: Sequence[Seen]) -> list[Span]:
    """From the end of a unit's time in the outbox to the beginning of the unit."""
    begun = {one.values["e2x.unit"]: one.start for one in spans if "e2x.attempt" in one.values}
    sent = {one.values["e2x.unit"]: one.end for one in spans if one.name == "outbox"}
    return [(at, begun[unit]) for unit, at in sent.items() if begun.get(unit, 0) > at]

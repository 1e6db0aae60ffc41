"""Bars: what was wanted, what was measured, and whether the whole interval keeps it."""

from __future__ import annotations

from typing import Any, Literal

Sense = Literal[">=", "<="]
State = Literal["met", "missed", "open"]


def state(
    value: float | None, low: float | None, high: float | None, bound: float, sense: Sense
) -> State:
    """How a bar stands.

    Args:
        value: measured; None: it was not.
        low: end of its 95 % interval; None: there is none, and the value alone is judged.
        high: the other end.
        bound: the bar.
        sense: on which side of the bound the good values lie.

    Returns:
        "met" where the whole interval is on the good side, "missed" where all of it is on the
        other, else "open".
    """
    if value is None:
        return "open"
    worst, best = (value if low is None else low), (value if high is None else high)
    if sense == "<=":
        worst, best, bound = -best, -worst, -bound
    if worst >= bound:
        return "met"
    return "missed" if best < bound else "open"


def entry(
    value: float | None,
    low: float | None = None,
    high: float | None = None,
    *,
    bound: float,
    sense: Sense = ">=",
) -> dict[str, Any]:
    """A bar of a result file; ``met`` is of its whole interval, see :func:`state`."""
    met = state(value, low, high, bound, sense) == "met"
    return {"value": value, "low": low, "high": high, "bar": bound, "met": met}

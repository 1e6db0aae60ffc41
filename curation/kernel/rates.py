"""How fast something goes, from how often it has happened: a range, since counts are chance."""

from __future__ import annotations

CONFIDENCE = 0.8
"""Of the ranges: wide enough to be believed, narrow enough to plan by."""


def rate_range(count: int, seconds: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The rates that fit a count of events that come independently of each other.

    Args:
        count: events seen, at least 1.
        seconds: in which they were seen, above 0.
        confidence: share of such ranges that hold the true rate, between 0 and 1.

    Returns:
        The lowest and the highest rate, events a second.

    Raises:
        ValueError: nothing was seen, or in no time.

    Source:
        F. Garwood, "Fiducial limits for the Poisson distribution", Biometrika 28 (1936).
    """
    from scipy.special import gammaincinv  # SciPy loads only where a rate is asked for

    if count < 1 or not seconds > 0:
        raise ValueError(f"no rate: {count} events in {seconds} s")
    tail = (1 - confidence) / 2
    low, high = gammaincinv(count, tail), gammaincinv(count + 1, 1 - tail)
    return float(low) / seconds, float(high) / seconds

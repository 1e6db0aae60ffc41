"""Numbers of annotation files: tools write ``10``, ``10.0`` and ``"10"``, and mean one thing."""

from __future__ import annotations

import re
from typing import Any

_NUMBER = re.compile(
    r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*|\s*[+-]?nan\s*", re.I
)


def number(value: Any) -> float | None:
    """What a file says as a number, as number or text, else None; it may be infinite or nan.

    A truth value is no number, and neither is an integer that no float can hold.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value)
    return None


def numbers(values: Any, count: int) -> list[float] | None:
    """A list of exactly so many numbers, else None."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return None
    found = [number(value) for value in values]
    good = [one for one in found if one is not None]
    return good if len(good) == count else None

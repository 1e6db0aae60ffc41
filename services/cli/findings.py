"""What ``e2x doctor`` finds, wherever it looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's.

    Attributes:
        what: was looked at.
        state: ``ok``; ``warn``: works, but see the advice; ``fail``: something needed is missing.
        found: what was seen.
        advice: what to do.
    """

    what: str
    state: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""

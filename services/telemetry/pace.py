"""How many units go together: as many as take a fraction of a second, slow ones one by one.

What a unit takes is measured, not declared: the same stage takes milliseconds on a GPU and seconds
without, and much less where its results are stored already.
"""

from __future__ import annotations

GROUP_S = 0.25
"""Units that together take so long are claimed and ended together. So long others wait for the
database at most, and so much work is done twice when a worker dies."""
BUNDLE_S = 0.5
"""Units that together take so long go into one message, which one worker takes."""
MOST = 100
"""Units of a group or a message; what each costs besides its own work is small by then."""
NEWEST = 0.3
"""Share of the newest measurement in the mean: a change shows after a few groups."""


def together(unit_s: float | None, all_s: float) -> int:
    """How many units that take so long fit into a time, at least one.

    Args:
        unit_s: seconds that one takes; None: nobody knows, so one shows.
        all_s: seconds for all of them.
    """
    if unit_s is None:
        return 1
    return max(1, min(MOST, int(all_s / max(unit_s, 1e-6))))


class Pace:
    """What units of each kind take in this process.

    Attributes:
        changed: kinds and their seconds that nobody was told of yet.
    """

    def __init__(self) -> None:
        self.changed: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    def took(self, kind: str, seconds: float) -> None:
        """Count what a unit of a kind took, or one of a group in the mean."""
        before = self._seconds.get(kind, seconds)
        self._seconds[kind] = self.changed[kind] = before + NEWEST * (seconds - before)

    def group(self, kind: str) -> int:
        """How many units of a kind are claimed together."""
        return together(self._seconds.get(kind), GROUP_S)

"""Which of like things to show, so that each shows something new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def distinct_first(places: Sequence[tuple[str, str]], count: int) -> list[int]:
    """The order in which to show things, the best of what is not shown yet first.

    Args:
        places: frame and group (such as the drive) of each, the best first; empty where unknown,
            which is like no other.
        count: how many are shown; at least 0.

    Returns:
        All rows of ``places``: ``count`` of them such that a frame comes again only when every
        other frame has come, and a drive only when no frame of another is left; then the rest in
        the order they had.
    """
    frames: Counter[str] = Counter()
    groups: Counter[str] = Counter()
    left = list(range(len(places)))
    shown: list[int] = []
    while left and len(shown) < count:
        # Unknown places are never counted, so they stay at 0; min takes the first of equals.
        row = min(left, key=lambda one: (frames[places[one][0]], groups[places[one][1]]))
        left.remove(row)
        shown.append(row)
        for counter, place in zip((frames, groups), places[row], strict=True):
            counter[place] += bool(place)
    return shown + left

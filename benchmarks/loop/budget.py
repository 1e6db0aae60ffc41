"""Equal budgets in true boxes, for policies that choose by estimated ones."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from functools import cache
from itertools import accumulate

from benchmarks.loop.worlds import Sample


def spend(choose: Callable[[int], list[Sample]], budget_boxes: int) -> list[Sample]:
    """What a policy chooses for a budget of true boxes, in its order of choice.

    It is asked for the smallest budget, by its own estimate, whose labels spend the true one. One
    that divides its budget then divides all of it; nothing but the last images are cut.

    Args:
        choose: the images for a budget in estimated boxes; more for more, by and large.
        budget_boxes: true boxes; twice as many are asked for at most.
    """
    asked = cache(choose)
    requests = range(1, 2 * budget_boxes + 1)
    enough = bisect_left(requests, budget_boxes, key=lambda boxes: sum(map(price, asked(boxes))))
    chosen = asked(requests[min(enough, len(requests) - 1)])
    totals = list(accumulate(map(price, chosen)))
    return chosen[: bisect_right(totals, budget_boxes)]


def price(sample: Sample) -> int:
    """In boxes; looking at an image without objects costs as much as one."""
    return max(1, len(sample.truth))

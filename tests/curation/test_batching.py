"""What is decoded at once: in order, all of it, within both bounds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from curation.kernel.batching import in_batches

SIZES = st.lists(st.integers(1, 200), max_size=40)


@given(SIZES, st.integers(1, 10), st.integers(1, 300))
def test_batches_keep_order_and_bounds(sizes: list[int], most: int, budget: int) -> None:
    batches = list(in_batches(sizes, lambda size: size, most, budget))

    assert [size for batch in batches for size in batch] == sizes
    for batch in batches:
        assert 1 <= len(batch) <= most
        assert sum(batch) <= budget or len(batch) == 1
    for batch, after in pairwise(batches):  # none is cut short for nothing
        assert len(batch) == most or sum(batch) + after[0] > budget


def test_nothing_is_taken_before_it_is_wanted() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(9):
            taken.append(number)
            yield number

    batches = in_batches(items(), lambda _: 1, 3)
    assert next(batches) == [0, 1, 2]
    assert taken == [0, 1, 2, 3]

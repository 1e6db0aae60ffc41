"""Two people's boxes compared: the same, moved, renamed, missing, and in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.kernel.agreement import Pair, compare
from curation.kernel.types import FloatArray

CAR, BUS, MAN = (0, 0, 20, 10), (30, 0, 60, 20), (5, 40, 12, 60)


def boxes(*rows: tuple[float, float, float, float]) -> FloatArray:
    return np.array(rows, np.float32).reshape(-1, 4)


def verdicts(first: list[Pair]) -> list[str]:
    return [pair.verdict for pair in first]


def test_each_difference_is_named() -> None:
    found = compare(
        boxes(CAR, BUS, MAN, (70, 70, 80, 80)),
        ["car", "bus", "man", "dog"],
        boxes((6, 40, 13, 60), (30, 0, 60, 13), (0, 0, 20, 10), (90, 0, 99, 9)),
        ["man", "bus", "van", "cat"],
        min_iou=0.7,
    )
    assert verdicts(found) == ["class", "box", "same", "first", "second"]
    assert [(pair.first, pair.second) for pair in found] == [
        (0, 2), (1, 1), (2, 0), (3, None), (None, 3),
    ]  # fmt: skip
    assert found[1].iou == pytest.approx(13 / 20)
    assert found[0].iou == 1


def test_of_two_boxes_at_one_place_the_one_of_the_same_class_is_the_partner() -> None:
    first = boxes((0, 0, 20, 20), (0, 0, 20, 22))
    found = compare(first, ["man", "bike"], first[::-1].copy(), ["bike", "man"], 0.7)
    assert verdicts(found) == ["same", "same"]


def test_pairs_have_the_greatest_total_overlap() -> None:
    """One box in the middle of two may not take the only partner of the other."""
    first = boxes((0, 0, 10, 10), (4, 0, 14, 10))
    second = boxes((3, 0, 13, 10), (7, 0, 17, 10))
    found = compare(first, ["a", "a"], second, ["a", "a"], 0.5)
    assert [(pair.first, pair.second) for pair in found] == [(0, 0), (1, 1)]


@pytest.mark.parametrize(("first", "second"), [(0, 0), (0, 2), (2, 0)])
def test_answers_of_nothing(first: int, second: int) -> None:
    some = boxes(CAR, BUS)
    found = compare(some[:first], ["a"] * first, some[:second], ["a"] * second, 0.7)
    assert verdicts(found) == ["first"] * first + ["second"] * second


@settings(deadline=None)  # the first imports SciPy
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 2**32 - 1))
def test_it_is_the_same_from_both_sides(few: int, many: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = []
    for count in (few, many):
        corner = rng.uniform(0, 40, (count, 2))
        both = np.concatenate([corner, corner + rng.uniform(5, 30, (count, 2))], 1)
        sides.append((both.astype(np.float32), [str(one) for one in rng.integers(0, 2, count)]))
    there = compare(*sides[0], *sides[1], 0.7)
    back = compare(*sides[1], *sides[0], 0.7)
    assert sorted(one.iou for one in there) == pytest.approx(sorted(one.iou for one in back))
    assert sorted(pair.first for pair in there if pair.first is not None) == list(range(few))
    assert sorted(pair.second for pair in there if pair.second is not None) == list(range(many))

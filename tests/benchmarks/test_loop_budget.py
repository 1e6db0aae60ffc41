"""A budget in true boxes is spent as a policy would divide it, whatever its estimate is worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.loop.budget import price, spend
from benchmarks.loop.worlds import Sample
from curation.kernel.types import Truth


def sample(name: str, objects: int) -> Sample:
    """An image with so many objects."""
    truth = Truth(
        np.tile(np.array([0, 0, 9, 9], np.float32), (objects, 1)),
        np.ones(objects, np.int64),
        np.zeros(objects, np.bool_),
    )
    return Sample(name, f"{name}.png", name, (64, 64), truth, (None,) * objects, frozenset())


def ranks(samples: list[Sample], boxes: int) -> list[Sample]:
    """A policy that walks one list and takes every image for a single box."""
    return samples[:boxes]


def divides(first: list[Sample], second: list[Sample], boxes: int) -> list[Sample]:
    """A policy that spends half on one list, then half on the other."""
    return first[: boxes // 2] + second[: boxes - boxes // 2]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 80))
def test_a_list_is_cut_where_its_labels_spend_the_budget(counts: list[int], budget: int) -> None:
    pool = [sample(str(row), objects) for row, objects in enumerate(counts)]

    got = spend(lambda boxes: ranks(pool, boxes), budget)

    assert got == pool[: len(got)]
    paid = sum(map(price, got))
    assert paid <= budget
    following = pool[len(got) : len(got) + 1]
    assert not following or paid + price(following[0]) > budget


@pytest.mark.parametrize("objects", [1, 2, 5])
def test_a_policy_that_divides_keeps_its_proportions(objects: int) -> None:
    first = [sample(f"first{row}", objects) for row in range(200)]
    second = [sample(f"second{row}", objects) for row in range(200)]

    got = spend(lambda boxes: divides(first, second, boxes), 100)

    assert sum(map(price, got)) == 100
    assert sum(one in first for one in got) == pytest.approx(len(got) / 2, abs=1)


def test_an_image_without_objects_costs_a_box() -> None:
    pool = [sample(str(row), 0) for row in range(9)]
    assert len(spend(lambda boxes: ranks(pool, boxes), 4)) == 4


def test_a_policy_that_finds_nothing_gets_nothing() -> None:
    assert spend(lambda boxes: [], 50) == []

"""A policy ends where the budget buys nothing more, without a look at what it cannot pay for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from curation.index import RegionIndex
from curation.kernel.types import FloatArray
from curation.select import Budget, PoolImage, SelectionRequest, get, names
from curation.select.base import Candidate, Ledger
from curation.select.core_set import Pick, by_squared_distance, cover, farthest
from curation.select.offers import Offers
from curation.select.ranking import Ranker
from tests.selection_pool import POOL, indexed, name, pool, request

TAKEN = 3
LEFT_OVER = Budget(boxes=4 * TAKEN + 2)
"""Where every image costs four boxes, two are left that buy nothing."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> RegionIndex:
    return indexed(tmp_path_factory.mktemp("index"))


def counted(monkeypatch: pytest.MonkeyPatch, owner: type, method: str) -> list[object]:
    """The results of each call of a method from now on."""
    plain, results = getattr(owner, method), []

    def wrapper(*arguments: object) -> object:
        results.append(plain(*arguments))
        return results[-1]

    monkeypatch.setattr(owner, method, wrapper)
    return results


@pytest.mark.parametrize("policy", names())
def test_no_policy_asks_for_what_it_cannot_pay(
    index: RegionIndex, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = counted(monkeypatch, Ledger, "take")
    chosen = get(policy).select(request(index, LEFT_OVER, pool=pool([4.0])))
    assert len(chosen) == TAKEN
    assert asked == [True] * TAKEN


@pytest.mark.parametrize("policy", names())
def test_a_cheap_image_among_dear_ones_is_found(
    index: RegionIndex, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [replace(image, boxes_estimate=4.0) for image in pool()]
    images[40] = replace(images[40], boxes_estimate=2.0)
    asked = counted(monkeypatch, Ledger, "take")
    chosen = get(policy).select(request(index, LEFT_OVER, pool=images))
    assert name(40) in {candidate.image for candidate in chosen}
    assert asked == [True] * (TAKEN + 1)


@pytest.mark.parametrize("coverage", [0.0, 0.5])
def test_only_what_is_taken_is_explained(
    index: RegionIndex, coverage: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained = counted(monkeypatch, Ranker, "explained")
    twins = [replace(image, phash=row // 2 << 20) for row, image in enumerate(pool([4.0, 5.0]))]
    budget = Budget(boxes=62)
    chosen = get("e2x", coverage=coverage).select(request(index, budget, pool=twins))
    assert len(explained) == [candidate.share for candidate in chosen].count("mode") > 0


def vectors_only(count: int, costs: Sequence[float]) -> list[PoolImage]:
    rng = np.random.default_rng(0)
    return [
        PoolImage(f"{row:03d}", costs[row % len(costs)], vector=rng.normal(size=8).astype("f4"))
        for row in range(count)
    ]


@pytest.mark.parametrize("until", [0.5, 1.0])
def test_coverage_looks_as_often_as_it_takes(until: float) -> None:
    question = SelectionRequest(
        vectors_only(50, [4.0]), (), Budget(boxes=22), np.random.default_rng(0)
    )
    for plain in (farthest, by_squared_distance(question.rng)):
        ledger, looks = Ledger(question), [0]

        def pick(distances: FloatArray, plain: Pick = plain, looks: list[int] = looks) -> int:
            looks[0] += 1
            return plain(distances)

        cover(ledger, pick, "coverage", until)
        assert looks[0] == len(ledger.taken) == int(22 * until // 4)


def test_offers_close_what_is_taken_refused_or_dear() -> None:
    images = [replace(image, phash=0) for image in vectors_only(4, [1.0, 2.0, 3.0, 4.0])]
    images[1:] = [replace(image, phash=None) for image in images[1:]]
    images.append(replace(images[0], image="twin"))
    question = SelectionRequest(images, (), Budget(boxes=6), np.random.default_rng(0))
    ledger = Ledger(question)
    offers = Offers(ledger, images, until=0.9)  # 5.4 boxes

    def take(row: int) -> bool:
        image = images[row]
        return offers.take(row, Candidate(image.image, 0.0, None, "test", image.cost_boxes))

    assert offers
    assert take(0)
    assert offers.open.tolist() == [False, True, True, True, True]
    assert not take(4)  # a near-duplicate of the first
    assert not offers.open[4]
    assert take(1)
    assert offers.open.tolist() == [False, False, False, False, False]
    assert not offers
    assert not take(1)
    assert not take(2)  # the ledger would pay for it, the share does not
    assert ledger.fits(images[2])
    assert [candidate.image for candidate in ledger.taken] == ["000", "001"]


def test_an_order_is_left_when_nothing_is_affordable() -> None:
    images = vectors_only(9, [2.0])
    question = SelectionRequest(images, (), Budget(boxes=5), np.random.default_rng(0))
    offers, walked = Offers(Ledger(question), images), iter([8, 3, 3, 8, 1, 2, 0])
    for row in offers.among(walked):
        offers.take(row, Candidate(images[row].image, 0.0, None, "test", 2))
    assert list(walked) == [8, 1, 2, 0]
    assert not Offers(Ledger(question), [])


def test_the_ledger_refuses_by_itself() -> None:
    images = vectors_only(3, [2.0, 2.0, 9.0])
    barred = frozenset({images[1].image})
    question = SelectionRequest(images, (), Budget(boxes=5), np.random.default_rng(0), None, barred)
    ledger = Ledger(question)
    offered = [images[0], *images]
    candidates = [Candidate(image.image, 0.0, None, "test", 2) for image in offered]
    answers = [ledger.take(*pair) for pair in zip(offered, candidates, strict=True)]
    assert answers == [True, False, False, False]
    assert ledger.taken == candidates[:1]


@pytest.mark.parametrize("policy", names())
def test_the_order_of_the_pool_does_not_matter(index: RegionIndex, policy: str) -> None:
    rng = np.random.default_rng(2)
    images = [
        replace(image, rois=image.rois * np.float32(10.0 ** (row % 5)))
        for row, image in enumerate(pool([1.0, 2.0, 3.0]))
        if image.rois is not None
    ]
    assert len(images) == POOL
    answers = []
    for _ in range(4):
        chosen = get(policy).select(request(index, Budget(boxes=25), pool=images))
        answers.append([(candidate.image, candidate.score) for candidate in chosen])
        images = [images[row] for row in rng.permutation(POOL)]
    assert all(answer == answers[0] for answer in answers)

"""Every policy keeps to its budget; each finds what it is meant to find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation.index import RegionIndex
from curation.kernel.errors import BudgetTooSmall
from curation.kernel.types import FailureKind
from curation.select import (
    Budget,
    ModeQuery,
    PoolImage,
    SelectionRequest,
    get,
    names,
)
from curation.select.entropy import binary_entropy
from tests.selection_pool import (
    POOL,
    WIDTH,
    detections,
    indexed,
    name,
    pool,
    queries,
    request,
    unit,
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> RegionIndex:
    return indexed(tmp_path_factory.mktemp("index"))


@pytest.mark.parametrize("policy", names())
@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    boxes=st.one_of(st.none(), st.integers(0, 90)),
    images=st.one_of(st.none(), st.integers(0, 70)),
    costs=st.lists(st.floats(0, 12), min_size=1, max_size=7),
    excluded=st.frozensets(st.sampled_from([name(row) for row in range(POOL)])),
    seed=st.integers(0, 3),
    coverage=st.floats(0, 1),
)
def test_no_policy_breaks_the_rules(
    index: RegionIndex,
    policy: str,
    boxes: int | None,
    images: int | None,
    costs: list[float],
    excluded: frozenset[str],
    seed: int,
    coverage: float,
) -> None:
    if boxes is None and images is None:
        boxes = 10
    given_pool = pool(costs, seed)
    held_out = given_pool[seed]

    def run() -> list[object]:
        question = SelectionRequest(
            given_pool,
            queries(),
            Budget(boxes, images),
            np.random.default_rng(seed),
            index,
            excluded,
            (held_out.phash or 0,),
        )
        parameters = {"coverage": coverage} if policy == "e2x" else {}
        return list(get(policy, **parameters).select(question))

    try:
        chosen = run()
    except BudgetTooSmall:
        free = [i for i in given_pool if i.image not in excluded and i is not held_out]
        affordable = [i for i in free if boxes is None or i.cost_boxes <= boxes]
        assert not affordable or images == 0
        return
    ids = [candidate.image for candidate in chosen]  # type: ignore[attr-defined]
    cost = {image.image: image.cost_boxes for image in given_pool}
    assert len(set(ids)) == len(ids)
    assert not set(ids) & excluded
    assert held_out.image not in ids
    assert boxes is None or sum(cost[image] for image in ids) <= boxes
    assert images is None or len(ids) <= images
    assert [candidate.image for candidate in run()] == ids  # type: ignore[attr-defined]


def test_near_duplicates_are_asked_for_once(index: RegionIndex) -> None:
    images = pool()
    twins = [
        PoolImage(i.image, 1.0, (images[0].phash or 0) ^ (row & 3), i.detections, i.vector, i.rois)
        for row, i in enumerate(images)
    ]
    for policy in names():
        chosen = get(policy).select(request(index, Budget(images=9), pool=twins))
        assert len(chosen) == 1


def test_what_looks_like_a_labelled_image_is_not_asked_for(index: RegionIndex) -> None:
    images = pool()
    labelled, twin = images[0], images[1]
    images[1] = replace(twin, phash=(labelled.phash or 0) ^ 1)
    for policy in names():
        question = replace(
            request(index, Budget(images=POOL), pool=images), excluded=frozenset({labelled.image})
        )
        chosen = {candidate.image for candidate in get(policy).select(question)}
        assert chosen
        assert not chosen & {labelled.image, twin.image}, policy


def test_entropy_prefers_the_undecided() -> None:
    assert binary_entropy(np.array([0.5, 0.0, 1.0])) == pytest.approx([1, 0, 0], abs=1e-6)
    images = [
        PoolImage("sure", detections=detections([0.99, 0.98, 0.03])),
        PoolImage("torn", detections=detections([0.5])),
        PoolImage("many", detections=detections([0.2] * 9)),
        PoolImage("none", detections=None),
    ]
    rng = np.random.default_rng(0)
    question = SelectionRequest(images, (), Budget(images=4), rng)
    assert [c.image for c in get("entropy").select(question)][:2] == ["torn", "many"]
    assert get("entropy", aggregate="sum").select(question)[0].image == "many"


def test_whole_image_finds_the_failures_neighbours() -> None:
    vectors = unit(np.random.default_rng(3).normal(size=(POOL, WIDTH)))
    images = [PoolImage(name(row), vector=vectors[row]) for row in range(POOL)]
    queries_ = [
        ModeQuery(
            "m",
            FailureKind.FALSE_NEGATIVE,
            1,
            np.zeros((0, WIDTH), np.float32),
            np.zeros(0, np.float32),
            whole=unit(vectors[[7, 30]] + 0.02),
        )
    ]
    question = SelectionRequest(images, queries_, Budget(images=2), np.random.default_rng(0))
    chosen = get("whole_image").select(question)
    assert {candidate.image for candidate in chosen} == {name(7), name(30)}


def test_mistakes_of_the_caller_are_named(index: RegionIndex) -> None:
    with pytest.raises(ValueError, match="there are core_set, "):
        get("best")
    with pytest.raises(BudgetTooSmall, match="boxes or of images"):
        Budget()
    twice = [PoolImage("a"), PoolImage("a")]
    with pytest.raises(ValueError, match="twice"):
        get("random").select(request(index, Budget(images=1), pool=twice))
    blind = SelectionRequest(pool(), queries(), Budget(images=1), np.random.default_rng(0))
    with pytest.raises(ValueError, match="needs a region index"):
        get("e2x").select(blind)
    dear = [PoolImage("a", boxes_estimate=5)]
    with pytest.raises(BudgetTooSmall, match="cheapest costs 5"):
        get("random").select(request(index, Budget(boxes=4), pool=dear))

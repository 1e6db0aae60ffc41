"""Every policy keeps to its budget; each finds what it is meant to find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curation.errors import BudgetTooSmall
from curation.index import RegionIndex
from curation.select import (
    Budget,
    ModeQuery,
    PoolImage,
    SelectionRequest,
    get,
    names,
)
from curation.select.entropy import binary_entropy
from curation.types import Detections, FailureKind, FloatArray

WIDTH = 24
REGIONS = 6
POOL = 60
CAUSES = {"mode-a": range(0, 8), "mode-b": range(8, 14)}
"""Rows of the pool that hold each mode's cause."""


def unit(vectors: FloatArray) -> FloatArray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def detections(scores: list[float], label: int = 1) -> Detections:
    boxes = np.tile(np.array([[1, 1, 9, 9]], np.float32), (len(scores), 1))
    labels = np.full(len(scores), label, np.int64)
    return Detections(boxes, np.array(scores, np.float32), labels, labels)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> RegionIndex:
    rng = np.random.default_rng(0)
    index = RegionIndex(Path(tmp_path_factory.mktemp("index")), "encoder", WIDTH)
    vectors = unit(rng.normal(size=(POOL, REGIONS, WIDTH)) * 0.5)
    for number, rows in enumerate(CAUSES.values()):
        for row in rows:
            vectors[row, 2] = unit(query_vector(number) + 0.05 * rng.normal(size=WIDTH))
            vectors[row, 3] = unit(object_vector() + 0.05 * rng.normal(size=WIDTH))
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (REGIONS, 1))
    index.add([name(row) for row in range(POOL)], list(vectors), [boxes] * POOL)
    return index


def name(row: int) -> str:
    return f"i{row:02d}"


def query_vector(number: int) -> FloatArray:
    return np.eye(WIDTH, dtype=np.float32)[number]


def object_vector() -> FloatArray:
    return np.eye(WIDTH, dtype=np.float32)[-1]


def queries() -> list[ModeQuery]:
    whole = unit(np.random.default_rng(4).normal(size=(3, WIDTH)))
    return [
        ModeQuery(
            mode,
            FailureKind.FALSE_NEGATIVE,
            1,
            query_vector(number)[None],
            np.ones(1, np.float32),
            object_vector(),
            whole,
            size=float(len(rows)),
        )
        for number, (mode, rows) in enumerate(CAUSES.items())
    ]


def pool(costs: list[float] | None = None, seed: int = 1) -> list[PoolImage]:
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 2**63, POOL, dtype=np.uint64)
    vectors = unit(rng.normal(size=(POOL, WIDTH)))
    return [
        PoolImage(
            name(row),
            1.0 if costs is None else costs[row % len(costs)],
            int(hashes[row]),
            detections([0.1 * (row % 10), 0.9]),
            vectors[row],
            unit(rng.normal(size=(2, WIDTH))),
        )
        for row in range(POOL)
    ]


def request(index: RegionIndex, budget: Budget, **changes: object) -> SelectionRequest:
    given_pool = changes.pop("pool", None) or pool()
    rng = np.random.default_rng(0)
    return SelectionRequest(given_pool, queries(), budget, rng, index, **changes)  # type: ignore[arg-type]


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


def test_e2x_finds_the_causes_and_says_why(index: RegionIndex) -> None:
    chosen = get("e2x", coverage=0.0, alpha=1.0).select(request(index, Budget(images=14)))
    rows = {int(candidate.image[1:]) for candidate in chosen}
    assert rows == set(range(14))
    for candidate in chosen:
        assert candidate.mode is not None
        assert int(candidate.image[1:]) in CAUSES[candidate.mode]
        assert [match.query for match in candidate.matches] == [0, -1]
        assert min(match.similarity for match in candidate.matches) > 0.2
        assert candidate.share == "mode"
        assert "harm" in candidate.reason


def test_the_budget_is_divided_by_the_size_of_modes(index: RegionIndex) -> None:
    chosen = get("e2x", coverage=0.0, alpha=1.0).select(request(index, Budget(boxes=7)))
    modes = [candidate.mode for candidate in chosen]
    assert modes.count("mode-a") == 4
    assert modes.count("mode-b") == 3


def test_a_share_goes_to_coverage(index: RegionIndex) -> None:
    chosen = get("e2x", coverage=0.5).select(request(index, Budget(images=20)))
    shares = [candidate.share for candidate in chosen]
    assert shares.count("coverage") == 10
    assert shares.count("mode") == 10


def test_near_duplicates_are_asked_for_once(index: RegionIndex) -> None:
    images = pool()
    twins = [
        PoolImage(i.image, 1.0, (images[0].phash or 0) ^ (row & 3), i.detections, i.vector, i.rois)
        for row, i in enumerate(images)
    ]
    for policy in names():
        chosen = get(policy).select(request(index, Budget(images=9), pool=twins))
        assert len(chosen) == 1


def test_weak_detections_near_a_match_decide_between_equals(index: RegionIndex) -> None:
    sure, weak, nothing = detections([0.9]), detections([0.1]), detections([])
    policy = get("e2x", coverage=0.0)
    images = [
        PoolImage(name(row), 1.0, None, (sure, nothing, weak)[min(row, 2) if row < 8 else 1])
        for row in range(POOL)
    ]
    ranking = policy.rank(queries()[0], images, index)  # type: ignore[attr-defined]
    order = [image.image for image, _ in ranking[:8]]
    assert set(order) == {name(row) for row in range(8)}
    assert order[-2:] == [name(1), name(0)]


def test_images_without_regions_come_last(index: RegionIndex) -> None:
    images = [*pool(), PoolImage("not-indexed")]
    ranking = get("e2x").rank(queries()[0], images, index)  # type: ignore[attr-defined]
    assert ranking[-1][0].image == "not-indexed"
    assert ranking[-1][1].matches == ()


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

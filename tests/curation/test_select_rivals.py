"""The rivals of selection by explanation: each does what its paper says, on small cases."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from curation.kernel.errors import BudgetTooSmall
from curation.kernel.types import Detections, FailureKind, FloatArray
from curation.select import Budget, ModeQuery, PoolImage, SelectionRequest, get, names
from curation.select.core_set import by_squared_distance

WIDTH = 8


def found(scores: list[float], labels: list[int] | None = None) -> Detections:
    boxes = np.tile(np.array([[1, 1, 9, 9]], np.float32), (len(scores), 1))
    classes = np.array(labels or [1] * len(scores), np.int64)
    return Detections(boxes, np.array(scores, np.float32), classes, classes)


def query(objects: FloatArray, whole: FloatArray | None = None) -> ModeQuery:
    nothing = np.zeros((0, WIDTH), np.float32)
    return ModeQuery(
        "m",
        FailureKind.FALSE_NEGATIVE,
        1,
        nothing,
        np.zeros(0, np.float32),
        whole=whole,
        objects=objects,
    )


def ask(pool: list[PoolImage], images: int, **changes: object) -> SelectionRequest:
    fields = {"queries": (), "budget": Budget(images=images), "rng": np.random.default_rng(0)}
    return SelectionRequest(pool, **{**fields, **changes})  # type: ignore[arg-type]


def on_a_circle(degrees: list[float]) -> list[PoolImage]:
    angles = np.radians(degrees)
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    return [PoolImage(f"{d:g}", vector=v) for d, v in zip(degrees, vectors, strict=True)]


def chosen(policy: str, request: SelectionRequest, **parameters: object) -> list[str]:
    return [candidate.image for candidate in get(policy, **parameters).select(request)]


def test_core_set_goes_where_nothing_is_known() -> None:
    pool = on_a_circle([0, 5, 90, 180, 185, 270])
    known = frozenset({"0"})
    assert set(chosen("core_set", ask(pool, 3, excluded=known))) == {"90", "180", "270"}
    labelled = np.array([[1, 0], [0, 1], [0, -1]], np.float32)
    first = chosen("core_set", ask(pool, 1, labelled=labelled))
    assert first[0] in {"180", "185"}


def test_squared_distance_gives_the_odds() -> None:
    pick = by_squared_distance(np.random.default_rng(1))
    drawn = np.bincount([pick(np.array([0.0, 0.5, 1.5], np.float32)) for _ in range(2000)])
    assert drawn[0] == 0
    assert drawn[2] / drawn[1] == pytest.approx(3, rel=0.2)
    assert pick(np.zeros(3, np.float32)) == 0


def test_k_means_depends_on_the_seed_and_core_set_does_not() -> None:
    pool = on_a_circle([float(d) for d in range(0, 360, 7)])
    seeds = [np.random.default_rng(seed) for seed in range(5)]
    assert len({tuple(chosen("k_means", ask(pool, 5, rng=rng))) for rng in seeds}) > 1
    assert len({tuple(chosen("core_set", ask(pool, 5, rng=rng))) for rng in seeds}) == 1


def test_coverage_and_neighbours_share_the_budget() -> None:
    pool = on_a_circle([float(d) for d in range(0, 360, 10)])
    whole = np.array([[1.0, 0.0]], np.float32)
    request = ask(pool, 10, queries=[query(np.zeros((0, WIDTH), np.float32), whole)])
    shares = [candidate.share for candidate in get("coverage_neighbours").select(request)]
    assert shares.count("coverage") == 3
    assert shares.count("whole_image") == 7
    no_failures = ask(pool, 4)
    assert len(get("coverage_neighbours").select(no_failures)) == 4
    with pytest.raises(ValueError, match="coverage"):
        get("coverage_neighbours", coverage=2.0)


def talisman_pool(seed: int) -> tuple[list[PoolImage], FloatArray]:
    """Seven images of two objects each, and three failed objects."""
    rng = np.random.default_rng(seed)
    pool = [
        PoolImage(
            str(row), detections=found([0.5, 0.5]), rois=rng.normal(size=(2, WIDTH)).astype("f4")
        )
        for row in range(7)
    ]
    return pool, rng.normal(size=(3, WIDTH)).astype(np.float32)


def mutual_information(pool: list[PoolImage], objects: FloatArray, names_: set[str]) -> float:
    """FLQMI with eta = 1, by plain loops."""
    mean = np.concatenate([image.rois for image in pool]).mean(0)

    def similarity(failed: FloatArray, image: PoolImage) -> float:
        best = 0.0
        for roi in image.rois:
            a, b = failed - mean, roi - mean
            best = max(best, float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))
        return best

    taken = [image for image in pool if image.image in names_]
    answered = sum(max(similarity(q, image) for image in taken) for q in objects)
    return answered + sum(max(similarity(q, image) for q in objects) for image in taken)


@pytest.mark.parametrize("seed", range(4))
def test_talisman_is_as_good_as_greedy_choice_promises(seed: int) -> None:
    pool, objects = talisman_pool(seed)
    names_ = chosen("talisman", ask(pool, 3, queries=[query(objects)]))
    subsets = itertools.combinations([image.image for image in pool], 3)
    best = max(mutual_information(pool, objects, set(subset)) for subset in subsets)
    value = mutual_information(pool, objects, set(names_))
    assert (1 - 1 / np.e) * best <= value <= best + 1e-5
    first = max(pool, key=lambda image: mutual_information(pool, objects, {image.image}))
    assert names_[0] == first.image


def test_talisman_does_not_ask_twice_for_the_same() -> None:
    axis = np.eye(WIDTH, dtype=np.float32)
    objects = axis[:2]
    rois = {"a": axis[0], "b": axis[0] * 0.99 + axis[5] * 0.1, "c": axis[1] * 0.9 + axis[6] * 0.4}
    pool = [
        PoolImage(name, detections=found([0.5]), rois=roi[None].astype("f4"))
        for name, roi in rois.items()
    ] + [PoolImage("none", detections=found([]), rois=np.zeros((0, WIDTH), np.float32))]
    assert chosen("talisman", ask(pool, 2, queries=[query(objects)])) == ["a", "c"]


def ppal_pool() -> list[PoolImage]:
    axis = np.eye(WIDTH, dtype=np.float32)
    return [
        PoolImage("hard", detections=found([0.5], [2]), rois=axis[:1]),
        PoolImage("twin", detections=found([0.5], [2]), rois=axis[:1] + 1e-3),
        PoolImage("easy", detections=found([0.48], [1]), rois=axis[1:2]),
        PoolImage("sure", detections=found([0.999], [1]), rois=axis[2:3]),
    ]


def test_ppal_weighs_uncertainty_by_difficulty() -> None:
    pool = ppal_pool()
    hard_is_easy = np.array([0, 1.0, 0.0], np.float32)
    firsts = [
        chosen("ppal", ask(pool, 1, difficulty=difficulty), expansion=1.0)[0]
        for difficulty in (None, hard_is_easy)
    ]
    assert firsts[0] in {"hard", "twin"}
    assert firsts[1] == "easy"


def test_ppal_spreads_over_objects_of_a_class() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        pair = chosen("ppal", ask(ppal_pool(), 2, rng=rng), expansion=1.5)
        assert set(pair) != {"hard", "twin"}
        assert "sure" not in pair


def test_ppal_fills_the_budget_when_nothing_is_uncertain() -> None:
    pool = [PoolImage(str(row), detections=None) for row in range(5)]
    assert len(chosen("ppal", ask(pool, 4))) == 4


def test_what_a_policy_lacks_is_named() -> None:
    pool = [PoolImage("a", detections=found([0.5]))]
    objects = np.ones((1, WIDTH), np.float32)
    for policy in ("talisman", "ppal"):
        with pytest.raises(ValueError, match="embed the detections"):
            chosen(policy, ask(pool, 1, queries=[query(objects)]))
    with pytest.raises(ValueError, match="2 region vectors, 1 detections"):
        replace(pool[0], rois=np.ones((2, WIDTH), np.float32))
    for policy in ("core_set", "k_means"):
        with pytest.raises(BudgetTooSmall):
            chosen(policy, ask(pool, 1))


def test_every_name_is_the_policys_own() -> None:
    assert all(get(name).name == name for name in names())

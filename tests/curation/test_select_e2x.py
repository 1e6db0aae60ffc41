"""Selection by explanation: what answers a mode, what is novel, and where a mode ends."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from curation.index import RegionIndex
from curation.kernel.types import Detections, FailureKind, FloatArray
from curation.select import Budget, KnownObjects, ModeQuery, PoolImage, get
from curation.select.e2x import E2XSelection
from curation.select.novelty import novelty
from curation.select.ranking import Ranker, Weights
from tests.selection_pool import (
    CAUSES,
    POOL,
    WIDTH,
    detections,
    indexed,
    name,
    object_vector,
    pool,
    queries,
    query_vector,
    request,
    unit,
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> RegionIndex:
    return indexed(tmp_path_factory.mktemp("index"))


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


def test_many_small_modes_do_not_take_a_small_budget(index: RegionIndex) -> None:
    """By Sainte-Laguë a mode gets an image where half an image is its due, and not before."""
    large, small = replace(queries()[0], size=30.0), queries()[1]
    others = [replace(small, mode=f"a-{number}", size=2.0) for number in range(6)]
    few, more = (
        [
            candidate.mode
            for candidate in get("e2x", alpha=1.0).select(
                request(index, Budget(images=images), queries=[*others, large])
            )
        ]
        for images in (5, 20)
    )
    assert few == [large.mode] * 5
    assert sorted(set(more)) == sorted([large.mode, *(query.mode for query in others)])
    assert more.count(large.mode) == 14


def test_a_share_goes_to_coverage(index: RegionIndex) -> None:
    chosen = get("e2x", coverage=0.5).select(request(index, Budget(images=20)))
    shares = [candidate.share for candidate in chosen]
    assert shares.count("coverage") == 10
    assert shares.count("mode") == 10


WEIGHTS = Weights(harm=0.25, unseen=0.1)


def seen(row: int, label: int, likeness: float) -> PoolImage:
    """An image with one weak detection whose vector is so like the missed object."""
    rest = np.sqrt(1 - likeness**2) * np.eye(WIDTH, dtype=np.float32)[2]
    roi = (likeness * object_vector() + rest).astype(np.float32)
    found = Detections(
        np.array([[0, 0, 9, 9]], np.float32), np.array([0.05]), np.array([label]), np.zeros(1)
    )
    return PoolImage(name(row), 1.0, None, found, None, roi[None])


def test_a_detection_like_the_missed_object_counts_more_where_its_class_is_right(
    index: RegionIndex,
) -> None:
    plain = [PoolImage(name(row)) for row in range(POOL)]
    images = [seen(30, 1, 0.99), seen(31, 2, 0.99), seen(32, 1, -0.9), *plain[33:]]
    (ranking,) = Ranker(images, index, WEIGHTS).rank(queries()[:1])
    found = {entry.image.image: entry for entry in ranking}
    right, wrong, unlike = (found[name(row)] for row in (30, 31, 32))
    assert right.likeness - wrong.likeness == pytest.approx(0.1, abs=0.01)
    assert wrong.likeness > unlike.likeness
    assert "half seen" in right.candidate.reason
    assert right.candidate.matches[-1].query == -1
    assert right.candidate.matches[-1].box_xyxy == (0, 0, 9, 9)
    assert "half seen" not in unlike.candidate.reason  # a region is more like it


def test_modes_ranked_together_are_ranked_as_each_alone(index: RegionIndex) -> None:
    silent = replace(queries()[0], mode="silent", vectors=queries()[0].vectors[:0])
    silent = replace(silent, weights=silent.weights[:0], object_vector=None, objects=None)
    ranker = Ranker(pool(), index, WEIGHTS)
    asked = [queries()[0], silent, queries()[1]]
    together = ranker.rank(asked)
    for query, ranking in zip(asked, together, strict=True):
        alone = ranker.rank([query])[0]
        assert [one.image.image for one in ranking] == [one.image.image for one in alone]
        for one, other in zip(ranking, alone, strict=True):
            assert one.candidate.score == pytest.approx(other.candidate.score, abs=1e-6)
            assert [match.query for match in one.candidate.matches] == [
                match.query for match in other.candidate.matches
            ]
    assert [len(list(ranking)) for ranking in together] == [POOL, 0, POOL]


def known(like: list[FloatArray]) -> KnownObjects:
    """Training objects of class 1: each of these forty times, with a little noise."""
    rng = np.random.default_rng(5)
    vectors = np.concatenate([v + 0.05 * rng.normal(size=(40, WIDTH)) for v in like])
    return KnownObjects(unit(vectors), np.ones(len(vectors), np.int64))


def moded(mode: str, axis: int, size: float) -> ModeQuery:
    """A mode whose objects point along an axis."""
    vector = query_vector(axis)
    objects = unit(np.tile(vector, (4, 1)) + 0.01)
    return ModeQuery(
        mode,
        FailureKind.FALSE_NEGATIVE,
        1,
        vector[None],
        np.ones(1, np.float32),
        vector,
        None,
        size,
        objects,
    )


def test_the_budget_goes_to_what_the_training_set_lacks(index: RegionIndex) -> None:
    modes = [moded("known", 0, 30.0), moded("missing", 1, 5.0)]
    ask = request(index, Budget(images=10), queries=modes, known=known([query_vector(0)]))
    chosen = get("e2x", coverage=0.0, stop_quantile=0.0).select(ask)
    assert {candidate.mode for candidate in chosen} == {"missing"}
    blind = get("e2x", coverage=0.0, novelty_power=0.0, stop_quantile=0.0).select(ask)
    assert [c.mode for c in blind].count("known") > 5


def test_where_nothing_is_missing_size_decides(index: RegionIndex) -> None:
    modes = [moded("a", 0, 30.0), moded("b", 1, 5.0)]
    everything = known([query_vector(0), query_vector(1)])
    shares = E2XSelection(alpha=1.0).shares(modes, everything, index)
    assert shares == pytest.approx([30 / 35, 5 / 35])


def test_what_its_own_frames_teach_is_taken_off_what_a_mode_is_due(index: RegionIndex) -> None:
    modes = [replace(moded("taught", 0, 5.0), taught=6.0), moded("untaught", 1, 5.0)]
    ask = request(index, Budget(images=10), queries=modes)

    def shares(taught: float) -> Counter[str | None]:
        chosen = get("e2x", taught=taught, stop_quantile=0.0).select(ask)
        return Counter(candidate.mode for candidate in chosen)

    assert shares(0.0) == {"taught": 5, "untaught": 5}
    assert shares(1.0) == {"taught": 2, "untaught": 8}  # eight boxes each


def test_a_mode_is_exhausted_where_images_are_like_the_training_set(index: RegionIndex) -> None:
    modes = [moded("a", 0, 5.0), moded("b", 1, 5.0)]
    images = [
        PoolImage(
            f"x{row:02d}",  # not indexed: only what the detector finds can answer
            detections=detections([0.1]),
            rois=query_vector(1 if row < 9 else 3)[None],
        )
        for row in range(40)
    ]
    trained = known([query_vector(3)])
    ask = request(index, Budget(images=9), pool=images, queries=modes, known=trained)
    chosen = get("e2x", coverage=0.0).select(ask)
    assert {candidate.image for candidate in chosen} == {f"x{row:02d}" for row in range(9)}
    assert {candidate.mode for candidate in chosen} == {"b"}
    endless = get("e2x", coverage=0.0, stop_quantile=0.0).select(ask)
    assert {candidate.mode for candidate in endless} == {"a", "b"}


def test_novelty_is_a_rank_among_the_known() -> None:
    rng = np.random.default_rng(0)
    centre = query_vector(0)
    like = unit(centre + 0.3 * rng.normal(size=(200, WIDTH)))
    same = unit(centre + 0.3 * rng.normal(size=(300, WIDTH)))
    other = unit(query_vector(2) + 0.3 * rng.normal(size=(50, WIDTH)))
    assert novelty(same, like).mean() == pytest.approx(0.5, abs=0.06)
    assert novelty(other, like).mean() > 0.98
    assert (novelty(same, like[:5]) == 1).all()
    slow = [
        np.mean(
            [
                np.sort([a @ b for j, b in enumerate(like) if j != i])[-5:].mean()
                > np.sort(like @ one)[-5:].mean()
                for i, a in enumerate(like)
            ]
        )
        for one in same[:3]
    ]
    assert novelty(same[:3], like) == pytest.approx(slow, abs=0.006)


def test_how_alike_known_objects_are() -> None:
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(70, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.repeat([1, 2, 3], [25, 40, 5])
    found = KnownObjects(vectors, labels).alike(lambda raw: raw)
    assert set(found) == {1, 2}  # five say nothing
    for label, rows in ((1, slice(0, 25)), (2, slice(25, 65))):
        pairs = (vectors[rows] @ vectors[rows].T)[np.triu_indices(len(vectors[rows]), 1)]
        assert found[label] == pytest.approx(pairs.mean(), abs=1e-5)
    assert KnownObjects(vectors[:0], labels[:0]).alike(lambda raw: raw) == {}


def test_known_objects_need_a_label_each() -> None:
    with pytest.raises(ValueError, match="3 vectors, 2 labels"):
        KnownObjects(np.zeros((3, 4), np.float32), np.zeros(2, np.int64))

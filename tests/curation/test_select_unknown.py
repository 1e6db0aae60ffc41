"""What has no usable vector and no region takes no part; the rest is chosen as if it were gone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from curation.index import RegionIndex
from curation.kernel.errors import BudgetTooSmall
from curation.kernel.types import Detections, FloatArray
from curation.select import Budget, Candidate, ModeQuery, PoolImage, SelectionRequest, get
from curation.select.ranking import Ranker, Weights
from tests.selection_pool import POOL, WIDTH, detections, indexed, name, pool, queries, request

NOT_FINITE = [np.nan, np.inf, -np.inf]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> RegionIndex:
    return indexed(tmp_path_factory.mktemp("index"))


def spoiled(vectors: FloatArray, value: float, row: int = 0) -> FloatArray:
    """A copy of vectors of which one number is not finite."""
    copy = np.array(vectors)
    copy.reshape(-1, copy.shape[-1])[row, 3] = value
    return copy


def chosen(policy: str, question: SelectionRequest, **parameters: object) -> list[Candidate]:
    """The answer to a question, always with the same random state."""
    return get(policy, **parameters).select(replace(question, rng=np.random.default_rng(7)))


COVERING = ["core_set", "k_means", "whole_image", "coverage_neighbours"]


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("policy", COVERING)
def test_an_image_whose_vector_is_not_finite_is_passed_over(
    index: RegionIndex, policy: str, value: float
) -> None:
    images = pool()
    assert images[0].vector is not None
    bad = replace(images[0], vector=spoiled(images[0].vector, value))
    ask = request(index, Budget(images=12), pool=images)
    without = chosen(policy, replace(ask, pool=images[1:]))
    assert chosen(policy, replace(ask, pool=[bad, *images[1:]])) == without
    assert chosen(policy, replace(ask, pool=[replace(bad, vector=None), *images[1:]])) == without


@pytest.mark.parametrize("policy", ["core_set", "k_means", "coverage_neighbours"])
def test_what_is_labelled_counts_where_its_vector_is_finite(
    index: RegionIndex, policy: str
) -> None:
    images = pool()
    assert images[5].vector is not None
    labelled = np.random.default_rng(1).normal(size=(4, WIDTH)).astype(np.float32)
    ask = replace(request(index, Budget(images=12), pool=images), labelled=labelled[1:])
    assert chosen(policy, replace(ask, labelled=spoiled(labelled, np.nan))) == chosen(policy, ask)
    ask = replace(ask, excluded=frozenset({name(4), name(5)}))
    bad = replace(images[5], vector=spoiled(images[5].vector, np.inf))
    images_with = [*images[:5], bad, *images[6:]]
    without = chosen(policy, replace(ask, pool=[*images[:5], *images[6:]]))
    assert chosen(policy, replace(ask, pool=images_with)) == without


@pytest.mark.parametrize("policy", ["whole_image", "coverage_neighbours"])
def test_a_failure_whose_vector_is_not_finite_asks_for_nothing(
    index: RegionIndex, policy: str
) -> None:
    (first, second), ask = queries(), request(index, Budget(images=12))
    assert first.whole is not None
    bad, rest = (
        replace(first, whole=own) for own in (spoiled(first.whole, np.nan), first.whole[1:])
    )
    answers = [chosen(policy, replace(ask, queries=[own, second])) for own in (bad, rest)]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("policy", ["talisman", "ppal", "e2x"])
def test_an_object_whose_vector_is_not_finite_resembles_nothing(
    index: RegionIndex, policy: str, value: float
) -> None:
    images = pool()
    assert images[9].rois is not None
    all_bad = np.full_like(images[9].rois, value)
    ask = request(index, Budget(images=12), pool=images)
    bad, without = (replace(images[9], rois=rois) for rois in (all_bad, None))
    answers = [
        chosen(policy, replace(ask, pool=[*images[:9], own, *images[10:]]))
        for own in (bad, without)
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("policy", ["talisman", "e2x"])
def test_the_other_objects_of_an_image_still_count(index: RegionIndex, policy: str) -> None:
    images = pool()
    for row, image in enumerate(images[:3]):
        assert image.rois is not None
        images[row] = replace(image, rois=spoiled(image.rois, np.nan, row=1))
    single = [
        replace(image, detections=detections([0.1 * row]), rois=image.rois[:1])
        for row, image in enumerate(images[:3])
        if image.rois is not None
    ]
    ask = request(index, Budget(images=12), pool=images)
    assert chosen(policy, ask) == chosen(policy, replace(ask, pool=[*single, *images[3:]]))


def test_a_failed_object_whose_vector_is_not_finite_asks_for_nothing(index: RegionIndex) -> None:
    objects = np.random.default_rng(3).normal(size=(4, WIDTH)).astype(np.float32)
    first, second = queries()
    ask = request(index, Budget(images=12))
    bad, rest = (replace(first, objects=own) for own in (spoiled(objects, np.nan), objects[1:]))
    answers = [chosen("talisman", replace(ask, queries=[own, second])) for own in (bad, rest)]
    assert answers[0] == answers[1]


def test_where_no_vector_is_finite_nothing_is_compared(index: RegionIndex) -> None:
    images = [
        replace(
            image,
            vector=np.full(WIDTH, np.nan, np.float32),
            rois=np.full((2, WIDTH), np.nan, np.float32),
        )
        for image in pool()
    ]
    ask = request(index, Budget(images=12), pool=images)
    for policy in COVERING:
        with pytest.raises(BudgetTooSmall):
            chosen(policy, ask)
    for policy in ("talisman", "ppal"):
        with pytest.raises(ValueError, match="embed the detections"):
            chosen(policy, ask)


@pytest.fixture
def unknown(tmp_path_factory: pytest.TempPathFactory) -> RegionIndex:
    """An index that holds nothing yet."""
    return RegionIndex(tmp_path_factory.mktemp("empty"), "encoder", WIDTH)


def blank(image: PoolImage) -> PoolImage:
    """Not looked at by the detector."""
    return replace(image, detections=None, rois=None)


def answered(images: list[PoolImage], query: ModeQuery, index: RegionIndex) -> list[str]:
    (ranking,) = Ranker(images, index, Weights(harm=0.25, unseen=0.1)).rank([query])
    return [entry.image.image for entry in ranking]


def test_an_image_without_regions_and_objects_answers_no_mode(
    index: RegionIndex, unknown: RegionIndex
) -> None:
    seen = PoolImage("seen", detections=detections([0.3]), rois=np.ones((1, WIDTH), np.float32))
    images = [*map(blank, pool()), PoolImage("not-indexed"), seen]
    ranked = answered(images, queries()[0], index)
    assert sorted(ranked) == [*(name(row) for row in range(POOL)), "seen"]
    assert answered(images, queries()[0], unknown) == ["seen"]


@pytest.mark.parametrize("coverage", [0.0, 0.4])
@pytest.mark.parametrize("images_in_index", [0, 5])
def test_the_budget_goes_to_coverage_where_nothing_answers(
    unknown: RegionIndex, images_in_index: int, coverage: float
) -> None:
    images = [blank(image) for image in pool()]
    images[::2] = [replace(image, vector=None) for image in images[::2]]  # coverage sees half
    regions = np.random.default_rng(6).normal(size=(images_in_index, 3, WIDTH)).astype(np.float32)
    boxes = np.tile(np.array([[0, 0, 10, 10]], np.float32), (3, 1))
    known = [name(row) for row in range(30, 30 + images_in_index)]
    unknown.add(known, list(regions), [boxes] * images_in_index)
    ask = request(unknown, Budget(images=50), pool=images)
    found = chosen("e2x", ask, coverage=coverage)
    modes = {candidate.image for candidate in found if candidate.share == "mode"}
    assert modes == set(known)
    assert {c.image for c in found} == set(known) | {
        i.image for i in images if i.vector is not None
    }
    assert {candidate.mode for candidate in found if candidate.share == "coverage"} == {None}
    assert all(candidate.matches for candidate in found if candidate.share == "mode")


def test_what_neither_answers_nor_covers_is_not_chosen(unknown: RegionIndex) -> None:
    images = [replace(blank(image), vector=None) for image in pool()]
    nothing = Detections(
        np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int), np.zeros(0, int)
    )
    images[3] = replace(images[3], detections=nothing, rois=np.zeros((0, WIDTH), np.float32))
    with pytest.raises(BudgetTooSmall, match="nothing can be selected"):
        chosen("e2x", request(unknown, Budget(images=8), pool=images))

"""A pool that cannot be held is seen a batch at a time, and the same images are chosen of it."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from curation.index import RegionIndex
from curation.select import Budget, Need, PoolImage, get, looking, names
from curation.select.vectors import Whole
from tests.selection_pool import POOL, indexed, pool, request

WALKING = [name for name in names() if Need.WHOLE_POOL in get(name).needs]
BATCH = 4


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> RegionIndex:
    folder: Path = tmp_path_factory.mktemp("index")
    return indexed(folder)


class Shown:
    """Gives images of a pool in batches, and knows of how many the vectors are alive."""

    def __init__(self, images: Sequence[PoolImage]) -> None:
        self._whole = {image.image: image for image in images}
        self._alive: list[weakref.ref[np.ndarray]] = []
        self.most_alive = self.with_objects = 0

    def __call__(self, images: Sequence[PoolImage], objects: bool) -> Iterator[PoolImage]:
        for start in range(0, len(images), BATCH):
            batch = [self._whole[one.image] for one in images[start : start + BATCH]]
            if objects:
                batch = [replace(one, rois=np.array(one.rois)) for one in batch]
                self._alive += [weakref.ref(one.rois) for one in batch if one.rois is not None]
                self.with_objects += len(batch)
            self.most_alive = max(self.most_alive, sum(one() is not None for one in self._alive))
            yield from batch


def light(image: PoolImage) -> PoolImage:
    """What is held of a large pool: no detections, no objects, a vector of half floats."""
    vector = None if image.vector is None else image.vector.astype(np.float16)
    return replace(image, detections=None, rois=None, vector=vector)


@pytest.mark.parametrize("policy", WALKING)
def test_the_same_is_chosen_of_a_pool_that_is_not_held(policy: str, index: RegionIndex) -> None:
    whole = [replace(one, vector=np.float32(np.float16(one.vector))) for one in pool()]
    held = get(policy).select(request(index, Budget(boxes=9), pool=whole))
    shown = Shown(whole)
    asked = request(index, Budget(boxes=9), pool=[light(one) for one in whole], look=shown)
    assert get(policy).select(asked) == held


def test_talisman_holds_the_objects_of_a_batch(index: RegionIndex) -> None:
    shown = Shown(pool())
    asked = request(index, Budget(boxes=9), pool=[light(one) for one in pool()], look=shown)
    assert get("talisman").select(asked)
    assert shown.most_alive <= 2 * BATCH + 1  # the last image of one batch, and the next


def test_ppal_holds_the_objects_of_what_it_keeps(
    index: RegionIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "MEAN_IMAGES", 12)
    shown = Shown(pool())
    asked = request(index, Budget(boxes=3), pool=[light(one) for one in pool()], look=shown)
    assert get("ppal").select(asked)
    kept = 4 * 3  # its expansion times the budget, of images that cost a box each
    assert shown.with_objects == kept + 12
    assert shown.most_alive <= kept + 2 * BATCH + 1


@pytest.mark.parametrize("size", [1, 7, 13, POOL])
def test_a_sample_is_spread_over_the_names(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "MEAN_IMAGES", 7)
    images = pool()[:size]
    found = [one.image for one in looking.sampled(images[::-1])]
    assert found == sorted(found)
    assert min(size, 4) <= len(found) <= 7
    assert found[0] == images[0].image


def test_vectors_in_blocks_are_compared_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.select.vectors.BLOCK", 7)
    images = pool()
    stacked = np.stack([one.vector for one in images]).astype(np.float64)
    moved = stacked - stacked.mean(0)
    units = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    whole = Whole(images)
    expected = units[:5] @ units.T
    np.testing.assert_allclose(whole.alike(stacked[:5].astype(np.float32)), expected, atol=1e-5)
    np.testing.assert_allclose(whole.to(3), expected[3], atol=1e-5)
    nearest = whole.nearest(stacked[:5].astype(np.float32))
    np.testing.assert_allclose(nearest, expected.max(0), atol=1e-5)

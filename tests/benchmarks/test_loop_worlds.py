"""The worlds of the loop benchmark keep apart what is trained on, selected and tested."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.loop import real
from benchmarks.loop.worlds import MIN_SIBLINGS, World

SPLITS = ("train", "field", "pool", "siblings", "holdout")


@pytest.fixture(scope="module", params=["carla-0", "carla-1", "bccd-0", "bccd-1"])
def world(request: pytest.FixtureRequest, shared_data: Path) -> World:
    """A world of real images under a seed."""
    name, seed = request.param.split("-")
    return (real.carla if name == "carla" else real.bccd)(shared_data, int(seed))


def test_no_image_is_in_two_splits(world: World) -> None:
    names = [sample.name for split in SPLITS for sample in getattr(world, split)]
    assert len(names) == len(set(names))
    assert all(getattr(world, split) for split in SPLITS)


def test_no_stretch_of_a_drive_is_in_two_splits(world: World) -> None:
    splits: dict[str, set[str]] = {}
    for split in SPLITS[1:]:
        for sample in getattr(world, split):
            splits.setdefault(world.group(sample), set()).add(split)
    assert all(len(found) == 1 for found in splits.values())


def test_the_training_set_lacks_every_cause(world: World) -> None:
    assert not any(sample.planted & set(world.cause_class) for sample in world.train)


def test_what_is_sought_is_rare_in_the_pool_and_seen_in_the_field(world: World) -> None:
    held = Counter(cause for sample in world.pool for cause in sample.planted)
    seen = {cause for sample in world.field for cause in sample.planted}
    assert world.sought
    assert all(0 < held[cause] <= world.sought_share * len(world.pool) for cause in world.sought)
    assert world.sought <= seen


def test_what_is_sought_can_be_told_by_the_siblings(world: World) -> None:
    told = Counter(cause for sample in world.siblings for cause in sample.planted)
    assert all(told[cause] >= MIN_SIBLINGS for cause in world.sought)


def test_seeds_deal_out_the_frames_of_a_drive_anew(shared_data: Path) -> None:
    """Blocks that turn together would give seeds the same pool."""
    first, second, third = (real.carla(shared_data, seed) for seed in range(3))
    pools = [{sample.name for sample in world.pool} for world in (first, second, third)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert len(pools[one] & pools[other]) < 0.7 * len(pools[one])
    assert first.groups == second.groups


def test_an_object_fails_by_a_cause_of_its_class(world: World) -> None:
    for sample in world.field:
        for label, cause in zip(sample.truth.labels, sample.causes, strict=True):
            assert cause is None or world.cause_class[cause] == label

"""Resampled figures are what COCO's evaluation says of the images that were drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.loop.tested import RESAMPLES, Tests, resampled, scored
from benchmarks.loop.worlds import Sample, World
from curation.kernel.types import Detections, Truth
from retrain.config import DetectorConfig

NAMES = ("background", "car", "bus")
CAUSE = "bus behind a car"


def sample(name: str, rng: np.random.Generator) -> tuple[Sample, Detections]:
    """Two to four objects; a sure detection of some, a false one."""
    count = int(rng.integers(2, 5))
    corner = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 40, (count, 2))], 1)
    labels = rng.integers(1, 3, count)
    truth = Truth(boxes.astype(np.float32), labels, np.zeros(count, np.bool_))
    held = frozenset([CAUSE]) if rng.random() < 0.5 else frozenset[str]()
    own = Sample(name, f"{name}.png", name, (100, 100), truth, (None,) * count, held)
    seen = rng.random(count) < 0.6
    found = np.concatenate([boxes[seen], boxes[:1] + 30]).astype(np.float32)
    named = np.concatenate([labels[seen], labels[:1]])
    scores = np.sort(rng.random(len(found)))[::-1].astype(np.float32)
    return own, Detections(found, scores, named, np.arange(len(found)))


@pytest.fixture(scope="module")
def tests_of_a_world() -> tuple[World, Tests, Tests]:
    """Groups of three images on each side; a tenth of the pool holds the cause."""
    rng = np.random.default_rng(3)
    sides = {
        side: [sample(f"{side}{row}", rng) for row in range(count)]
        for side, count in (("holdout", 12), ("siblings", 30))
    }
    holdout, siblings = [tuple(zip(*side, strict=True)) for side in sides.values()]
    held = [frozenset([CAUSE] if row == 0 else ()) for row in range(10)]
    pool = [replace(sample(f"pool{n}", rng)[0], planted=causes) for n, causes in enumerate(held)]
    world = World(
        "made",
        5,
        Path(),
        NAMES,
        DetectorConfig("ssdlite_efficientnet_lite0", NAMES),
        {CAUSE: 2},
        (),
        (),
        tuple(pool),
        siblings[0],
        holdout[0],
        {
            f"{side}{row}": f"{side}{row // 3}"
            for side, own in sides.items()
            for row in range(len(own))
        },
    )
    return world, holdout, siblings


def drawn(world: World, sides: tuple[Tests, ...], rng: np.random.Generator) -> list[Tests]:
    """Whole groups of all sides with replacement, each copy an image of its own."""
    names = sorted(set(world.groups.values()))
    groups = [names[number] for number in rng.integers(0, len(names), len(names))]
    found: list[Tests] = []
    for samples, detections in sides:
        rows = [
            (copy, row)
            for copy, group in enumerate(groups)
            for row, one in enumerate(samples)
            if world.group(one) == group
        ]
        copies = [replace(samples[row], digest=f"{samples[row].digest}-{n}") for n, row in rows]
        found.append((copies, [detections[row] for _, row in rows]))
    return found


def test_resampled_figures_are_those_of_the_drawn_images(
    tests_of_a_world: tuple[World, Tests, Tests],
) -> None:
    world, holdout, siblings = tests_of_a_world
    found = resampled(world, holdout, siblings)
    assert found["shared_draws"]
    assert len(found["slice_ap50"]) == len(found["map50"]) == RESAMPLES
    assert len(set(found["map50"])) > RESAMPLES // 10
    rng = np.random.default_rng(0)
    for number in range(6):
        wanted = scored("0" * 64, world, *drawn(world, (holdout, siblings), rng))
        assert found["map50"][number] == pytest.approx(wanted.plain.map50, abs=1e-5)
        assert found["slice_ap50"][number] == pytest.approx(wanted.slice_ap50, abs=1e-5)


def test_seeds_that_share_groups_share_the_draws(
    tests_of_a_world: tuple[World, Tests, Tests],
) -> None:
    """Draw number r is the same drive under every seed; images without groups are drawn anew."""
    world, holdout, siblings = tests_of_a_world
    again = resampled(replace(world, seed=6), holdout, siblings)
    assert again == resampled(world, holdout, siblings)
    alone = [replace(world, seed=seed, groups={}) for seed in (5, 6)]
    first, second = (resampled(one, holdout, siblings) for one in alone)
    assert not first["shared_draws"]
    assert first["map50"] != second["map50"]


def test_a_cause_that_is_not_sought_has_no_slice(
    tests_of_a_world: tuple[World, Tests, Tests],
) -> None:
    world, holdout, siblings = tests_of_a_world
    assert scored("0" * 64, world, holdout, siblings).slices.keys() == {CAUSE}
    common = replace(world, sought_share=0.0)
    assert scored("0" * 64, common, holdout, siblings).slices == {}

"""Resampled figures are what COCO's evaluation says of the images that were drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.loop.tested import RESAMPLES, Tests, resampled, scored
from benchmarks.loop.worlds import Sample, World
from curation.types import Detections, Truth
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
    held = frozenset([CAUSE]) if rng.random() < 0.5 else frozenset()
    own = Sample(name, f"{name}.png", name, (100, 100), truth, (None,) * count, held)
    seen = rng.random(count) < 0.6
    found = np.concatenate([boxes[seen], boxes[:1] + 30]).astype(np.float32)
    named = np.concatenate([labels[seen], labels[:1]])
    scores = np.sort(rng.random(len(found)))[::-1].astype(np.float32)
    return own, Detections(found, scores, named, np.arange(len(found)))


@pytest.fixture(scope="module")
def tests_of_a_world() -> tuple[World, Tests, Tests]:
    """Twelve images in groups of three on each side."""
    rng = np.random.default_rng(3)
    sides = {
        side: [sample(f"{side}{row}", rng) for row in range(12)] for side in ("holdout", "siblings")
    }
    holdout, siblings = [tuple(zip(*side, strict=True)) for side in sides.values()]
    world = World(
        "made",
        5,
        Path(),
        NAMES,
        DetectorConfig("ssdlite_efficientnet_lite0", NAMES),
        {CAUSE: 2},
        (),
        (),
        (),
        siblings[0],
        holdout[0],
        {f"{side}{row}": f"{side}{row // 3}" for side in sides for row in range(12)},
    )
    return world, holdout, siblings


def drawn(world: World, tests: Tests, rng: np.random.Generator) -> Tests:
    """Whole groups with replacement, each copy an image of its own."""
    groups: dict[str, list[int]] = {}
    for row, one in enumerate(tests[0]):
        groups.setdefault(world.group(one), []).append(row)
    names = list(groups)
    rows = [
        (copy, row)
        for copy, number in enumerate(rng.integers(0, len(names), len(names)))
        for row in groups[names[number]]
    ]
    copies = [replace(tests[0][row], digest=f"{tests[0][row].digest}-{copy}") for copy, row in rows]
    return copies, [tests[1][row] for _, row in rows]


def test_resampled_figures_are_those_of_the_drawn_images(
    tests_of_a_world: tuple[World, Tests, Tests],
) -> None:
    world, holdout, siblings = tests_of_a_world
    found = resampled(world, holdout, siblings)
    assert len(found["slice_ap50"]) == len(found["map50"]) == RESAMPLES
    assert len(set(found["map50"])) > RESAMPLES // 10
    rng = np.random.default_rng(world.seed)
    for number in range(6):
        one = drawn(world, holdout, rng), drawn(world, siblings, rng)
        wanted = scored("0" * 64, world, *one)
        assert found["map50"][number] == pytest.approx(wanted.plain.map50, abs=1e-5)
        assert found["slice_ap50"][number] == pytest.approx(wanted.slice_ap50, abs=1e-5)

"""A detector on what nobody may select, and the same on resampled groups of images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.loop.average_precision import Matched, ap50, matched
from benchmarks.loop.worlds import Sample, World
from curation.kernel.manifest import Manifest
from curation.kernel.types import Detections
from retrain.detector import SsdDetector
from retrain.evaluate import score_detections
from retrain.report import EvaluationReport

BATCH, MIN_SCORE = 8, 0.01
RESAMPLES = 300
"""Of the groups, for each unit; seeds are drawn on top."""
Tests = tuple[Sequence[Sample], Sequence[Detections]]


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """One detector on what nobody may select.

    Attributes:
        plain: on the global holdout.
        planted: on the siblings of the failures.
        slices: by sought cause, AP50 of the class that it makes fail on the siblings that hold it.
    """

    plain: EvaluationReport
    planted: EvaluationReport
    slices: dict[str, float]

    @property
    def slice_ap50(self) -> float | None:
        """Mean over causes."""
        return float(np.mean(list(self.slices.values()))) if self.slices else None


def detections(detector: SsdDetector, world: World, samples: Sequence[Sample]) -> Tests:
    """What it finds in these samples."""
    found: list[Detections] = []
    for start in range(0, len(samples), BATCH):
        images = [world.image(sample) for sample in samples[start : start + BATCH]]
        found.extend(detector.predict(images, MIN_SCORE))
    return samples, found


def scored(version: str, world: World, holdout: Tests, siblings: Tests) -> Tested:
    """From detections to figures."""
    slices = {}
    for cause, label in _sought(world):
        rows = [row for row, sample in enumerate(siblings[0]) if cause in sample.planted]
        if not rows:
            continue
        own = [siblings[0][row] for row in rows], [siblings[1][row] for row in rows]
        entry = _report(version, world, own).per_class.get(world.class_names[label])
        if entry is not None and entry.ap50 is not None:
            slices[cause] = entry.ap50
    return Tested(_report(version, world, holdout), _report(version, world, siblings), slices)


def tested(detector: SsdDetector, world: World) -> Tested:
    """A detector on holdout and siblings."""
    holdout = detections(detector, world, world.holdout)
    return scored(detector.version, world, holdout, detections(detector, world, world.siblings))


def resampled(world: World, holdout: Tests, siblings: Tests) -> dict[str, Any]:
    """Slice AP and global AP on groups of images drawn with replacement.

    The draws depend on the world alone: number r is the same for every arm, so that differences
    between arms are paired by group. Where seeds share their groups it is the same for every seed
    too, which ``shared_draws`` says.
    """
    rng = np.random.default_rng(0 if world.groups else world.seed)
    plain = [_matched(holdout, label) for label in range(1, len(world.class_names))]
    slices = [
        (_matched(siblings, label), [cause in sample.planted for sample in siblings[0]])
        for cause, label in _sought(world)
    ]
    slice_ap50, map50 = [], []
    for _ in range(RESAMPLES):
        plain_rows, slice_rows = _drawn(world, (holdout[0], siblings[0]), rng)
        map50.append(_mean([ap50([images[row] for row in plain_rows]) for images in plain]))
        drawn = [ap50([images[row] for row in slice_rows if held[row]]) for images, held in slices]
        slice_ap50.append(_mean(drawn))
    return {"slice_ap50": slice_ap50, "map50": map50, "shared_draws": bool(world.groups)}


def _sought(world: World) -> list[tuple[str, int]]:
    """Sought causes with the class of each, in the order of the world."""
    return [(cause, label) for cause, label in world.cause_class.items() if cause in world.sought]


def _matched(tests: Tests, label: int) -> list[Matched]:
    return [matched(found, sample.truth, label) for sample, found in zip(*tests, strict=True)]


def _drawn(
    world: World, sides: Sequence[Sequence[Sample]], rng: np.random.Generator
) -> list[list[int]]:
    """Rows of each side: as many groups as there are, or as many images of each where none is.

    Groups are drawn from those of all sides, whichever side a seed deals them to.
    """
    if not world.groups:
        return [[int(row) for row in rng.integers(0, len(side), len(side))] for side in sides]
    names = sorted(set(world.groups.values()))
    drawn = [names[n] for n in rng.integers(0, len(names), len(names))]
    held: list[dict[str, list[int]]] = [defaultdict(list) for _ in sides]
    for side, groups in zip(sides, held, strict=True):
        for row, sample in enumerate(side):
            groups[world.group(sample)].append(row)
    return [[row for name in drawn for row in groups.get(name, ())] for groups in held]


def _mean(values: Sequence[float | None]) -> float | None:
    """Over what is defined."""
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 5) if known else None


def _report(version: str, world: World, tests: Tests) -> EvaluationReport:
    manifest: Manifest = world.manifest(tests[0])
    return score_detections(tests[1], manifest, world.class_names, version)

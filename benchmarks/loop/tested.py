"""A detector on what nobody may select, and the same on resampled groups of images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.loop.average_precision import Matched, ap50, matched
from benchmarks.loop.worlds import Sample, World
from curation.manifest import Manifest
from curation.types import Detections
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
        slices: by cause, AP50 of the class that it makes fail on the siblings that hold it.
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
    for cause, label in world.cause_class.items():
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
    between arms are paired by group.
    """
    rng = np.random.default_rng(world.seed)
    plain = [_matched(holdout, label) for label in range(1, len(world.class_names))]
    slices = [
        (_matched(siblings, label), [cause in sample.planted for sample in siblings[0]])
        for cause, label in world.cause_class.items()
    ]
    slice_ap50, map50 = [], []
    for _ in range(RESAMPLES):
        rows = _drawn(world, holdout[0], rng)
        map50.append(_mean([ap50([images[row] for row in rows]) for images in plain]))
        rows = _drawn(world, siblings[0], rng)
        drawn = [ap50([images[row] for row in rows if held[row]]) for images, held in slices]
        slice_ap50.append(_mean(drawn))
    return {"slice_ap50": slice_ap50, "map50": map50}


def _matched(tests: Tests, label: int) -> list[Matched]:
    return [matched(found, sample.truth, label) for sample, found in zip(*tests, strict=True)]


def _drawn(world: World, samples: Sequence[Sample], rng: np.random.Generator) -> list[int]:
    """Rows of as many groups as there are."""
    groups: dict[str, list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        groups[world.group(sample)].append(row)
    names = list(groups)
    return [row for n in rng.integers(0, len(names), len(names)) for row in groups[names[n]]]


def _mean(values: Sequence[float | None]) -> float | None:
    """Over what is defined."""
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 5) if known else None


def _report(version: str, world: World, tests: Tests) -> EvaluationReport:
    manifest: Manifest = world.manifest(tests[0])
    return score_detections(tests[1], manifest, world.class_names, version)

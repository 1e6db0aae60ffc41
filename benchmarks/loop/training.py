"""The loop with training: label what an arm asks for, fine-tune, test on what nobody may select."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loop.arms import BY_NAME, choose
from benchmarks.loop.keep import kept
from benchmarks.loop.prepare import Prepared
from benchmarks.loop.worlds import Sample, World
from curation.errors import BudgetTooSmall
from curation.select import Budget
from curation.types import Detections
from retrain.config import TrainConfig
from retrain.detector import SsdDetector
from retrain.evaluate import score_detections
from retrain.report import EvaluationReport
from retrain.trainer import train

BATCH, MIN_SCORE = 8, 0.01
SAME_DATA = "same_data"
"""Retrains on the seed set alone: what changes by training again, the noise floor."""


def measure(
    arm: str, budget_boxes: int, prepared: Prepared, folder: Path, epochs: int, threads: int
) -> dict[str, Any]:
    """One arm at one budget: fine-tune the base detector on the seed set and the new labels.

    Args:
        arm: of ``arms.ARMS``, or ``SAME_DATA``.
        budget_boxes: boxes that may be labelled, as estimated when they are chosen.
        prepared: the world.
        folder: scratch space.
        epochs: of the fine-tuning.
        threads: of PyTorch.
    """
    world = prepared.world
    (before,) = kept(folder / "before.pickle", lambda: [tested(prepared.detector, world)])
    new = [] if arm == SAME_DATA else _labelled(arm, budget_boxes, prepared)
    config = TrainConfig(
        epochs=epochs,
        learning_rate=3e-4,
        boost=2.0,
        seed=world.seed + 1,
        num_threads=threads,
    )
    known = world.manifest(world.train).items + world.manifest(new, "selected").items
    manifest = type(world.manifest(()))(world.class_names, known)
    out = folder / "challenger"
    shutil.rmtree(out, ignore_errors=True)
    detector = train(config, world.config, manifest, world.root, out, prepared.base)
    return {
        "boxes": int(sum(len(sample.truth) for sample in new)),
        "images": len(new),
        "useful_images": sum(bool(sample.planted) for sample in new),
        **compare(before, tested(detector, world), world),
    }


def _labelled(arm: str, budget_boxes: int, prepared: Prepared) -> list[Sample]:
    """In the order of choice, until the boxes that labelling really yields spend the budget."""
    try:
        chosen = choose(BY_NAME[arm], prepared, Budget(boxes=2 * budget_boxes))
    except BudgetTooSmall:
        return []
    samples, spent = [], 0
    for candidate in chosen:
        sample = prepared.samples[candidate.image]
        cost = max(1, len(sample.truth))
        if spent + cost > budget_boxes:
            break
        samples.append(sample)
        spent += cost
    return samples


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


def tested(detector: SsdDetector, world: World) -> Tested:
    """One pass over holdout and siblings."""
    plain_found = _detections(detector, world, world.holdout)
    found = _detections(detector, world, world.siblings)
    slices = {}
    for cause, label in world.cause_class.items():
        rows = [row for row, sample in enumerate(world.siblings) if cause in sample.planted]
        if not rows:
            continue
        samples = [world.siblings[row] for row in rows]
        report = _scored(detector, world, samples, [found[row] for row in rows])
        entry = report.per_class.get(world.class_names[label])
        if entry is not None and entry.ap50 is not None:
            slices[cause] = entry.ap50
    plain = _scored(detector, world, world.holdout, plain_found)
    return Tested(plain, _scored(detector, world, world.siblings, found), slices)


def _detections(detector: SsdDetector, world: World, samples: Sequence[Sample]) -> list[Detections]:
    found: list[Detections] = []
    for start in range(0, len(samples), BATCH):
        images = [world.image(sample) for sample in samples[start : start + BATCH]]
        found.extend(detector.predict(images, MIN_SCORE))
    return found


def _scored(
    detector: SsdDetector, world: World, samples: Sequence[Sample], found: Sequence[Detections]
) -> EvaluationReport:
    manifest = world.manifest(samples)
    return score_detections(found, manifest, world.class_names, detector.version)


def compare(before: Tested, after: Tested, world: World) -> dict[str, Any]:
    """Slice AP and siblings fixed, global AP and negative flips."""
    failed, fixed = _fixed(world, before.planted, after.planted)
    was = {o.key for o in before.plain.objects if o.found}
    lost = sum(o.key in was and not o.found for o in after.plain.objects)
    return {
        "slice_ap50_before": before.slice_ap50,
        "slice_ap50": after.slice_ap50,
        "slices": after.slices,
        "map50_before": before.plain.map50,
        "map50": after.plain.map50,
        "siblings_failed": failed,
        "siblings_fixed": fixed,
        "negative_flips": lost / max(1, len(was)),
    }


def _fixed(world: World, before: EvaluationReport, after: EvaluationReport) -> tuple[int, int]:
    """Planted objects of the siblings that were missed, and those of them found now."""
    planted = _planted_objects(world.siblings)
    missed = {o.key for o in before.objects if not o.found and o.key in planted}
    return len(missed), sum(o.found and o.key in missed for o in after.objects)


def _planted_objects(samples: Sequence[Sample]) -> set[tuple[str, int]]:
    return {
        (sample.digest, row)
        for sample in samples
        for row, cause in enumerate(sample.causes)
        if cause is not None
    }

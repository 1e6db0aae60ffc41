"""The loop with training: label what an arm asks for, fine-tune, test on what nobody may select."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loop.arms import BY_NAME, choose
from benchmarks.loop.prepare import Prepared
from benchmarks.loop.worlds import Sample, World
from curation.errors import BudgetTooSmall
from curation.select import Budget
from retrain.config import TrainConfig
from retrain.detector import SsdDetector
from retrain.evaluate import evaluate
from retrain.report import EvaluationReport
from retrain.trainer import train

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
        folder: the base model lies in it; scratch space.
        epochs: of the fine-tuning.
        threads: of PyTorch.
    """
    world = prepared.world
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
    detector = train(config, world.config, manifest, world.root, out, folder / "base")
    return {
        "boxes": int(sum(len(sample.truth) for sample in new)),
        "images": len(new),
        "useful_images": sum(bool(sample.planted) for sample in new),
        **compare(prepared.detector, detector, world),
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


def compare(before: SsdDetector, after: SsdDetector, world: World) -> dict[str, Any]:
    """Slice AP and siblings fixed, global AP and negative flips."""
    holdout, siblings = world.manifest(world.holdout), world.manifest(world.siblings)
    plain_before, plain = (evaluate(d, holdout, world.root) for d in (before, after))
    planted_before, planted = (evaluate(d, siblings, world.root) for d in (before, after))
    failed, fixed = _fixed(world, planted_before, planted)
    was = {o.key for o in plain_before.objects if o.found}
    lost = sum(o.key in was and not o.found for o in plain.objects)
    return {
        "slice_ap50_before": slice_ap50(before, world),
        "slice_ap50": slice_ap50(after, world),
        "map50_before": plain_before.map50,
        "map50": plain.map50,
        "siblings_failed": failed,
        "siblings_fixed": fixed,
        "negative_flips": lost / max(1, len(was)),
    }


def slice_ap50(detector: SsdDetector, world: World) -> float | None:
    """Mean over causes of the AP50 of the class that the cause makes fail, where it is present."""
    values = []
    for cause, label in world.cause_class.items():
        own = [sample for sample in world.siblings if cause in sample.planted]
        if not own:
            continue
        report = evaluate(detector, world.manifest(own), world.root)
        entry = report.per_class.get(world.class_names[label])
        if entry is not None and entry.ap50 is not None:
            values.append(entry.ap50)
    return float(np.mean(values)) if values else None


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

"""The loop with training: label what an arm asks for, fine-tune, test on what nobody may select."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.keep import kept
from benchmarks.loop import field
from benchmarks.loop.arms import BY_NAME, DEALS, FIELD_FRAMES, Deal, choose
from benchmarks.loop.budget import spend
from benchmarks.loop.prepare import Prepared
from benchmarks.loop.tested import Tested, detections, resampled, scored, tested
from benchmarks.loop.worlds import Sample, World
from curation.kernel.errors import BudgetTooSmall
from curation.kernel.manifest import Manifest
from curation.select import Budget
from retrain.config import TrainConfig
from retrain.detector import SsdDetector
from retrain.report import EvaluationReport
from retrain.trainer import train

SAME_DATA = "same_data"
"""Retrains on the seed set alone: what changes by training again, the noise floor."""


def measure(
    arm: str, budget_boxes: int, prepared: Prepared, folder: Path, epochs: int, threads: int
) -> dict[str, Any]:
    """One arm at one budget: fine-tune the base detector on the seed set and the new labels.

    Args:
        arm: of ``arms.BY_NAME`` or ``arms.DEALS``, or ``SAME_DATA``.
        budget_boxes: true boxes that may be labelled.
        prepared: the world.
        folder: scratch space.
        epochs: of the fine-tuning.
        threads: of PyTorch.
    """
    world = prepared.world
    (before,) = kept(folder / "before.pickle", lambda: [tested(prepared.detector, world)])
    on_top = DEALS[FIELD_FRAMES] if arm in BY_NAME and BY_NAME[arm].field else None
    how = DEALS.get(arm, on_top)
    dealt = field.deal_frames(prepared, how or Deal(0.0))
    asks = arm != SAME_DATA and arm not in DEALS
    new = labelled(arm, budget_boxes, field.taught(prepared, dealt)) if asks else []
    detector = fine_tuned(prepared, [*dealt.parents, *new], folder / "challenger", epochs, threads)
    holdout = detections(detector, world, world.holdout)
    siblings = detections(detector, world, world.siblings)
    return {
        **labelling_cost(new, world),
        **compare(before, scored(detector.version, world, holdout, siblings), world),
        **(field.judged(prepared, dealt, detector, folder) if how else {}),
        "resampled": resampled(world, holdout, siblings),
    }


def fine_tuned(
    prepared: Prepared,
    new: Sequence[Sample],
    out: Path,
    epochs: int,
    threads: int,
    unboosted: Sequence[Sample] = (),
) -> SsdDetector:
    """The detector trained on the seed set and these images, from what it is.

    Those that are not boosted count once in an epoch, as what is drawn does in the service.
    """
    world = prepared.world
    config = TrainConfig(
        epochs=epochs,
        learning_rate=3e-4,
        boost=2.0,
        seed=world.seed + 1,
        num_threads=threads,
    )
    known = world.manifest(world.train).items + world.manifest(new, "selected").items
    known += world.manifest(unboosted).items
    manifest = Manifest(world.class_names, known)
    shutil.rmtree(out, ignore_errors=True)
    return train(config, world.config, manifest, world.root, out, prepared.base)


def labelling_cost(new: Sequence[Sample], world: World) -> dict[str, int]:
    """What labelling these images cost, and how many were worth it."""
    return {
        "boxes": int(sum(len(sample.truth) for sample in new)),
        "images": len(new),
        "useful_images": sum(map(bool, world.useful(new))),
    }


def labelled(arm: str, budget_boxes: int, prepared: Prepared) -> list[Sample]:
    """What an arm gets labelled for a budget of true boxes, in its order of choice."""

    def chosen(boxes: int) -> list[Sample]:
        try:
            candidates = choose(BY_NAME[arm], prepared, Budget(boxes=boxes))
        except BudgetTooSmall:
            return []
        return [prepared.samples[candidate.image] for candidate in candidates]

    return spend(chosen, budget_boxes)


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
    planted = planted_objects(world.siblings)
    missed = {o.key for o in before.objects if not o.found and o.key in planted}
    return len(missed), sum(o.found and o.key in missed for o in after.objects)


def planted_objects(samples: Sequence[Sample]) -> set[tuple[str, int]]:
    """Keys of the objects that have a cause."""
    return {
        (sample.digest, row)
        for sample in samples
        for row, cause in enumerate(sample.causes)
        if cause is not None
    }

"""Do drawn samples repair? Fine-tunes on the seed set and what an arm adds; siblings tell."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.common.keep import kept
from benchmarks.loop import field
from benchmarks.loop.field import Dealt
from benchmarks.loop.prepare import Prepared
from benchmarks.loop.tested import Tested, Tests, detections, resampled, scored, tested
from benchmarks.loop.training import compare, fine_tuned, labelled
from benchmarks.loop.worlds import World
from benchmarks.synthesis import arms
from benchmarks.synthesis.arms import Arm
from benchmarks.synthesis.material import Material
from curation.kernel.matching import match

WORKING = 0.5
"""Score from which a detection counts."""


def measure(arm: Arm, material: Material, epochs: int, threads: int) -> dict[str, Any]:
    """One arm: fine-tune the first detector, test it on siblings and holdout.

    Args:
        arm: see ``arms.ARMS``.
        material: of its world.
        epochs: of the fine-tuning.
        threads: of PyTorch.
    """
    prepared, folder = material.prepared, material.folder
    world = prepared.world
    (before,) = kept(
        folder.parent / "before.pickle", lambda: [tested(prepared.detector, world)]
    )  # of the loop's own arms too
    (false_before,) = kept(
        folder / "false-before.pickle",
        lambda: [false_detections(detections(prepared.detector, world, world.holdout))],
    )
    frames = list(material.dealt.parents) if arm.frames else []
    bought = labelled("e2x", arm.boxes, seen_by_selection(arm, material)) if arm.boxes else []
    made, share = [], None
    if arm.around:
        found, share = arms.drawn_once(arm.around, material)
        made = list(arms.stored(found, world, world.root / "drawn" / arm.around))
    detector = fine_tuned(
        prepared, [*frames, *bought], folder / "challenger", epochs, threads, unboosted=made
    )
    shutil.rmtree(folder / "challenger", ignore_errors=True)
    holdout = detections(detector, world, world.holdout)
    siblings = detections(detector, world, world.siblings)
    after = scored(detector.version, world, holdout, siblings)
    return {
        "frames": len(frames),
        "drawn": len(made),
        "boxes": int(sum(len(sample.truth) for sample in bought)),
        "reproduced": share,
        **compare(before, after, world),
        "classes": {
            name: [entry.ap50, after.plain.per_class[name].ap50]
            for name, entry in before.plain.per_class.items()
        },
        "false_detections": [false_before, false_detections(holdout)],
        "objects": objects(world, before, after),
        "resampled": resampled(world, holdout, siblings),
    }


def seen_by_selection(arm: Arm, material: Material) -> Prepared:
    """The pool that labels are bought from; without its images of the causes where it lacks them.

    Nobody is asked for the like of failing frames, whichever side they are on: as in the loop's
    own arms of frames that teach, or of a field that judges.
    """
    dealt = material.dealt if arm.frames else Dealt((), _all(material.dealt), material.dealt.modes)
    prepared = field.taught(material.prepared, dealt)
    if not arm.lacking:
        return prepared
    samples = {name: one for name, one in prepared.samples.items() if not one.planted}
    pool = tuple(image for image in prepared.pool if image.image in samples)
    return replace(prepared, pool=pool, samples=samples)


def objects(world: World, before: Tested, after: Tested) -> list[list[Any]]:
    """Objects of the siblings with a hidden cause: frame, cause, found before, found after."""
    was = {entry.key: entry.found for entry in before.planted.objects}
    now = {entry.key: entry.found for entry in after.planted.objects}
    return [
        [sample.name, cause, int(was[sample.digest, row]), int(now[sample.digest, row])]
        for sample in world.siblings
        for row, cause in enumerate(sample.causes)
        if cause is not None and (sample.digest, row) in now
    ]


def false_detections(tests: Tests) -> int:
    """Detections above the working threshold that are no labelled object."""
    count = 0
    for sample, found in zip(*tests, strict=True):
        sure = found.above(WORKING)
        rows = match(sure, sample.truth, 0.5).detection_of_truth
        ignored = int(np.sum(sample.truth.ignore))
        count += max(0, len(sure) - int(np.sum(np.asarray(rows) >= 0)) - ignored)
    return count


def _all(dealt: Dealt) -> tuple[Any, ...]:
    return (*dealt.parents, *dealt.judges)

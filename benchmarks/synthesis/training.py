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
from benchmarks.loop.tested import Tested, Tests, detections, resampled, scored
from benchmarks.loop.training import compare, fine_tuned, labelled
from benchmarks.loop.worlds import Sample, World
from benchmarks.synthesis import arms
from benchmarks.synthesis.arms import Arm
from benchmarks.synthesis.material import Material
from curation.kernel.matching import match
from curation.kernel.types import Detections

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
    before, holdout_before, drawn_before = start(material)
    frames = list(material.dealt.parents) if arm.frames else []
    bought = labelled("e2x", arm.boxes, seen_by_selection(arm, material)) if arm.boxes else []
    made, share = [], None
    if arm.around:
        found, share = arms.drawn_once(arm.around, material)
        made = list(arms.stored(found, world, folder / "drawn" / arm.around))
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
            if entry.ap50 is not None
        },
        "false_detections": [false_detections(holdout_before), false_detections(holdout)],
        "objects": objects(world, before, after),
        "holdout": by_group(world, (before, after), (holdout_before, holdout)),
        "resampled": resampled(world, holdout, siblings),
        "resampled_before": drawn_before,
    }


def start(material: Material) -> tuple[Tested, Tests, dict[str, Any]]:
    """The first detector, tested once: figures, what it finds in the holdout, and resampled."""
    prepared, folder = material.prepared, material.folder
    world = prepared.world

    def test() -> tuple[Tests, Tests]:
        holdout = detections(prepared.detector, world, world.holdout)
        return holdout, detections(prepared.detector, world, world.siblings)

    ((holdout, siblings),) = kept(folder / "tests-before.pickle", lambda: [test()])
    version = prepared.detector.version
    (before,) = kept(
        folder.parent / "before.pickle", lambda: [scored(version, world, holdout, siblings)]
    )  # of the loop's own arms too
    (drawn,) = kept(
        folder / "resampled-before.pickle", lambda: [resampled(world, holdout, siblings)]
    )
    return before, holdout, drawn


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


def by_group(
    world: World, scores: tuple[Tested, Tested], tests: tuple[Tests, Tests]
) -> list[list[Any]]:
    """What the holdout says, by what is drawn together where intervals are.

    Args:
        world: whose holdout.
        scores: of the first detector and of the new one.
        tests: what they find in the holdout.

    Returns:
        Of each group: its name, objects that the first detector finds, those of them that the new
        one loses, false detections of the first and of the new one.
    """
    was, now = ({one.key for one in test.plain.objects if one.found} for test in scores)
    found: dict[str, list[int]] = {}
    for sample, *seen in zip(tests[0][0], tests[0][1], tests[1][1], strict=True):
        own = {key for key in was if key[0] == sample.digest}
        more = [len(own), len(own - now), *(_false(sample, one) for one in seen)]
        total = found.setdefault(world.group(sample), [0] * len(more))
        found[world.group(sample)] = [a + b for a, b in zip(total, more, strict=True)]
    return [[name, *counts] for name, counts in sorted(found.items())]


def false_detections(tests: Tests) -> int:
    """Detections above the working threshold that are no labelled object."""
    return sum(_false(sample, found) for sample, found in zip(*tests, strict=True))


def _false(sample: Sample, found: Detections) -> int:
    sure = found.above(WORKING)
    rows = match(sure, sample.truth, 0.5).detection_of_truth
    ignored = int(np.sum(sample.truth.ignore))
    return max(0, len(sure) - int(np.sum(np.asarray(rows) >= 0)) - ignored)


def _all(dealt: Dealt) -> tuple[Any, ...]:
    return (*dealt.parents, *dealt.judges)

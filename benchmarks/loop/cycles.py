"""Two cycles: what a policy reaches when it may look at the failures that its own fix left.

Every challenger is promoted: this measures what selection does, not what a gate would stop.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.keep import kept
from benchmarks.loop.prepare import Prepared, again, labelled_now
from benchmarks.loop.tested import Tested, tested
from benchmarks.loop.training import (
    compare,
    fine_tuned,
    labelled,
    labelling_cost,
    planted_objects,
)
from benchmarks.loop.worlds import Sample
from curation.select import KnownObjects

ALL_KNOWN = "e2x_all_known"
"""The second cycle is told that the objects labelled in the first are trained on too."""
ARMS = ("random", "e2x", ALL_KNOWN)


def measure(
    arm: str, budget_boxes: int, prepared: Prepared, folder: Path, epochs: int, threads: int
) -> dict[str, Any]:
    """One arm over two cycles of a budget each; see ``training.measure``.

    Args:
        folder: for what is kept between arms; another one for every method of explanation.

    Returns:
        As there, after both cycles, and of the planted siblings that the first cycle fixed the
        share that the second one lost again (``reopened``).
    """
    world = prepared.world
    (before,) = kept(folder / "before.pickle", lambda: [tested(prepared.detector, world)])
    policy = "e2x" if arm == ALL_KNOWN else arm
    own = folder / f"{policy}-{budget_boxes}"
    first, middle = _first(policy, budget_boxes, prepared, own, epochs, threads)
    if policy == "random":  # asks no failure
        after = replace(labelled_now(prepared, first), base=own / "first")
    else:
        after = again(prepared, own / "first", first, own)
        if arm == ALL_KNOWN:
            new = after.observer.known(first)
            vectors = np.concatenate([after.known.vectors, new.vectors])
            labels = np.concatenate([after.known.labels, new.labels])
            after = replace(after, known=KnownObjects(vectors, labels))
    second = labelled(policy, budget_boxes, after)
    detector = fine_tuned(after, [*first, *second], own / "second", epochs, threads)
    end = tested(detector, world)
    return {
        **labelling_cost([*first, *second], world),
        **compare(before, end, world),
        "siblings_fixed_first": compare(before, middle, world)["siblings_fixed"],
        "useful_first": labelling_cost(first, world)["useful_images"],
        "reopened": reopened(before, middle, end, planted_objects(world.siblings)),
    }


def _first(
    policy: str, budget_boxes: int, prepared: Prepared, own: Path, epochs: int, threads: int
) -> tuple[list[Sample], Tested]:
    """The first cycle, kept with its model."""
    own.mkdir(parents=True, exist_ok=True)

    def run() -> list[tuple[list[str], Tested]]:
        chosen = labelled(policy, budget_boxes, prepared)
        detector = fine_tuned(prepared, chosen, own / "first", epochs, threads)
        return [([sample.name for sample in chosen], tested(detector, prepared.world))]

    ((names, middle),) = kept(own / "first.pickle", run)
    return [prepared.samples[name] for name in names], middle


def reopened(
    before: Tested, middle: Tested, end: Tested, planted: set[tuple[str, int]]
) -> float | None:
    """Of the planted objects that were missed and then found, the share that is missed again."""
    missed = {o.key for o in before.planted.objects if not o.found} & planted
    fixed = {o.key for o in middle.planted.objects if o.found} & missed
    lost = {o.key for o in end.planted.objects if not o.found} & fixed
    return len(lost) / len(fixed) if fixed else None

"""Do drawn samples repair? Fine-tunes on the seed set and what an arm adds; siblings tell."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.keep import kept
from benchmarks.loop.evidence import shown
from benchmarks.loop.tested import Tested, tested
from benchmarks.loop.training import compare, planted_objects
from benchmarks.synthesis import arms, recipes, reproduction
from benchmarks.synthesis.arms import Arm
from benchmarks.synthesis.prepare import Ready
from curation.synthesis.blend import Blending
from curation.synthesis.game import GameRules
from retrain.config import TrainConfig
from retrain.trainer import train


def measure(
    arm: Arm,
    ready: Ready,
    folder: Path,
    count: int,
    epochs: int,
    blending: Blending,
    rules: GameRules,
    num_samples: int,
) -> dict[str, Any]:
    """One arm: fine-tune the first detector, test it on siblings and holdout.

    Args:
        arm: see ``arms.ARMS``.
        ready: the world.
        folder: for what is kept between arms.
        count: of drawn samples, at most.
        epochs: of the fine-tuning.
        blending: of the transplant game.
        rules: of the transplant game.
        num_samples: of the explanation.
    """
    world = ready.world
    name = f"puts-{blending}-{rules.coalitions}-{len(ready.misses)}.pickle"
    puts = dict(kept(folder / name, lambda: all_puts(ready, blending, rules, num_samples)))
    (before,) = kept(folder / "before.pickle", lambda: [tested(ready.detector, world)])
    new = arms.new_samples(arm, ready, puts, count, world.seed)
    config = TrainConfig(
        epochs=epochs, learning_rate=3e-4, seed=world.seed + 1, num_threads=1
    )  # no boost: what is drawn counts once, and so do the frames that it is held against
    out = folder / f"challenger-{arm.name}"
    shutil.rmtree(out, ignore_errors=True)
    manifest = world.manifest([*world.train, *new])
    detector = train(config, world.config, manifest, world.root, out, ready.base)
    after = tested(detector, world)
    shutil.rmtree(out, ignore_errors=True)
    return {
        "images": len(new),
        **compare(before, after, world),
        **still_missed(ready, after),
    }


def all_puts(
    ready: Ready, blending: Blending, rules: GameRules, num_samples: int
) -> Iterator[tuple[str, recipes.Puts]]:
    """By name of a miss what each recipe puts around; misses with too few known objects lack."""
    for miss in shown(ready.misses, "misses blamed"):
        rng = np.random.default_rng([ready.world.seed, ready.misses.index(miss)])
        played = reproduction.play(ready, miss, blending, rules, num_samples, rng)
        if played is not None:
            yield miss.name, played.puts


def still_missed(ready: Ready, after: Tested) -> dict[str, Any]:
    """Of the siblings' objects with a cause, how many are missed, in all and by cause."""
    planted = planted_objects(ready.world.siblings)
    found = {entry.key: entry.found for entry in after.planted.objects}
    missed: dict[str, list[int]] = {}
    for sample in ready.world.siblings:
        for row, cause in enumerate(sample.causes):
            if cause is not None and (sample.digest, row) in planted:
                count = missed.setdefault(cause, [0, 0])
                count[0] += not found[sample.digest, row]
                count[1] += 1
    total = [sum(column) for column in zip(*missed.values(), strict=True)] if missed else [0, 0]
    return {"siblings_missed": total, "siblings_missed_by_cause": missed}

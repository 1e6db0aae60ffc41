"""Samples spoiled on purpose, and how many of them, and of good ones, the checks refuse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.common import bars
from benchmarks.synthesis.arms import BLAMED, SURROUNDINGS
from benchmarks.synthesis.material import Material, context
from benchmarks.synthesis.resampling import bootstrapped
from benchmarks.synthesis.spoils import SPOILS, Spoiler
from curation import synthesis
from curation.synthesis import (
    CheckContext,
    Drawn,
    ModeHarm,
    Staging,
    SynthesisRequest,
    check,
    plan,
)
from curation.synthesis.checks import REPRODUCES, Judged

REFUSED, SPARED = 0.95, 0.1
"""Of spoiled samples at least, of good ones at most."""
SPOILED_A_SEED, COUNT = 24, 100


def measure(materials: Sequence[Material]) -> tuple[dict[str, Any], dict[str, Any]]:
    """G8: shares of spoiled and of good samples that the checks refuse, and by which spoiling.

    Good are samples, drawn as the service draws them and untouched, that reproduce the failure:
    that row aside, nothing speaks against them. The others are left out, since whether they are
    worth anything is what that row is there to say.
    """
    good: list[float] = []
    bad: list[float] = []
    passed: Counter[str] = Counter()
    for material in materials:
        strict = context(material)
        drawn = _drawn(material)
        judged = [one for one in check(drawn, strict) if _reproduces(one)]
        good += [float(not one.kept) for one in judged]
        world = material.prepared.world
        by = Spoiler(
            np.random.default_rng([world.seed, 8]),
            world.holdout[0].name,
            [world.image(sample) for sample in world.holdout[:20]],
        )
        for one in [one.drawn for one in judged if one.kept][:SPOILED_A_SEED]:
            for spoil in SPOILS:
                spoiled = spoil(one, by)
                if _is_same(spoiled, one):
                    continue
                refused = _is_refused(spoiled, strict)
                bad.append(float(refused))
                passed[spoil.__name__] += not refused
    reached = {
        "G8_spoiled": bars.entry(*bootstrapped(bad), bound=REFUSED),
        "G8_good": bars.entry(*bootstrapped(good), bound=SPARED, sense="<="),
    }
    return reached, {"good": len(good), "spoiled": len(bad), "not_refused": dict(passed)}


def _drawn(material: Material) -> list[Drawn]:
    """As the service draws around known objects, of each mode in turn."""
    by_mode: dict[str, list[tuple[str, synthesis.Harm]]] = {}
    for missed, harm in SURROUNDINGS[BLAMED](material):
        by_mode.setdefault(missed.mode, []).append((missed.failure, harm))
    request = SynthesisRequest(
        modes=[ModeHarm(mode, Staging.SURROUND, tuple(own)) for mode, own in by_mode.items()],
        donors=material.donors,
        harmless=(),
        budget=COUNT,
        candidates=1,
        controls=0.0,
        seed=material.prepared.world.seed,
    )
    answers = synthesis.get("compose", blending="varied").draw(plan(request))
    return [one for one in answers if isinstance(one, Drawn)]


def _is_same(spoiled: Drawn, one: Drawn) -> bool:
    """Whether nothing was spoiled: what moves the light alone has no hole to leave empty."""
    untouched = spoiled.plan is one.plan and spoiled.staged is one.staged
    return untouched and np.array_equal(spoiled.image, one.image)


def _is_refused(one: Drawn, strict: CheckContext) -> bool:
    (judged,) = check([one], strict)
    return not judged.kept


def _reproduces(one: Judged) -> bool:
    return any(row.name == REPRODUCES and row.passed for row in one.rows)

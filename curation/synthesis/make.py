"""From misses and known objects to samples: what the service calls, once a cycle.

::

    harms_of(misses, donors, …)   plays the transplant game of each miss; its recipe is what hurt
    draw(plans, generator, …)     one answer a plan, checked, in their order; pictures of bounded
                                  number stay in memory, those of refused ones never do
    decide(samples, …)            a mode whose samples reproduce no more than its controls gets
                                  none; of the others as many are kept as the budget says
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from curation.kernel.batching import in_batches
from curation.kernel.detector import Detector
from curation.kernel.errors import CurationError
from curation.kernel.images import perceptual_hash
from curation.kernel.types import Box, ImageArray, Truth
from curation.superpixels import SegmentArray
from curation.synthesis.base import Donor, Drawn, Generator, Harm, Plan, Role, Staging, Undrawn
from curation.synthesis.checks import CheckContext, Judged, above_controls, check, reproduced
from curation.synthesis.composite import Object, Surroundings
from curation.synthesis.game import Game, GameRules, on_frame, scorer
from curation.synthesis.known import alike
from curation.synthesis.transplant import blame, recipe

GAME_OBJECTS = 8
"""Known objects that a miss is tried on; with fewer than half of them nothing is blamed."""
LEAST_DIFFERENCE = 0.2
"""Share by which a mode's samples must reproduce the failure above its controls."""
BATCH = 16
"""Samples drawn and checked at once."""
MOST_PIXELS = 32_000_000
"""Of the pictures of a batch: each is held about eight times while it is checked."""


@dataclass(frozen=True, slots=True, eq=False)
class Missed:
    """An object that the champion missed in a frame that may teach.

    Attributes:
        mode: failure mode that it belongs to.
        failure: its id.
        image: id of the frame.
        role: where the frame is from.
        pixels: [H, W, 3] uint8.
        segments: [h, w] int32, superpixels of the frame on the network's grid.
        box_xyxy: of what was missed, px.
        label: its class, in 1..K-1.
        truth: what else is known to stand there; None where nobody labelled it.
    """

    mode: str
    failure: str
    image: str
    role: Role
    pixels: ImageArray
    segments: SegmentArray
    box_xyxy: Box
    label: int
    truth: Truth | None


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A plan with what became of it.

    Attributes:
        plan: see there.
        generator: who drew it.
        version: of the generator.
        parameters: JSON-serialisable, all that decided it beside plan and version.
        rows: the table of its checks, plain JSON types.
        before: score of the known object in its own picture; None where nothing was drawn.
        after: in the drawn one.
        reproduces: whether the champion fails it as the other was failed.
        reason: why it is refused; "" for one that is kept.
        image: [H, W, 3] uint8 of a kept one, else None.
        truth: of a kept one, else None.
        phash: of a kept one, else None.
        seconds: of processor time that drawing took.
    """

    plan: Plan
    generator: str
    version: str
    parameters: Mapping[str, Any]
    rows: tuple[dict[str, Any], ...]
    before: float | None
    after: float | None
    reproduces: bool
    reason: str
    image: ImageArray | None = None
    truth: Truth | None = None
    phash: int | None = None
    seconds: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reason

    def refused(self, reason: str) -> Sample:
        """The same without its picture, and why."""
        return replace(self, reason=reason, image=None, truth=None, phash=None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether what was blamed for a mode makes known objects fail.

    Attributes:
        mode: its key.
        samples: drawn of it.
        controls: drawn beside them.
        difference: share that reproduces, above that of controls; None where there is none of
            either, so that nothing is said against the mode.
        low: end of its 95 % interval.
        high: the other end.
    """

    mode: str
    samples: int
    controls: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def works(self) -> bool:
        """Whether samples of the mode may be kept."""
        return self.difference is None or self.difference >= LEAST_DIFFERENCE


def harms_of(
    misses: Sequence[Missed],
    donors: Sequence[Donor],
    detector: Detector,
    seed: int,
    rules: GameRules = GameRules(),
) -> Iterator[tuple[Missed, Harm | str]]:
    """What hurt in each miss, or one sentence why nothing was found.

    Plays the transplant game of a miss on known objects of its class, and takes what
    :func:`~curation.synthesis.transplant.recipe` says: the recipe that was measured, its light
    with it.

    Args:
        misses: each with its own stream of random numbers, by its place.
        donors: known objects.
        detector: whose failures these are.
        seed: of the coalitions and of the known objects.
        rules: of the game.
    """
    for number, missed in enumerate(misses):
        rng = np.random.default_rng([seed, number])
        own = [one for one in donors if one.image != missed.image]
        players = alike(own, missed.box_xyxy, missed.label, GAME_OBJECTS, rng)
        if len(players) < GAME_OBJECTS // 2:
            yield missed, f"only {len(players)} known objects of its class: too few to try it on"
            continue
        try:
            yield missed, _harm(missed, players, detector, rules, rng)
        except (
            CurationError
        ) as problem:  # such as a box that is no box: costs its neighbours nothing
            yield missed, str(problem)


def _harm(
    missed: Missed,
    players: Sequence[Donor],
    detector: Detector,
    rules: GameRules,
    rng: np.random.Generator,
) -> Harm | str:
    size_wh = missed.pixels.shape[1], missed.pixels.shape[0]
    game = Game(
        Surroundings.of(missed.pixels, missed.box_xyxy),
        on_frame(missed.segments, size_wh),
        [Object.cut(one.pixels, one.box_xyxy) for one in players],
        scorer(detector, missed.label),
        rules=rules,
    )
    found = recipe(blame(game, rng))
    if not found.mask.any() and not found.light:
        return "nothing around it makes known objects fail"
    return Harm(
        *(missed.image, missed.role, missed.pixels, found.mask, missed.box_xyxy),
        *(missed.label, missed.truth, found.light),
    )


def draw(
    plans: Sequence[Plan], generator: Generator, context: CheckContext, limits: Mapping[str, int]
) -> Iterator[Sample]:
    """One answer for each plan, in their order.

    Args:
        plans: what to draw.
        generator: who draws.
        context: what samples are held against.
        limits: pictures that each mode keeps at most; of what passes beyond that only the table
            stays.
    """
    left = Counter(dict(limits))
    hashes = list(context.kept_hashes)
    for batch in in_batches(plans, _pixels, BATCH, MOST_PIXELS):
        answers = list(generator.draw(batch))
        made = [one for one in answers if isinstance(one, Drawn)]
        judged = iter(check(made, replace(context, kept_hashes=hashes)))
        for one in answers:
            if isinstance(one, Undrawn):
                yield _undrawn(one, generator)
                continue
            sample = _sample(next(judged))
            if sample.kept and sample.plan.staging is not Staging.CONTROL:
                left[sample.plan.mode] -= 1
                if left[sample.plan.mode] < 0:
                    sample = sample.refused(SPARE)
            if sample.phash is not None:
                hashes.append(sample.phash)
            yield sample


SPARE = "spare: it passes, and as many as were wanted came before it"


def decide(
    samples: Sequence[Sample], budget: int, controls: int, seed: int
) -> tuple[list[Sample], list[Verdict]]:
    """Which samples are kept in the end, and what is said of their modes.

    Args:
        samples: of all modes.
        budget: kept in all, controls included; modes take turns.
        controls: of the budget, for controls.
        seed: of the intervals.
    """
    verdicts = _verdicts(samples, np.random.default_rng(seed))
    works_of = {one.mode: one.works for one in verdicts}
    left = {False: budget - controls, True: controls}
    decided = []
    for sample in _in_turns(samples):
        is_control = sample.plan.staging is Staging.CONTROL
        if sample.kept and not works_of.get(sample.plan.mode, True):
            sample = sample.refused("of a mode for which nothing is kept: " + NO_DIFFERENCE)
        if sample.kept and left[is_control] <= 0:
            sample = sample.refused(SPARE)
        left[is_control] -= sample.kept
        decided.append(sample)
    return decided, verdicts


NO_DIFFERENCE = "what was blamed makes known objects fail no more often than what does no harm"


def _undrawn(one: Undrawn, generator: Generator) -> Sample:
    reason = f"cannot be drawn: {one.reason}"
    return Sample(one.plan, generator.name, generator.version, {}, (), None, None, False, reason)


def _sample(judged: Judged) -> Sample:
    drawn, kept = judged.drawn, judged.kept
    return Sample(
        drawn.plan,
        drawn.generator,
        drawn.version,
        dict(drawn.parameters),
        tuple(judged.to_rows()),
        judged.before,
        judged.after,
        reproduced(judged),
        judged.reason,
        drawn.image if kept else None,
        drawn.staged.truth if kept else None,
        perceptual_hash(drawn.image) if kept else None,
        drawn.seconds,
    )


def _verdicts(samples: Sequence[Sample], rng: np.random.Generator) -> list[Verdict]:
    by_mode: dict[str, tuple[list[Sample], list[Sample]]] = defaultdict(lambda: ([], []))
    for one in samples:
        if one.before is not None:
            by_mode[one.plan.mode][one.plan.staging is Staging.CONTROL].append(one)
    told = []
    for mode, (own, controls) in sorted(by_mode.items()):
        if own and controls:
            shares = above_controls(
                [one.plan.harm.image for one in own],
                [one.reproduces for one in own],
                [one.reproduces for one in controls],
                rng,
            )
            told.append(Verdict(mode, len(own), len(controls), *shares))
        else:
            told.append(Verdict(mode, len(own), len(controls)))
    return told


def _in_turns(samples: Sequence[Sample]) -> list[Sample]:
    """By how many of its mode came before; controls, which are drawn last, after all."""
    seen: Counter[tuple[bool, str]] = Counter()
    keyed = []
    for sample in samples:
        is_control = sample.plan.staging is Staging.CONTROL
        turn = seen[is_control, sample.plan.mode]
        seen[is_control, sample.plan.mode] += sample.kept
        keyed.append(((is_control, turn), sample))
    return [sample for _, sample in sorted(keyed, key=lambda one: one[0])]


def _pixels(plan: Plan) -> int:
    height, width = plan.donor.pixels.shape[:2]
    return int(height * width)

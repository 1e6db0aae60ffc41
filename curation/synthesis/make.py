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
from curation.kernel.types import ImageArray, Truth
from curation.synthesis import lookalike
from curation.synthesis.base import Donor, Drawn, Generator, Harm, Plan, Staging, Undrawn
from curation.synthesis.checks import CheckContext, Judged, above_controls, check, reproduced
from curation.synthesis.composite import Object, Surroundings
from curation.synthesis.game import Game, GameRules, on_frame, scorer
from curation.synthesis.known import alike
from curation.synthesis.misses import Missed as Missed
from curation.synthesis.scenes import Labelled
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
    """Whether what was blamed for a mode makes known objects fail, or be seen where none is.

    Attributes:
        mode: its key.
        staging: of its samples.
        samples: drawn of it.
        controls: drawn beside them.
        difference: share that reproduces, above that of controls; None where there is none of
            either. Nothing is said against a mode then, but for its look-alikes: a picture in
            which any seam is taken for an object teaches about seams.
        low: end of its 95 % interval.
        high: the other end.
    """

    mode: str
    staging: Staging
    samples: int
    controls: int
    difference: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def works(self) -> bool:
        """Whether samples of the mode may be kept."""
        if self.difference is None:
            return not self.staging.is_alike
        return self.difference >= LEAST_DIFFERENCE


def harms_of(
    misses: Sequence[Missed],
    donors: Sequence[Donor],
    detector: Detector,
    seed: int,
    rules: GameRules = GameRules(),
    pictures: Sequence[Labelled] = (),
) -> Iterator[tuple[Missed, Harm | str]]:
    """What hurt in each miss, or one sentence why nothing was found.

    Plays the transplant game of a miss on known objects of its class, and takes what
    :func:`~curation.synthesis.transplant.recipe` says: the recipe that was measured, its light
    with it. Of a false detection the game is the same on places at which nothing stands: what
    makes the champion see something there is to blame.

    Args:
        misses: each with its own stream of random numbers, by its place.
        donors: known objects.
        detector: whose failures these are.
        seed: of the coalitions and of the known objects.
        rules: of the game.
        pictures: labelled ones with places for false detections.
    """
    for number, missed in enumerate(misses):
        rng = np.random.default_rng([seed, number])
        try:
            if missed.alike:
                yield missed, lookalike.harm_of(missed, pictures, detector, rules, rng)
            else:
                yield missed, _harm(missed, donors, detector, rules, rng)
        except (
            CurationError
        ) as problem:  # such as a box that is no box: costs its neighbours nothing
            yield missed, str(problem)


def _harm(
    missed: Missed,
    donors: Sequence[Donor],
    detector: Detector,
    rules: GameRules,
    rng: np.random.Generator,
) -> Harm | str:
    own = [one for one in donors if one.image != missed.image]
    players = alike(own, missed.box_xyxy, missed.label, GAME_OBJECTS, rng)
    if len(players) < GAME_OBJECTS // 2:
        return f"only {len(players)} known objects of its class: too few to try it on"
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
            if sample.kept and not sample.plan.staging.is_control:
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
    works_of = {(one.mode, one.staging.control): one.works for one in verdicts}
    left = {False: budget - controls, True: controls}
    decided = []
    for sample in _in_turns(samples):
        is_control = sample.plan.staging.is_control
        if sample.kept and not works_of.get((sample.plan.mode, sample.plan.staging.control), True):
            why = NO_ALIKE if sample.plan.staging.is_alike else NO_DIFFERENCE
            sample = sample.refused("of a mode for which nothing is kept: " + why)
        if sample.kept and left[is_control] <= 0:
            sample = sample.refused(SPARE)
        left[is_control] -= sample.kept
        decided.append(sample)
    return decided, verdicts


NO_DIFFERENCE = "what was blamed makes known objects fail no more often than what does no harm"
NO_ALIKE = "what was blamed is taken for an object no more often than what is none"


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
    by_mode: dict[tuple[str, Staging], tuple[list[Sample], list[Sample]]]
    by_mode = defaultdict(lambda: ([], []))
    for one in samples:
        if one.before is not None:
            key = (one.plan.mode, one.plan.staging.control)
            by_mode[key][one.plan.staging.is_control].append(one)
    told = []
    for (mode, control), (own, controls) in sorted(by_mode.items()):
        staging = own[0].plan.staging if own else control
        if own and controls:
            shares = above_controls(
                [one.plan.harm.image for one in own],
                [one.reproduces for one in own],
                [one.reproduces for one in controls],
                rng,
            )
            told.append(Verdict(mode, staging, len(own), len(controls), *shares))
        else:
            told.append(Verdict(mode, staging, len(own), len(controls)))
    return told


def _in_turns(samples: Sequence[Sample]) -> list[Sample]:
    """By how many of its mode came before; controls, which are drawn last, after all."""
    seen: Counter[tuple[bool, str]] = Counter()
    keyed = []
    for sample in samples:
        is_control = sample.plan.staging.is_control
        turn = seen[is_control, sample.plan.mode]
        seen[is_control, sample.plan.mode] += sample.kept
        keyed.append(((is_control, turn), sample))
    return [sample for _, sample in sorted(keyed, key=lambda one: one[0])]


def _pixels(plan: Plan) -> int:
    height, width = plan.donor.pixels.shape[:2]
    return int(height * width)

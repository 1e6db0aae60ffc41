"""What an arm trains on beside the seed set: failing frames, drawn samples, both, or neither."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from benchmarks.loop.worlds import Sample, World
from benchmarks.synthesis import recipes
from benchmarks.synthesis.prepare import Known, Miss, Ready
from curation import synthesis
from curation.kernel.images import content_hash, encode_png, perceptual_hash
from curation.synthesis import (
    CheckContext,
    Donor,
    Drawn,
    Harm,
    ModeHarm,
    Staging,
    SynthesisRequest,
    check,
    plan,
    texture_bounds,
)
from curation.synthesis.known import finder, harmless

CANDIDATES = 3
AllPuts: TypeAlias = Mapping[str, recipes.Puts]
"""By the name of a miss."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What is trained on.

    Attributes:
        name: in tables.
        frames: the failing frames with their truth.
        drawn: name of the recipe whose samples are drawn; "" for none.
        control: the same known objects in surroundings that do no harm instead.
        checked: whether only samples that pass the checks are trained on.
    """

    name: str
    frames: bool = False
    drawn: str = ""
    control: bool = False
    checked: bool = True


ARMS = (
    Arm("same_data"),
    Arm("field_frames", frames=True),
    Arm("compose", drawn=recipes.CHOSEN),
    Arm("field_frames_compose", frames=True, drawn=recipes.CHOSEN),
    Arm("control", drawn=recipes.CHOSEN, control=True),
    Arm("field_frames_control", frames=True, drawn=recipes.CHOSEN, control=True),
    Arm("whole_2_light", drawn="whole_2_light"),
    Arm("random_regions", drawn="random"),
    Arm("compose_unchecked", drawn=recipes.CHOSEN, checked=False),
)
BY_NAME = {arm.name: arm for arm in ARMS}


def new_samples(arm: Arm, ready: Ready, puts: AllPuts, count: int, seed: int) -> list[Sample]:
    """What an arm adds to the seed set; drawn pictures are written beside the world's.

    Args:
        arm: see there.
        ready: the world with its misses and known objects.
        puts: by name of a miss, what each recipe puts around.
        count: of drawn samples, at most.
        seed: of all draws.
    """
    frames = {miss.sample.name: miss.sample for miss in ready.misses} if arm.frames else {}
    if not arm.drawn:
        return list(frames.values())
    kept = drawn(arm, ready, puts, count, seed)
    folder = Path("drawn") / arm.name
    return [*frames.values(), *(stored(one, ready.world, folder) for one in kept)]


def drawn(arm: Arm, ready: Ready, puts: AllPuts, count: int, seed: int) -> list[Drawn]:
    """The samples of an arm: drawn, checked, and the first that pass."""
    donors = [_donor(ready.world, known) for known in ready.known]
    spared = [harmless(donor) for donor in donors]
    request = SynthesisRequest(
        modes=_modes(ready, puts, arm.drawn),
        donors=donors,
        harmless=spared,
        budget=count,
        candidates=CANDIDATES if arm.checked else 1,
        controls=0.5 if arm.control else 0.0,
        seed=seed,
    )
    wanted = Staging.CONTROL if arm.control else Staging.SURROUND
    plans = [one for one in plan(request) if one.staging is wanted]
    answers = synthesis.get("compose", blending="varied").draw(plans)
    made = [one for one in answers if isinstance(one, Drawn)]
    if not arm.checked:
        return made[:count]
    judged = check(made, context(ready))
    return [one.drawn for one in judged if one.kept][:count]


def context(ready: Ready) -> CheckContext:
    """What samples of this world are held against."""
    world = ready.world
    judging = [*world.holdout, *world.siblings]
    pictures = [world.image(sample) for sample in world.train[:60]]

    return CheckContext(
        finder(ready.detector),
        {sample.name for sample in judging},
        [perceptual_hash(world.image(sample)) for sample in judging],
        texture_bounds(pictures, np.random.default_rng(world.seed)),
    )


def stored(one: Drawn, world: World, folder: Path) -> Sample:
    """A drawn picture as a sample of the world, written beside its pictures."""
    data = encode_png(one.image)
    name = f"drawn-{one.plan.key}"
    file = folder / f"{name}.png"
    path = world.root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    truth = one.staged.truth
    size_wh = (one.image.shape[1], one.image.shape[0])
    causes = (None,) * len(truth)
    return Sample(name, str(file), content_hash(data), size_wh, truth, causes, frozenset())


def _modes(ready: Ready, puts: AllPuts, recipe: str) -> list[ModeHarm]:
    """One for each class that was missed: an arm is not told the causes."""
    labels = sorted({miss.failure.label for miss in ready.misses})
    return [
        ModeHarm(
            ready.world.class_names[label],
            Staging.SURROUND,
            tuple(
                (miss.name, _harm(ready.world, miss, puts[miss.name][recipe]))
                for miss in ready.misses
                if miss.failure.label == label and recipe in puts.get(miss.name, {})
            ),
        )
        for label in labels
    ]


def _harm(world: World, miss: Miss, put: recipes.Put) -> Harm:
    row = miss.failure.truth_index
    left = miss.sample.truth if row is None else miss.sample.truth.without(row)
    box, label = miss.failure.box_xyxy, miss.failure.label
    pixels = world.image(miss.sample)
    return Harm(miss.sample.name, "field", pixels, put.mask, box, label, left, put.light)


def _donor(world: World, known: Known) -> Donor:
    sample = known.sample
    return Donor(sample.name, "train", world.image(sample), sample.truth, known.row, known.score)

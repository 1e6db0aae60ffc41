"""What an arm trains on beside the seed set: failing frames, drawn samples, bought labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from benchmarks.common.keep import kept
from benchmarks.loop.worlds import Sample, World
from benchmarks.synthesis.material import Harms, Material, context
from benchmarks.synthesis.pasting import pasted
from benchmarks.synthesis.prepare import regions_of
from curation import synthesis
from curation.kernel.images import content_hash, encode_png
from curation.kernel.types import ImageArray, Truth
from curation.regions import Control
from curation.synthesis import Harm, Missed, ModeHarm, Staging, SynthesisRequest, plan
from curation.synthesis.blend import colours
from curation.synthesis.cutout import cutout
from curation.synthesis.game import GameRules, groups_of, on_frame, players_of
from curation.synthesis.geometry import Placement, carry_mask, window

COUNT, CONTROLS, CANDIDATES = 100, 0.25, 2
LOST, FOUND = 0.3, 0.5
WHOLE = 2.0
PLACES = 20
BLAMED, POOL, LACKING, PASTED = "blamed", "pool", "lacking", "pasted"
Drawn: TypeAlias = tuple[str, ImageArray, Truth]
"""Name, picture and labels of a finished sample."""


@dataclass(frozen=True, slots=True)
class Arm:
    """What is trained on.

    Attributes:
        name: in tables.
        frames: the failing frames that teach, with their truth.
        around: what is put around known objects, of ``SURROUNDINGS``; "" draws nothing.
        boxes: labels bought by E2X.
        lacking: whether they are bought from a pool that holds none of the causes.
    """

    name: str
    frames: bool = False
    around: str = ""
    boxes: int = 0
    lacking: bool = False


ARMS = (
    Arm("same_data"),
    Arm("field_frames", True),
    Arm("field_frames_compose", True, BLAMED),
    Arm("field_frames_elsewhere", True, "elsewhere"),
    Arm("pool", False, POOL),
    Arm("compose", False, BLAMED),
    Arm("field_frames_whole", True, "whole"),
    Arm("retrieval_lacking", boxes=75, lacking=True),
    Arm("field_frames_random", True, "random"),
    Arm("field_frames_pasted", True, PASTED),
    Arm("selection", boxes=75),
    Arm("selection_compose", False, BLAMED, boxes=75),
    Arm("field_frames_supporting", True, "supporting"),
    Arm("field_frames_unblamed", True, "unblamed"),
    Arm("pool_lacking", False, LACKING),
    Arm("field_frames_pool", True, POOL),
)
"""In the order in which they decide something."""
BY_NAME = {arm.name: arm for arm in ARMS}
OF_WORLD = {"street": tuple(BY_NAME), "carla": ("same_data", "compose")}
"""Asked for where no arms are named. On CARLA not even the oracle of the loop's benchmark repairs
much more than training again does: no gain can be shown or refuted there, only harm."""


def blamed(material: Material) -> Harms:
    """What the transplant game blames, as the service draws it."""
    return material.missed


def elsewhere(material: Material) -> Harms:
    """The same shape from a random place of another frame, in the light of a known object."""
    world = material.prepared.world
    rng = np.random.default_rng([world.seed, 1])
    found = []
    for missed, harm in material.missed:
        sample = world.train[int(rng.integers(len(world.train)))]
        donor = material.donors[int(rng.integers(len(material.donors)))]
        light = colours(donor.pixels, cutout(donor.pixels, donor.box_xyxy))
        place = _random_place(harm, sample, rng)
        found.append((missed, _put_there(harm, world.image(sample), sample, place, light)))
    return tuple(found)


def whole(material: Material) -> Harms:
    """All of twice the box, with its light: no explanation."""
    return tuple(
        (missed, replace(harm, mask=window(harm.box_xyxy, WHOLE, harm.mask.shape), light=True))
        for missed, harm in material.missed
    )


def unblamed(material: Material) -> Harms:
    """What the game does not blame of the same window, with the light."""
    found = []
    for missed, harm in material.missed:
        segments, players, _ = _players(missed)
        mask = np.isin(segments, players) & ~harm.mask
        found.append((missed, replace(harm, mask=mask, light=True)))
    return tuple(found)


def supporting(material: Material) -> Harms:
    """The regions that support a detection, as the service's own explanation has them."""
    prepared, rng = material.prepared, np.random.default_rng([material.prepared.world.seed, 4])
    by_name = {one.name: one.failure for one in prepared.failures}
    found = []
    for missed, harm in material.missed:
        failure = by_name[missed.failure]
        (attribution,) = prepared.explainer.explain(
            prepared.detector, missed.pixels, [failure.target], missed.segments
        )
        size_wh = missed.pixels.shape[1], missed.pixels.shape[0]
        masks = regions_of(failure, attribution, size_wh, rng)
        found.append((missed, replace(harm, mask=masks[str(Control.POSITIVE)], light=True)))
    return tuple(found)


def at_random(material: Material) -> Harms:
    """As much of the same window, of groups of superpixels drawn by lot, with the light."""
    rng = np.random.default_rng([material.prepared.world.seed, 2])
    found = []
    for missed, harm in material.missed:
        segments, players, groups = _players(missed)
        mask = np.zeros_like(harm.mask)
        for group in rng.permutation(int(groups.max()) + 1):
            if mask.sum() < harm.mask.sum():
                mask |= np.isin(segments, players[groups == group])
        found.append((missed, replace(harm, mask=mask, light=True)))
    return tuple(found)


SURROUNDINGS: dict[str, Callable[[Material], Harms]] = {
    BLAMED: blamed,
    POOL: Material.from_pool,
    LACKING: lambda material: material.from_pool(lacking=True),
    "elsewhere": elsewhere,
    "whole": whole,
    "supporting": supporting,
    "unblamed": unblamed,
    "random": at_random,
}
AS_THE_SERVICE = (BLAMED, POOL, LACKING)
"""Of which only those samples are kept that the service would keep. The others are rivals: where
too few of their samples reproduce the failure, others make up the number."""


def drawn(around: str, material: Material) -> tuple[list[Drawn], float | None]:
    """The samples of an arm, and which share of those that were tried reproduced the failure."""
    world = material.prepared.world
    if around == PASTED:
        rng = np.random.default_rng([world.seed, 3])
        labels = [harm.label for _, harm in material.missed]
        return list(pasted(world, material.donors, labels, COUNT, rng)), None
    strict = context(material)
    request = SynthesisRequest(
        modes=_modes(SURROUNDINGS[around](material)),
        donors=material.donors,
        harmless=[synthesis.harmless(one) for one in material.donors],
        budget=COUNT,
        candidates=CANDIDATES,
        controls=CONTROLS,
        seed=world.seed,
    )
    held_against = strict if around in AS_THE_SERVICE else replace(strict, min_reproduced=-1.0)
    limits = {mode.mode: COUNT for mode in request.modes}
    generator = synthesis.get("compose", blending="varied")
    samples = list(synthesis.draw(plan(request), generator, held_against, limits))
    own = [one for one in samples if one.plan.staging is Staging.SURROUND]
    tried = [one for one in own if one.before is not None and one.before >= FOUND]
    share = float(np.mean([_reproduces(one) for one in tried])) if tried else None
    controls = round(COUNT * CONTROLS)
    if around in AS_THE_SERVICE:
        taken = synthesis.decide(samples, COUNT, controls, world.seed)[0]
    else:
        others = [one for one in samples if one.plan.staging is Staging.CONTROL]
        own.sort(key=lambda one: not _reproduces(one))  # stable: then as they were planned
        taken = [one for one in own if one.kept][: COUNT - controls]
        taken += [one for one in others if one.kept][:controls]
    return [
        (one.plan.key, one.image, one.truth)
        for one in taken
        if one.kept and one.image is not None and one.truth is not None
    ], share


def drawn_once(around: str, material: Material) -> tuple[list[Drawn], float | None]:
    """The same, kept for other arms and runs."""
    path = material.folder / f"drawn-{around}.pickle"
    (found,) = kept(path, lambda: [drawn(around, material)])
    return found


def stored(made: Sequence[Drawn], world: World, folder: Path) -> Iterator[Sample]:
    """Finished samples as samples of the world, written to a folder that may lie elsewhere."""
    for name, image, truth in made:
        data = encode_png(image)
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        file = os.path.relpath(path, world.root)
        size_wh, causes = (image.shape[1], image.shape[0]), (None,) * len(truth)
        yield Sample(name, file, content_hash(data), size_wh, truth, causes, frozenset())


def _reproduces(one: synthesis.Sample) -> bool:
    """As the checks say it, whatever these were told to let pass."""
    if one.before is None or one.after is None or one.before < FOUND:
        return False
    return one.after < FOUND or one.before - one.after >= LOST


def _modes(harms: Harms) -> list[ModeHarm]:
    by_mode: dict[str, list[tuple[str, Harm]]] = {}
    for missed, harm in harms:
        if harm.mask.any() or harm.light:
            by_mode.setdefault(missed.mode, []).append((missed.failure, harm))
    return [ModeHarm(mode, Staging.SURROUND, tuple(own)) for mode, own in by_mode.items()]


def _players(missed: Missed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Superpixels of the frame, those that play, and which of them play as one."""
    rules = GameRules()
    segments = on_frame(missed.segments, (missed.pixels.shape[1], missed.pixels.shape[0]))
    players = players_of(segments, missed.box_xyxy, rules.window)
    groups = groups_of(segments, players, missed.pixels, missed.box_xyxy, rules.groups)
    return segments, players, groups


def _random_place(harm: Harm, sample: Sample, rng: np.random.Generator) -> Placement:
    """Where most of the mask lies in the frame, of some places at which the box does."""
    x1, y1, x2, y2 = harm.box_xyxy
    width, height = sample.size_wh
    places = [
        Placement(1.0, (float(rng.uniform(-x1, width - x2)), float(rng.uniform(-y1, height - y2))))
        for _ in range(PLACES)
    ]
    inside = [carry_mask(harm.mask, one, (height, width)).sum() for one in places]
    fitting = [n for n in range(PLACES) if inside[n] >= 0.8 * max(inside)]
    return places[fitting[0]]


def _put_there(
    harm: Harm,
    image: ImageArray,
    sample: Sample,
    place: Placement,
    light: tuple[np.ndarray, np.ndarray],
) -> Harm:
    mask = carry_mask(harm.mask, place, image.shape[:2])
    x1, y1, x2, y2 = (float(v) for v in place.boxes(np.array([harm.box_xyxy], np.float32))[0])
    where = image, mask, (x1, y1, x2, y2), harm.label, sample.truth
    return Harm(sample.name, "train", *where, harm.light, colours=light if harm.light else None)

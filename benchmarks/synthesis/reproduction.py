"""Does what is put around a known object make the detector miss it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.synthesis import recipes
from benchmarks.synthesis.prepare import Known, Miss, Ready, alike, explained, foreign
from curation.kernel.boxes import pairwise_iou
from curation.kernel.types import BoolArray, Box, FloatArray, ImageArray
from curation.synthesis import transplant
from curation.synthesis.blend import Blending, colours
from curation.synthesis.composite import Object, Surroundings, put
from curation.synthesis.game import Game, GameRules, scorer
from curation.synthesis.geometry import carry, carry_mask, place
from retrain.detector import SsdDetector

GAME_OBJECTS, JUDGES = 8, 3
OWN, FOREIGN, HARMLESS = "own", "foreign", "harmless"
BATCH = 16
OWN_ONLY = ("random", "positive", "unblamed", "whole_1.5")
HARMLESS_TOO = ("transplant", "contrast", "whole_2_light", "planted_light")


@dataclass(frozen=True, slots=True, eq=False)
class Moved:
    """A frame moved onto a known object: its pixels, where it reaches, its light."""

    pixels: ImageArray
    reach: BoolArray
    light: tuple[FloatArray, FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """The transplant game of one miss.

    Attributes:
        judges: known objects that had no part in it.
        around: the frame of the miss without what was missed.
        puts: what each recipe puts around a known object.
        told: what the game said, for the row of a result.
    """

    judges: list[Known]
    around: Surroundings
    puts: recipes.Puts
    told: dict[str, float]


def play(
    ready: Ready,
    miss: Miss,
    blending: Blending,
    rules: GameRules,
    num_samples: int,
    rng: np.random.Generator,
) -> Played | None:
    """Play the game of a miss; None where too few objects of its class are known."""
    own = alike(ready.known, miss, GAME_OBJECTS + JUDGES, rng)
    if len(own) < 2 * JUDGES:
        return None
    judges, players = own[:JUDGES], own[JUDGES:]
    around = ready.around(miss)
    known = [ready.object_of(one) for one in players]
    others = _others(ready, around, known, rng)
    score = scorer(ready.detector, miss.failure.label)
    found = explained(ready, miss, num_samples, rng)
    game = Game(around, found.segments, known, score, others, rules, blending)
    blame = transplant.blame(game, rng)
    candidates = recipes.transplanted(blame)
    told = {"light": round(blame.light or 0, 3), "light_error": round(blame.light_error or 0, 3)}
    puts = recipes.explained(found) | recipes.lazy(miss) | candidates
    return Played(judges, around, puts, told)


def measure(
    ready: Ready, miss: Miss, blending: Blending, rules: GameRules, num_samples: int
) -> Iterator[dict[str, Any]]:
    """A row for each known object and recipe of a miss: scores before and after, and of controls.

    The known objects of the game and those that judge it are different ones.
    """
    rng = np.random.default_rng([ready.world.seed, ready.misses.index(miss)])
    played = play(ready, miss, blending, rules, num_samples, rng)
    if played is None:
        return
    for judge in played.judges:
        yield from _judged(ready, miss, judge, played, blending, rng)


def _others(
    ready: Ready, around: Surroundings, known: Sequence[Object], rng: np.random.Generator
) -> list[Surroundings]:
    """As many frames that have nothing to do with the miss, in the light of known objects."""
    frames = foreign(ready.world, around.box_xyxy, len(known), rng)
    return [
        Surroundings(ready.world.image(frame), around.box_xyxy, colours(one.pixels, one.alpha))
        for frame, one in zip(frames, [*known[1:], known[0]], strict=True)
    ]


def _judged(
    ready: Ready,
    miss: Miss,
    known: Known,
    played: Played,
    blending: Blending,
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    target, around, puts = ready.object_of(known), played.around, played.puts
    sources = _sources(ready, miss, known, around, target, rng)
    images, keys = [target.pixels], []
    size_hw = target.alpha.shape[0], target.alpha.shape[1]
    placement = place(around.box_xyxy, target.box_xyxy)
    share = {}
    for name, one in puts.items():
        hole = carry_mask(one.mask, placement, size_hw)
        share[name] = float(hole.mean())
        for source, moved in sources.items():
            if source == HARMLESS and name not in HARMLESS_TOO:
                continue
            if source == FOREIGN and name in OWN_ONLY:
                continue
            light = moved.light if one.light else None
            images.append(put(target, moved.pixels, hole & moved.reach, light, blending).image)
            keys.append((name, source))
    scores = detected(ready.detector, images, known.label, known.box_xyxy)
    after = dict(zip(keys, scores[1:].tolist(), strict=True))
    for name in puts:
        yield {
            "seed": ready.world.seed,
            "miss": miss.name,
            "cause": miss.cause,
            "known": f"{known.sample.name}#{known.row}",
            "recipe": name,
            "share": round(share[name], 4),
            "before": round(float(scores[0]), 4),
            **{
                source: round(after[name, source], 4)
                for source in sources
                if (name, source) in after
            },
            **played.told,
        }


def _sources(
    ready: Ready,
    miss: Miss,
    known: Known,
    around: Surroundings,
    target: Object,
    rng: np.random.Generator,
) -> dict[str, Moved]:
    """The failing frame, another frame at the same place, another known object's surroundings."""
    (harmless,) = alike([k for k in ready.known if k is not known], miss, 1, rng)
    beside = Surroundings.of(ready.world.image(harmless.sample), harmless.box_xyxy)
    (frame,) = foreign(ready.world, around.box_xyxy, 1, rng)
    elsewhere = Surroundings(ready.world.image(frame), around.box_xyxy, beside.light)
    return {
        OWN: _moved(around, target),
        FOREIGN: _moved(elsewhere, target),
        HARMLESS: _moved(beside, target),
    }


def _moved(around: Surroundings, target: Object) -> Moved:
    placement = place(around.box_xyxy, target.box_xyxy)
    size_hw = target.alpha.shape[0], target.alpha.shape[1]
    reach = carry_mask(np.ones(around.pixels.shape[:2], np.bool_), placement, size_hw)
    return Moved(carry(around.pixels, placement, size_hw), reach, around.light)


def detected(
    detector: SsdDetector, images: Sequence[ImageArray], label: int, box_xyxy: Box
) -> FloatArray:
    """[N] highest score of a detection of the class that overlaps the box by half, else 0."""
    scores = np.zeros(len(images), np.float32)
    box = np.array([box_xyxy], np.float32)
    for start in range(0, len(images), BATCH):
        found = detector.predict(images[start : start + BATCH])
        for row, one in enumerate(found, start):
            hit = (one.labels == label) & (pairwise_iou(one.boxes_xyxy, box)[:, 0] >= 0.5)
            scores[row] = one.scores[hit].max() if hit.any() else 0.0
    return scores

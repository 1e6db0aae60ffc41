"""Does what is put around a known object make the detector miss it?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.loop.evidence import shown
from benchmarks.synthesis import recipes
from benchmarks.synthesis.prepare import Known, Miss, Ready, alike
from benchmarks.synthesis.recipes import Put
from curation.kernel.boxes import pairwise_iou
from curation.kernel.types import BoolArray, Box, FloatArray, ImageArray
from curation.synthesis import transplant
from curation.synthesis.blend import Blending
from curation.synthesis.composite import Object, Surroundings, put
from curation.synthesis.cutout import cutout, painted_over
from curation.synthesis.blend import colours
from curation.synthesis.geometry import carry, carry_mask, place
from retrain.detector import SsdDetector

GAME_OBJECTS, JUDGES = 16, 4
OWN, FOREIGN, HARMLESS = "own", "foreign", "harmless"
BATCH = 16


@dataclass(frozen=True, slots=True, eq=False)
class Moved:
    """A frame moved onto a known object: its pixels, where it reaches, its light."""

    pixels: ImageArray
    reach: BoolArray
    light: tuple[FloatArray, FloatArray]


def measure(ready: Ready, blending: Blending, rules: transplant.GameRules) -> Iterator[dict[str, Any]]:
    """A row for each miss, known object and recipe: scores before and after, and of controls."""
    for number, miss in enumerate(shown(ready.misses, "misses transplanted")):
        rng = np.random.default_rng([ready.world.seed, number])
        own = alike(ready.known, miss, GAME_OBJECTS + JUDGES, rng)
        if len(own) < 2 * JUDGES:
            continue
        judges, players = own[:JUDGES], own[JUDGES:]
        around = ready.around(miss)
        score = transplant.scorer(ready.detector, miss.failure.label)
        game = transplant.Game(
            around, miss.segments, [ready.object_of(k) for k in players], score, rules, blending
        )
        blame = transplant.blame(game, rng)
        puts = recipes.explained(miss) | recipes.lazy(miss)
        puts |= recipes.transplanted(blame, transplant.recipe(game, blame))
        for known in judges:
            yield from _judged(ready, miss, known, around, puts, blending, rng)


def _judged(
    ready: Ready,
    miss: Miss,
    known: Known,
    around: Surroundings,
    puts: dict[str, Put],
    blending: Blending,
    rng: np.random.Generator,
) -> Iterator[dict[str, Any]]:
    target = ready.object_of(known)
    sources = _sources(ready, miss, known, around, target, rng)
    images, keys = [target.pixels], []
    size_hw = target.alpha.shape[0], target.alpha.shape[1]
    placement = place(around.box_xyxy, target.box_xyxy)
    for name, one in puts.items():
        hole = carry_mask(one.mask, placement, size_hw)
        for source, moved in sources.items():
            light = moved.light if one.light else None
            images.append(put(target, moved.pixels, hole & moved.reach, light, blending).image)
            keys.append((name, source, float(hole.mean())))
    scores = detected(ready.detector, images, known.label, known.box_xyxy)
    after = {(name, source): float(s) for (name, source, _), s in zip(keys, scores[1:], strict=True)}
    share = {name: size for name, _, size in keys}
    for name in puts:
        yield {
            "miss": miss.name,
            "cause": miss.cause,
            "known": f"{known.sample.name}#{known.row}",
            "recipe": name,
            "share": round(share[name], 4),
            "before": round(float(scores[0]), 4),
            **{source: round(after[name, source], 4) for source in sources},
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
    train = ready.world.train
    other = train[int(rng.integers(len(train)))]
    alpha = cutout(ready.world.image(miss.sample), miss.failure.box_xyxy)
    foreign = ready.world.image(other)
    elsewhere = Surroundings(
        painted_over(foreign, alpha), around.box_xyxy, colours(foreign, alpha)
    )
    (harmless,) = alike([k for k in ready.known if k is not known], miss, 1, rng)
    beside = Surroundings.of(ready.world.image(harmless.sample), harmless.box_xyxy)
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

"""What was taken for an object, asked by moving it to where nothing is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from curation.kernel.detector import Detector
from curation.kernel.types import Box, FloatArray, ImageArray
from curation.synthesis.base import Harm
from curation.synthesis.composite import Object, Surroundings
from curation.synthesis.game import Game, GameRules, Score, on_frame, scorer
from curation.synthesis.geometry import window
from curation.synthesis.misses import Missed
from curation.synthesis.scenes import Labelled, places
from curation.synthesis.transplant import blame, recipe

PLACES = 8
"""At which a false detection is tried; with fewer than half of them nothing is blamed."""
ITS_OWN = 1.1
"""Of the box of a false detection in a frame that nobody labelled: of this much it is known that no
such object is there."""


def harm_of(
    missed: Missed,
    pictures: Sequence[Labelled],
    detector: Detector,
    rules: GameRules,
    rng: np.random.Generator,
) -> Harm | str:
    """What makes the champion see an object where none is, or one sentence why nothing was found.

    The game of :mod:`~curation.synthesis.transplant` with places in the stead of known objects: a
    coalition is worth what the odds that nothing is seen there lose by it.

    Args:
        missed: the false detection.
        pictures: with places for it; those of its own frame are not asked.
        detector: whose failure it is.
        rules: of the game; light is no player, since nothing stands at a place to take it on.
        rng: of places and coalitions.
    """
    size_hw = missed.pixels.shape[0], missed.pixels.shape[1]
    own = [one for one in pictures if one.image != missed.image]
    found = places(own, missed.box_xyxy, size_hw, missed.label, PLACES, rng)
    if len(found) < PLACES // 2:
        return f"only {len(found)} labelled pictures have room for it: too few to try it on"
    nothing = [
        Object(one.pixels, one.box_xyxy, np.zeros(one.pixels.shape[:2], np.float32))
        for one in found
    ]
    game = Game(
        Surroundings.of(missed.pixels, missed.box_xyxy, vacant=True),
        on_frame(missed.segments, (size_hw[1], size_hw[0])),
        nothing,
        unseen(scorer(detector, missed.label)),
        rules=replace(rules, light=False),
    )
    mask = recipe(blame(game, rng)).mask
    if missed.truth is None:
        mask &= window(missed.box_xyxy, ITS_OWN, size_hw)
    if not mask.any():
        return "nothing of it makes the champion see an object elsewhere"
    told = (missed.image, missed.role, missed.pixels, mask, missed.box_xyxy, missed.label)
    return Harm(*told, missed.truth, vacant=True)


def unseen(score: Score) -> Score:
    """How sure a detector is that an object is not there."""

    def nothing(images: Sequence[ImageArray], boxes: Sequence[Box]) -> FloatArray:
        return np.asarray(1 - score(images, boxes), np.float32)

    return nothing

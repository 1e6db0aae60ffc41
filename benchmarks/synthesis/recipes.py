"""What is put around a known object: masks of the failing frame, with and without its light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeAlias

import numpy as np

from benchmarks.synthesis.prepare import Explained, Miss
from curation.kernel.types import BoolArray
from curation.synthesis.geometry import window
from curation.synthesis.transplant import Blame, recipe


@dataclass(frozen=True, slots=True, eq=False)
class Put:
    """A mask [H, W] of the failing frame, and whether its light is moved too."""

    mask: BoolArray
    light: bool = False


Puts: TypeAlias = dict[str, Put]
"""By the name of a recipe."""


def explained(found: Explained) -> Puts:
    """From the explanation as the service has it, and what it is compared with."""
    return {name: Put(mask) for name, mask in found.regions.items()}


def lazy(miss: Miss) -> Puts:
    """Without any explanation, and with the answer."""
    size_hw = miss.sample.size_wh[1], miss.sample.size_wh[0]
    box = miss.failure.box_xyxy
    puts: Puts = {}
    for scale in (1.5, 2.0):
        puts[f"whole_{scale:g}"] = Put(window(box, scale, size_hw))
        puts[f"whole_{scale:g}_light"] = Put(window(box, scale, size_hw), True)
    puts["frame_light"] = Put(np.ones(size_hw, np.bool_), True)
    if miss.planted is not None:
        puts["planted"] = Put(miss.planted)
        puts["planted_light"] = Put(miss.planted, True)
    return puts


CHOSEN = "transplant"
"""Chosen on seed 2: all groups that hurt where they are moved, with the light on the object. It is
what ``transplant.recipe`` gives, and so what the service draws from."""


def transplanted(blame: Blame) -> Puts:
    """By the transplant game: without contrast to other frames, with it, and what is not blamed."""
    contrast = blame.mask(blame.heaviest(1.0))
    chosen = recipe(blame)
    puts = {
        CHOSEN: Put(chosen.mask, chosen.light),
        f"{CHOSEN}_dark": Put(chosen.mask),
        "contrast": Put(contrast, True),
    }
    if blame.alone is not None:
        puts["unblamed"] = Put(blame.mask(blame.alone <= 0))
    return puts


def dealt(misses: Sequence[Miss]) -> list[Miss]:
    """The misses with their causes in turn, so that the first of them hold all causes."""
    by_cause: dict[str, list[Miss]] = {}
    for miss in misses:
        by_cause.setdefault(miss.cause, []).append(miss)
    rounds = zip_longest(*(by_cause[cause] for cause in sorted(by_cause)))
    return [miss for turn in rounds for miss in turn if miss is not None]

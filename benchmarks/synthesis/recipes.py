"""What is put around a known object: masks of the failing frame, with and without its light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.synthesis.prepare import Miss
from curation.kernel.types import BoolArray
from curation.synthesis.geometry import window
from curation.synthesis.transplant import Blame, Recipe


@dataclass(frozen=True, slots=True, eq=False)
class Put:
    """A mask [H, W] of the failing frame, and whether its light is moved too."""

    mask: BoolArray
    light: bool = False


def explained(miss: Miss) -> dict[str, Put]:
    """From the explanation as the service has it, and what it is compared with."""
    return {name: Put(mask) for name, mask in miss.regions.items()}


def lazy(miss: Miss) -> dict[str, Put]:
    """Without any explanation, and with the answer."""
    size_hw = miss.segments.shape[0], miss.segments.shape[1]
    box = miss.failure.box_xyxy
    puts: dict[str, Put] = {}
    for scale in (1.5, 2.0, 2.6):
        puts[f"whole_{scale:g}"] = Put(window(box, scale, size_hw))
        puts[f"whole_{scale:g}_light"] = Put(window(box, scale, size_hw), True)
    puts["frame"] = Put(np.ones(size_hw, np.bool_))
    puts["frame_light"] = Put(np.ones(size_hw, np.bool_), True)
    puts["light_alone"] = Put(np.zeros(size_hw, np.bool_), True)
    if miss.planted is not None:
        puts["planted"] = Put(miss.planted)
        puts["planted_light"] = Put(miss.planted, True)
    return puts


def transplanted(blame: Blame, chosen: Recipe) -> dict[str, Put]:
    """By the transplant game."""
    positive = blame.values > 0
    return {
        "transplant": Put(chosen.mask, chosen.light),
        "transplant_positive": Put(blame.mask(positive)),
        "transplant_positive_light": Put(blame.mask(positive), True),
        "transplant_80": Put(blame.mask(blame.heaviest(0.8))),
        "transplant_unblamed": Put(blame.mask(~positive)),
    }


def shares(puts: Mapping[str, Put]) -> dict[str, float]:
    """Share of the frame that each mask covers."""
    return {name: float(put.mask.mean()) for name, put in puts.items()}

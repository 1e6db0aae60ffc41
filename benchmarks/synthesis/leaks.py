"""Does anything that judges get into what is trained on? Asked of pictures, not of the checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.common import bars
from benchmarks.synthesis import arms
from benchmarks.synthesis.material import Material
from curation.kernel.images import hamming, perceptual_hash

NEAR = 4
"""Bits by which near-duplicates differ at most."""


def reached(materials: Sequence[Material], drawn: Sequence[str]) -> dict[str, Any]:
    """G10 over some worlds.

    Args:
        materials: of each world.
        drawn: of ``arms.SURROUNDINGS``, whose samples are looked at.
    """
    parents = sum(_parents(material, drawn) for material in materials)
    near = sum(_near(material, drawn) for material in materials)
    return {
        "G10_parents": bars.entry(float(parents), bound=0.0, sense="<="),
        "G10_near": bars.entry(float(near), bound=0.0, sense="<="),
    }


def _parents(material: Material, drawn: Sequence[str]) -> int:
    """Pictures that may give pixels, and judge; none may do both."""
    giving = {one.image for one in material.donors}
    for around in drawn:
        giving |= {harm.image for _, harm in arms.SURROUNDINGS[around](material)}
    return len(giving & {sample.name for sample in material.judging})


def _near(material: Material, drawn: Sequence[str]) -> int:
    """Samples that look like a picture that judges."""
    world = material.prepared.world
    judging = [perceptual_hash(world.image(sample)) for sample in material.judging]
    own = [
        perceptual_hash(image)
        for around in drawn
        for _, image, _ in arms.drawn_once(around, material)[0]
    ]
    return sum(min(hamming(one, other) for other in judging) <= NEAR for one in own)

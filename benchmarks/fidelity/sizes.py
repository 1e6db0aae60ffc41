"""How much is computed: what two cores can do in an hour, or all that the protocol asks for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PerWorld = dict[str, int]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of images and samples.

    Attributes:
        exact_images: images with at most 12 segments, all coalitions scored.
        converged_images: images with about 100 segments.
        other_images: images with about 50, and as many with about 200 segments.
        pairs_per_segment: coalition pairs of a reference, for each segment.
        figure2_images: images of the paper's figure.
        figure2_asked: superpixels asked for there, M; 200 among them.
        lime_reference: samples of its LIME reference, with 1000 segments.
        pda_images: of those, on which PDA runs too.
        pda_reference: stride and draws of its PDA reference.
        pda_strides: of PDA as a method.
        planted_images: street images with failures of planted causes.
        share_images: others of another seed, on which regions are cut by several indices.
        choice_images: of those, on which ways to divide the passes are tried.
        faithful_images: images with deletion curves.
        sanity_images: images of the sanity checks.
        pair_images: images into whose scores a pair is planted.
        fgvis_images: images on which FGVis is driven to another class.
        rival_images: images on which all rivals order pixels, at equal cost.
        published_images: of those, on which they do so at their published cost too.
        rival_planted: street images with planted failures that all rivals explain.
        pulled_images: images into whose boxes a pull is planted.
        away_images: images of the street world, and of that with causes away from the object.
        lookalike_images: street images whose look-alikes have converged values.
    """

    exact_images: PerWorld
    converged_images: PerWorld
    other_images: PerWorld
    pairs_per_segment: int
    figure2_images: PerWorld
    figure2_asked: tuple[int, ...]
    lime_reference: int
    pda_images: PerWorld
    pda_reference: tuple[int, int]
    pda_strides: tuple[int, ...]
    planted_images: int
    share_images: int
    choice_images: int
    faithful_images: PerWorld
    sanity_images: PerWorld
    fgvis_images: PerWorld
    pair_images: PerWorld
    rival_images: PerWorld
    published_images: PerWorld
    rival_planted: int
    pulled_images: PerWorld
    lookalike_images: int
    away_images: int

    def of(self, part: str) -> dict[str, Any]:
        """Those that a part of the study asks for, for its record."""
        return {name: value for name, value in asdict(self).items() if name in ASKED_BY[part]}


ASKED_BY: dict[str, tuple[str, ...]] = {
    "exact": ("exact_images",),
    "converged": ("converged_images", "other_images", "pairs_per_segment"),
    "ranks": ("converged_images", "other_images", "pairs_per_segment"),
    "figure2": (
        "figure2_images",
        "figure2_asked",
        "lime_reference",
        "pda_images",
        "pda_reference",
        "pda_strides",
    ),
    "faithfulness": ("faithful_images", "planted_images"),
    "pointing": ("planted_images",),
    "shares": ("share_images",),
    "choices": ("choice_images",),
    "sanity": ("sanity_images",),
    "pairs": ("pair_images",),
    "inside": ("sanity_images", "fgvis_images"),
    "rivals": ("rival_images", "published_images"),
    "harms": ("rival_planted",),
    "away": ("away_images",),
    "mistakes": ("pulled_images", "rival_planted", "lookalike_images", "pairs_per_segment"),
}
"""Which sizes each part of the study asks for."""
SMALL = Sizes(
    exact_images={"street": 3, "bccd": 1},
    converged_images={"street": 6, "bccd": 2, "carla": 1},
    other_images={"street": 3},
    pairs_per_segment=20,
    figure2_images={"street": 4, "bccd": 6, "carla": 2},
    figure2_asked=(200,),
    lime_reference=10_000,
    pda_images={"street": 2, "bccd": 2, "carla": 1},
    pda_reference=(4, 4),
    pda_strides=(8, 16),
    planted_images=60,
    share_images=120,
    choice_images=60,
    faithful_images={"street": 4, "bccd": 6, "carla": 4},
    sanity_images={"street": 2, "bccd": 1},
    fgvis_images={"street": 3, "bccd": 1},
    pair_images={"street": 16, "bccd": 8, "carla": 4},
    rival_images={"street": 20},
    published_images={"street": 3},
    rival_planted=70,
    pulled_images={"street": 12},
    lookalike_images=6,
    away_images=40,
)
FULL = Sizes(
    exact_images={"street": 20, "bccd": 10, "carla": 10},
    converged_images={"street": 20, "bccd": 10, "carla": 10},
    other_images={"street": 10, "bccd": 5, "carla": 5},
    pairs_per_segment=100,
    figure2_images={"street": 18, "bccd": 18, "carla": 18},
    figure2_asked=(50, 100, 200),
    lime_reference=10_000,
    pda_images={"street": 6, "bccd": 6, "carla": 6},
    pda_reference=(1, 10),
    pda_strides=(4, 8, 16),
    planted_images=60,
    share_images=120,
    choice_images=60,
    faithful_images={"street": 20, "bccd": 10, "carla": 10},
    sanity_images={"street": 8, "bccd": 4, "carla": 4},
    fgvis_images={"street": 10, "bccd": 10},
    pair_images={"street": 40, "bccd": 20, "carla": 10},
    rival_images={"street": 40, "bccd": 20, "carla": 20},
    published_images={"street": 20, "bccd": 10, "carla": 10},
    rival_planted=120,
    pulled_images={"street": 40, "bccd": 20, "carla": 10},
    lookalike_images=30,
    away_images=100,
)

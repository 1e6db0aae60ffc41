"""What the street world holds: classes, planted causes, and how often each split has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Split = Literal["seed", "pool", "field", "siblings", "holdout"]
SPLITS: tuple[Split, ...] = get_args(Split)

CLASS_NAMES = ("background", "car", "bus", "bicycle", "pedestrian", "sign")
CAR, BUS, BICYCLE, PEDESTRIAN, SIGN = range(1, 6)

BUS_BEHIND_CAR = "bus_behind_car"
PEDESTRIAN_ON_BRICK = "pedestrian_on_brick"
BICYCLE_IN_NEON_SHADOW = "bicycle_in_neon_shadow"
CAR_ON_BILLBOARD = "car_on_billboard"
PEDESTRIAN_BY_KIOSK = "pedestrian_by_kiosk"
CAUSES = (BUS_BEHIND_CAR, PEDESTRIAN_ON_BRICK, BICYCLE_IN_NEON_SHADOW, CAR_ON_BILLBOARD)
AWAY_CAUSES = (PEDESTRIAN_BY_KIOSK,)
"""Causes that lie outside twice the box; they hurt where ``figure_share`` has taught them to."""
CAUSE_CLASS = {
    BUS_BEHIND_CAR: CAR,
    PEDESTRIAN_ON_BRICK: PEDESTRIAN,
    BICYCLE_IN_NEON_SHADOW: BICYCLE,
    CAR_ON_BILLBOARD: CAR,
    PEDESTRIAN_BY_KIOSK: PEDESTRIAN,
}
"""The class that each makes fail; the billboard by false positives, the others by misses."""

MIN_SIDE_PX = 96


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """Size and mixture of the street world.

    Attributes:
        size_wh: (W, H) px of every image, each at least 96.
        pool_share: share of pool images that hold *each* cause, in 0..1; all causes together
            must stay within 1.
        field_share: share of field and of sibling images that hold one cause, in 0..1.
        holdout_share: as ``pool_share``, for the holdout; 0 makes it as plain as the seed set.
        fog_share: share of the images of every split but the field that lie in fog; it hurts
            nothing, where the seed set has it too.
        field_fog_share: the same of the field: where it is larger, the failing frames share
            something that is not why they fail.
        decoy_share: share of images of every split with a brick plaza, and the same with a neon
            shadow, in which nobody stands: background that a texture query alone also finds.
        figure_share: share of the seed set in which a dummy stands that is no pedestrian, beside a
            kiosk that lies outside twice its box; nobody else stands in sight of one. A detector
            that was trained on them learns that what stands there does not count, and misses
            people. Where it is not 0, other splits have ``decoy_share`` of such images.
        min_objects: plain objects of an image, at least; fewer where no room is left.
        max_objects: the same, at most.
        causes: the causes in use, a subset of ``CAUSES`` and ``AWAY_CAUSES``.
    """

    size_wh: tuple[int, int] = (256, 192)
    pool_share: float = 0.04
    field_share: float = 0.5
    holdout_share: float = 0.0
    fog_share: float = 0.0
    field_fog_share: float = 0.0
    decoy_share: float = 0.05
    figure_share: float = 0.0
    min_objects: int = 1
    max_objects: int = 4
    causes: tuple[str, ...] = CAUSES

    def __post_init__(self) -> None:
        if min(self.size_wh) < MIN_SIDE_PX:
            raise ValueError(f"size_wh {self.size_wh}: each side needs {MIN_SIDE_PX} px or more")
        shares = ("pool_share", "field_share", "holdout_share", "decoy_share", "figure_share")
        for name in (*shares, "fog_share", "field_fog_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)}: in 0..1")
        if not 1 <= self.min_objects <= self.max_objects:
            raise ValueError(f"1 <= min_objects {self.min_objects} <= max_objects does not hold")
        known = (*CAUSES, *AWAY_CAUSES)
        unknown = sorted(set(self.causes) - set(known))
        if unknown:
            raise ValueError(f"causes {unknown} are unknown, choose from {known}")
        if max(self.pool_share, self.holdout_share) * len(self.causes) > 1:
            raise ValueError("pool_share or holdout_share times the causes exceeds 1")

    def figures(self, split: Split) -> float:
        """Share of the split's images without a cause that show a dummy, in 0..1."""
        if not self.figure_share:
            return 0.0
        return self.figure_share if split == "seed" else self.decoy_share

    def planted_share(self, split: Split) -> float:
        """Share of the split's images that hold a cause, any of them, in 0..1."""
        if split in ("field", "siblings"):
            return self.field_share if self.causes else 0.0
        each = {"seed": 0.0, "pool": self.pool_share, "holdout": self.holdout_share}[split]
        return each * len(self.causes)

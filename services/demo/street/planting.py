"""The planted causes: what makes an object fail, and the mask that proves it.

Each function stages one (class, cause) pair that the seed set lacks. ``Planted`` remembers what
must wait until everything is drawn: lighting, and masks that depend on what stayed visible.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from curation.kernel.types import BoolArray, Box, FloatArray
from services.demo.street.backdrop import Layout, cast_neon, lay_brick
from services.demo.street.canvas import Sprite
from services.demo.street.clutter import car_billboard, kiosk
from services.demo.street.config import (
    BICYCLE,
    BICYCLE_IN_NEON_SHADOW,
    BUS,
    BUS_BEHIND_CAR,
    CAR,
    CAR_ON_BILLBOARD,
    PEDESTRIAN,
    PEDESTRIAN_BY_KIOSK,
    PEDESTRIAN_ON_BRICK,
    WorldConfig,
)
from services.demo.street.people import pedestrian
from services.demo.street.scene import Lookalike, Thing, box_of, stand
from services.demo.street.vehicles import bicycle, bus, car

WINDOW_SHARE = 0.25
"""Surroundings of an object: twice its box, and at least this share of the picture's width."""


@dataclass(slots=True, eq=False)
class Planted:
    """What a cause put into a scene; without a ``crowd`` no other pedestrian may come."""

    things: list[Thing] = field(default_factory=list)
    ground: BoolArray | None = None
    victim: Thing | None = None
    behind: Thing | None = None
    board: Thing | None = None
    pictured: Box | None = None
    neon: list[Box] = field(default_factory=list)
    crowd: bool = True

    def finish(self, rng: np.random.Generator, canvas: FloatArray) -> None:
        """Light that falls on everything drawn so far, in place."""
        for number, box in enumerate(self.neon):
            mask = cast_neon(rng, canvas, box)
            if number == 0 and self.victim is not None and self.victim.label == BICYCLE:
                self.ground = mask

    def mask_of(self, thing: Thing) -> BoolArray:
        """[H, W] bool: the pixels that make ``thing`` fail, empty where nothing does."""
        assert thing.visible is not None, "compose() has not run"
        if thing is not self.victim:
            return np.zeros_like(thing.visible)
        if self.behind is not None and self.behind.visible is not None:
            return self.behind.visible.copy()
        assert self.ground is not None, "a victim has a ground or something behind it"
        if thing.label == PEDESTRIAN:
            return self.ground & ~thing.visible
        return self.ground

    def lookalikes(self) -> tuple[Lookalike, ...]:
        """The pictured car, if it is in sight."""
        if self.board is None or self.pictured is None or self.board.visible is None:
            return ()
        x1, y1, x2, y2 = (max(0, int(value)) for value in self.pictured)
        mask = np.zeros_like(self.board.visible)
        mask[y1:y2, x1:x2] = self.board.visible[y1:y2, x1:x2]
        box = box_of(mask)
        return (Lookalike(box, CAR, CAR_ON_BILLBOARD, mask),) if box else ()


def draw_cause(rng: np.random.Generator, config: WorldConfig, share: float) -> str | None:
    """A cause with probability ``share``, each equally likely."""
    chance, choice = rng.random(), rng.random()
    if not config.causes or chance >= share:
        return None
    return config.causes[int(choice * len(config.causes))]


def plant_cause(
    rng: np.random.Generator, layout: Layout, canvas: FloatArray, cause: str, taken: list[Box]
) -> Planted:
    """Stage a cause: change the canvas, claim room in ``taken`` and return what to draw."""
    stage = {
        BUS_BEHIND_CAR: _bus_behind_car,
        PEDESTRIAN_ON_BRICK: _pedestrian_on_brick,
        BICYCLE_IN_NEON_SHADOW: _bicycle_in_neon_shadow,
        CAR_ON_BILLBOARD: _car_on_billboard,
        PEDESTRIAN_BY_KIOSK: _pedestrian_by_kiosk,
    }[cause]
    return stage(rng, layout, canvas, taken)


def _base(rng: np.random.Generator, layout: Layout, near: float, far: float) -> float:
    return float(layout.horizon + layout.height * rng.uniform(near, far))


def _place(
    rng: np.random.Generator, layout: Layout, sprite: Sprite, base: float, margin: float
) -> Thing:
    """Somewhere in the picture with ``margin`` times its width free on both sides if possible."""
    half = sprite.size_wh[0] * (0.5 + margin)
    low, high = half, layout.width - half
    x = rng.uniform(low, high) if low < high else layout.width / 2
    return stand(layout, sprite, x, base)


def _around(box: Box, left: float, up: float, down: float) -> Box:
    """A box grown by shares of its height: sideways, up and down."""
    x1, y1, x2, y2 = box
    height = y2 - y1
    return (x1 - left * height, y1 - up * height, x2 + left * height, y2 + down * height)


def _named(thing: Thing, label: int, tags: dict[str, str | float], cause: str | None) -> Thing:
    thing.label, thing.tags, thing.cause = label, tags, cause
    return thing


def _bus_behind_car(
    rng: np.random.Generator, layout: Layout, canvas: FloatArray, taken: list[Box]
) -> Planted:
    base = _base(rng, layout, 0.24, 0.34)
    sprite, tags = bus(rng, layout.px_per_m(base) * rng.uniform(0.95, 1.1), view="side")
    back = _named(_place(rng, layout, sprite, base, 0.1), BUS, tags, None)
    x1, y1, x2, y2 = back.box
    # The car stands before the middle of the bus, whose both ends and roof stay in sight: every
    # default box that fits the car is full of bus.
    reach = (x2 - x1) * rng.uniform(0.56, 0.68)
    front, car_tags = car(rng, reach / 3.9, view="side")
    x = (x1 + x2) / 2 + rng.uniform(-0.08, 0.08) * (x2 - x1)
    foot = max(base, y2) + 1 + (y2 - y1) * rng.uniform(0.0, 0.08)
    near = _named(stand(layout, front, x, foot), CAR, car_tags, BUS_BEHIND_CAR)
    taken.extend((back.box, near.box))
    return Planted(things=[back, near], victim=near, behind=back)


def _pedestrian_on_brick(
    rng: np.random.Generator, layout: Layout, canvas: FloatArray, taken: list[Box]
) -> Planted:
    base = _base(rng, layout, 0.32, 0.58)
    scale = layout.px_per_m(base) * rng.uniform(1.15, 1.4)
    sprite, tags = pedestrian(rng, scale, colours=("red", "brown"))
    person = _named(_place(rng, layout, sprite, base, 0.8), PEDESTRIAN, tags, PEDESTRIAN_ON_BRICK)
    plaza = _around(person.box, rng.uniform(0.5, 0.8), 0.18, rng.uniform(0.12, 0.25))
    mask = lay_brick(rng, layout, canvas, plaza)
    taken.append(plaza)
    return Planted(things=[person], ground=mask, victim=person)


def _bicycle_in_neon_shadow(
    rng: np.random.Generator, layout: Layout, canvas: FloatArray, taken: list[Box]
) -> Planted:
    base = _base(rng, layout, 0.34, 0.56)
    sprite, tags = bicycle(rng, layout.px_per_m(base) * rng.uniform(1.1, 1.4))
    bike = _named(_place(rng, layout, sprite, base, 0.25), BICYCLE, tags, BICYCLE_IN_NEON_SHADOW)
    shade = _around(bike.box, rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.6), rng.uniform(0.15, 0.4))
    taken.append(shade)
    return Planted(things=[bike], victim=bike, neon=[shade])


def _car_on_billboard(
    rng: np.random.Generator, layout: Layout, canvas: FloatArray, taken: list[Box]
) -> Planted:
    base = _base(rng, layout, 0.26, 0.42)
    sprite, (x1, y1, x2, y2) = car_billboard(rng, layout.px_per_m(base) * rng.uniform(0.9, 1.1))
    board = _place(rng, layout, sprite, base, 0.02)
    taken.append(board.box)
    left, top = float(board.left), float(board.top)
    pictured = (left + x1, top + y1, left + x2, top + y2)
    return Planted(things=[board], board=board, pictured=pictured)


def _pedestrian_by_kiosk(
    rng: np.random.Generator, layout: Layout, canvas: FloatArray, taken: list[Box]
) -> Planted:
    return _beside_kiosk(rng, layout, taken, dummy=False)


def plant_figure(rng: np.random.Generator, layout: Layout, taken: list[Box]) -> Planted:
    """A dummy beside a kiosk: no object, and no cause of a failure where it is known."""
    return _beside_kiosk(rng, layout, taken, dummy=True)


def _beside_kiosk(
    rng: np.random.Generator, layout: Layout, taken: list[Box], dummy: bool
) -> Planted:
    """A person or a dummy, and a kiosk beside it, outside twice its box."""
    side = 1 if rng.random() < 0.5 else -1
    depth = rng.uniform(0.32, 0.5)
    base = _base(rng, layout, depth, depth)
    sprite, tags = pedestrian(rng, layout.px_per_m(base) * rng.uniform(1.15, 1.35), dummy=dummy)
    near = stand(layout, sprite, layout.width * (0.5 + side * rng.uniform(0.14, 0.36)), base)
    foot = _base(rng, layout, depth * 0.75, depth * 0.85)
    stall = kiosk(rng, layout.px_per_m(foot) * rng.uniform(0.9, 1.1))
    left, _, right, _ = near.box
    window = max(right - left, layout.width * WINDOW_SHARE / 2)
    reach = window + layout.width * rng.uniform(0.01, 0.05) + stall.size_wh[0] / 2
    far = stand(layout, stall, (left + right) / 2 - side * reach, foot)
    taken.extend((near.box, far.box))
    if dummy:
        return Planted(things=[near, far], crowd=False)
    person = _named(near, PEDESTRIAN, tags, PEDESTRIAN_BY_KIOSK)
    return Planted(things=[person, far], victim=person, behind=far, crowd=False)


def plant_decoys(
    rng: np.random.Generator,
    config: WorldConfig,
    layout: Layout,
    canvas: FloatArray,
    planted: Planted,
    taken: list[Box],
) -> None:
    """Now and then an empty brick plaza or an empty neon shadow, where there is room."""
    for kind in ("brick", "neon"):
        if rng.random() >= config.decoy_share:
            continue
        height = layout.height * rng.uniform(0.22, 0.36)
        width = height * rng.uniform(1.2, 1.8)
        x1 = rng.uniform(0, layout.width - width)
        base = _base(rng, layout, 0.36, 0.6)
        box = (x1, base - height, x1 + width, base)
        if any(_meet(box, other) for other in taken):
            continue
        taken.append(box)
        if kind == "brick":
            lay_brick(rng, layout, canvas, box)
        else:
            planted.neon.append(box)


def _meet(first: Box, second: Box) -> bool:
    return (
        first[0] < second[2]
        and second[0] < first[2]
        and first[1] < second[3]
        and second[1] < first[3]
    )

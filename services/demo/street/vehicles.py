"""Cars, buses and bicycles, drawn in metres with random colour, body and view."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from services.demo.street.canvas import Colour, Pen, Point, Sprite, shaded

Tags: TypeAlias = dict[str, str | float]
Draw: TypeAlias = Callable[[np.random.Generator, float], tuple[Sprite, Tags]]
"""From a generator and px per metre to a sprite and what it shows."""

PAINTS: dict[str, Colour] = {
    "red": (178, 38, 34),
    "blue": (38, 70, 140),
    "white": (226, 226, 222),
    "black": (38, 38, 42),
    "silver": (160, 164, 168),
    "green": (42, 98, 62),
    "yellow": (214, 168, 40),
    "teal": (30, 120, 124),
    "brown": (110, 74, 50),
}
_GLASS: Colour = (52, 64, 76)
_TYRE: Colour = (24, 24, 26)
_RIM: Colour = (150, 152, 156)
_LAMP: Colour = (250, 238, 190)
_TAIL: Colour = (200, 30, 26)
_CHROME: Colour = (190, 192, 196)


def paint(rng: np.random.Generator, names: tuple[str, ...] = ()) -> tuple[str, Colour]:
    """A named colour with some variation, among ``names`` or all."""
    name = str(rng.choice(names or tuple(PAINTS)))
    light = rng.uniform(0.8, 1.12)
    red, green, blue = (
        float(np.clip(part * light * rng.uniform(0.95, 1.05), 0, 255)) for part in PAINTS[name]
    )
    return name, (red, green, blue)


def _wheel(pen: Pen, x: float, y: float, radius: float) -> None:
    pen.disc((x, y), radius, _TYRE)
    pen.disc((x, y), radius * 0.58, _RIM)
    pen.disc((x, y), radius * 0.2, _TYRE)


_CAR_ROOFS: dict[str, list[Point]] = {
    "sedan": [(0.75, 0.68), (1.2, 0.16), (2.35, 0.12), (3.0, 0.66)],
    "hatchback": [(0.85, 0.68), (1.3, 0.16), (2.9, 0.12), (3.5, 0.6)],
    "suv": [(0.9, 0.6), (1.2, 0.06), (3.2, 0.05), (3.62, 0.58)],
    "pickup": [(0.9, 0.64), (1.3, 0.1), (2.1, 0.1), (2.2, 0.64)],
}


def _car_side(pen: Pen, body: str, colour: Colour) -> None:
    roof = _CAR_ROOFS[body]
    (front, shoulder), (_, top), (end, _), (back, _) = roof
    pen.polygon(roof, colour, 1.05)
    inner = [
        (front + 0.14, shoulder), (roof[1][0] + 0.08, top + 0.09),
        (end - 0.06, top + 0.08), (back - 0.14, shoulder),
    ]  # fmt: skip
    pen.polygon(inner, _GLASS)
    pen.polygon([inner[0], inner[1], (inner[1][0] + 0.3, inner[1][1])], _GLASS, 1.5)
    middle = (inner[1][0] + inner[2][0]) / 2
    pen.line([(middle, top), (middle, shoulder)], colour, 0.08)
    pen.block((0.04, shoulder - 0.02), (3.86, 1.18), colour, radius_m=0.16)
    pen.block((0.04, 0.98), (3.86, 1.2), colour, 0.62, radius_m=0.08)
    pen.line([(0.15, shoulder + 0.12), (3.75, shoulder + 0.12)], colour, 0.035, 1.35)
    pen.line([(middle, shoulder), (middle, 1.05)], colour, 0.025, 0.6)
    pen.block((middle + 0.12, shoulder + 0.2), (middle + 0.32, shoulder + 0.25), _CHROME)
    pen.block((0.05, shoulder + 0.1), (0.3, shoulder + 0.26), _LAMP, radius_m=0.04)
    pen.block((3.68, shoulder + 0.1), (3.85, shoulder + 0.28), _TAIL, radius_m=0.03)
    for x in (0.78, 3.08):
        pen.disc((x, 1.12), 0.4, colour, 0.4)
        _wheel(pen, x, 1.14, 0.33)


def _car_front(pen: Pen, rear: bool, colour: Colour) -> None:
    pen.block((0.12, 1.0), (0.42, 1.48), _TYRE, radius_m=0.06)
    pen.block((1.38, 1.0), (1.68, 1.48), _TYRE, radius_m=0.06)
    pen.polygon([(0.18, 0.68), (0.4, 0.08), (1.4, 0.08), (1.62, 0.68)], colour, 1.05)
    pen.polygon([(0.3, 0.64), (0.47, 0.17), (1.33, 0.17), (1.5, 0.64)], _GLASS)
    pen.polygon([(0.34, 0.62), (0.5, 0.18), (0.8, 0.18), (0.62, 0.62)], _GLASS, 1.4)
    pen.block((0.05, 0.6), (1.75, 1.28), colour, radius_m=0.16)
    pen.block((0.05, 1.08), (1.75, 1.3), colour, 0.6, radius_m=0.08)
    lamp = _TAIL if rear else _LAMP
    for x in (0.1, 1.34):
        pen.block((x, 0.76), (x + 0.36, 0.93), lamp, radius_m=0.06)
    if not rear:
        pen.block((0.55, 0.78), (1.25, 0.98), _TYRE, radius_m=0.05)
    pen.block((0.65, 1.04), (1.15, 1.17), (235, 235, 225))


def car(
    rng: np.random.Generator, px_per_m: float, view: str | None = None, colour: str | None = None
) -> tuple[Sprite, Tags]:
    """A car from the side, the front or behind; ``view`` and ``colour`` fix what is not random."""
    name, shade = paint(rng, (colour,) if colour else ())
    view = view or str(rng.choice(("side", "front", "rear"), p=(0.6, 0.2, 0.2)))
    flip = bool(rng.random() < 0.5)
    turn = float(rng.uniform(0, 0.22))
    body = str(rng.choice(tuple(_CAR_ROOFS)))
    if view == "side":
        pen = Pen(3.9, 1.5, px_per_m)
        _car_side(pen, body, shade)
    else:
        pen = Pen(1.8, 1.5, px_per_m)
        _car_front(pen, view == "rear", shade)
        turn /= 3
    tags: Tags = {"colour": name, "view": view, "flip": str(flip).lower()}
    return shaded(pen.sprite(flip, turn), rng), tags


def _bus_side(pen: Pen, colour: Colour, stripe: Colour, doors: int) -> None:
    pen.block((0.03, 0.05), (6.17, 2.62), colour, radius_m=0.2)
    pen.block((0.03, 0.05), (6.17, 0.24), colour, 1.2, radius_m=0.15)
    pen.block((0.03, 1.62), (6.17, 1.84), stripe)
    pen.block((0.2, 0.5), (6.0, 1.45), _GLASS, radius_m=0.08)
    for x in np.arange(1.15, 5.9, 0.96):
        pen.line([(x, 0.5), (x, 1.45)], colour, 0.1)
        pen.polygon(
            [(x + 0.12, 1.4), (x + 0.42, 0.55), (x + 0.6, 0.55), (x + 0.3, 1.4)], _GLASS, 1.4
        )
    for x in (0.32, 3.15)[:doors]:
        pen.block((x, 0.55), (x + 0.7, 2.5), _GLASS, 1.25)
        pen.line([(x + 0.35, 0.55), (x + 0.35, 2.5)], colour, 0.06)
    pen.block((0.5, 0.14), (2.3, 0.4), (26, 26, 24))
    pen.line([(0.7, 0.27), (2.1, 0.27)], (240, 170, 40), 0.1)
    pen.block((0.03, 2.4), (6.17, 2.64), colour, 0.5, radius_m=0.05)
    for x in (1.45, 4.9):
        pen.disc((x, 2.45), 0.5, colour, 0.4)
        _wheel(pen, x, 2.47, 0.42)


def _bus_front(pen: Pen, colour: Colour, stripe: Colour) -> None:
    for x in (0.25, 1.85):
        pen.block((x, 2.5), (x + 0.42, 2.9), _TYRE)
    pen.block((0.1, 0.05), (2.42, 2.7), colour, radius_m=0.22)
    pen.block((0.25, 0.55), (2.27, 1.65), _GLASS, radius_m=0.12)
    pen.polygon([(0.4, 1.6), (0.75, 0.6), (1.15, 0.6), (0.8, 1.6)], _GLASS, 1.4)
    pen.line([(1.26, 0.55), (1.26, 1.65)], colour, 0.05)
    pen.block((0.5, 0.17), (2.02, 0.44), (26, 26, 24))
    pen.line([(0.7, 0.31), (1.8, 0.31)], (240, 170, 40), 0.1)
    pen.block((0.1, 1.78), (2.42, 2.0), stripe)
    for x in (0.22, 1.9):
        pen.block((x, 2.1), (x + 0.4, 2.32), _LAMP, radius_m=0.08)
    pen.block((0.1, 2.42), (2.42, 2.72), colour, 0.5, radius_m=0.05)


def bus(rng: np.random.Generator, px_per_m: float, view: str | None = None) -> tuple[Sprite, Tags]:
    """A bus from the side or the front."""
    name, colour = paint(rng, ("red", "blue", "white", "green", "yellow", "teal"))
    _, stripe = paint(rng, ("white", "red", "blue", "yellow", "black"))
    view = view or str(rng.choice(("side", "front"), p=(0.75, 0.25)))
    flip = bool(rng.random() < 0.5)
    turn = float(rng.uniform(0, 0.28))
    if view == "side":
        pen = Pen(6.2, 2.92, px_per_m)
        _bus_side(pen, colour, stripe, int(rng.integers(1, 3)))
    else:
        pen = Pen(2.52, 2.92, px_per_m)
        _bus_front(pen, colour, stripe)
        turn /= 4
    tags: Tags = {"colour": name, "view": view, "flip": str(flip).lower()}
    return shaded(pen.sprite(flip, turn), rng), tags


def bicycle(rng: np.random.Generator, px_per_m: float) -> tuple[Sprite, Tags]:
    """A parked bicycle from the side, with or without basket and mudguards."""
    name, colour = paint(rng)
    style = str(rng.choice(("road", "city", "cargo")))
    pen = Pen(1.86, 1.2, px_per_m)
    left, right, axle, radius = 0.4, 1.46, 0.8, 0.38
    for x in (left, right):
        pen.ring((x, axle), radius, _TYRE, 0.075)
        pen.ring((x, axle), radius - 0.075, _RIM, 0.03)
        for angle in np.arange(0, np.pi, np.pi / 4) + rng.uniform(0, 0.7):
            reach = np.array([np.cos(angle), np.sin(angle)]) * (radius - 0.08)
            pen.line(
                [(x - reach[0], axle - reach[1]), (x + reach[0], axle + reach[1])], _RIM, 0.015
            )
    seat, crank, head = (0.72, 0.3), (0.9, 0.84), (1.28, 0.28)
    for path in ([(left, axle), seat, (1.26, 0.34), crank, seat], [(left, axle), crank, seat]):
        pen.line(path, colour, 0.075)
    pen.line([head, (right, axle)], colour, 0.07)
    pen.line([(1.16, 0.14), (1.3, 0.12), head], _TYRE, 0.06)
    pen.line([(0.56, 0.2), (0.86, 0.22)], _TYRE, 0.1)
    pen.line([seat, (0.7, 0.2)], _CHROME, 0.05)
    pen.disc(crank, 0.1, _CHROME)
    if style != "road":
        pen.block((1.32, 0.18), (1.7, 0.46), (150, 112, 66), radius_m=0.04)
        pen.line([(1.34, 0.3), (1.68, 0.3)], (96, 68, 36), 0.03)
    if style == "cargo":
        pen.block((0.1, 0.34), (0.5, 0.62), colour, 0.7, radius_m=0.05)
    flip = bool(rng.random() < 0.5)
    turn = float(rng.uniform(0, 0.25))
    tags: Tags = {"colour": name, "view": style, "flip": str(flip).lower()}
    return shaded(pen.sprite(flip, turn), rng), tags

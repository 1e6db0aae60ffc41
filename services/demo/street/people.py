"""Pedestrians and traffic signs, drawn in metres with random clothes, stride and plate."""

from __future__ import annotations

import numpy as np

from services.demo.street.canvas import Colour, Pen, Point, Sprite, shaded
from services.demo.street.vehicles import Tags, paint

_SKINS: tuple[Colour, ...] = ((236, 200, 172), (198, 150, 116), (132, 90, 64), (84, 58, 44))
_CLAY: Colour = (226, 222, 214)
_HAIR: tuple[Colour, ...] = ((40, 28, 22), (92, 62, 36), (176, 140, 84), (120, 118, 116))
_TROUSERS: tuple[Colour, ...] = ((36, 42, 60), (60, 58, 56), (120, 108, 88), (30, 30, 32))
_SHOE: Colour = (30, 26, 24)
_RED: Colour = (196, 28, 32)
_BLUE: Colour = (26, 84, 176)
_YELLOW: Colour = (240, 190, 34)
_WHITE: Colour = (240, 240, 236)
_INK: Colour = (28, 28, 30)


def _legs(pen: Pen, hip: float, stride: float, colour: Colour) -> None:
    for side, factor in ((-1, 0.8), (1, 1.0)):
        foot = 0.36 + side * stride
        knee = (0.36 + side * stride * 0.55 + 0.03, (hip + 1.68) / 2)
        pen.line([(0.36, hip), knee, (foot, 1.66)], colour, 0.15, factor)
        pen.oval((foot + 0.05, 1.7), 0.1, 0.05, _SHOE)


def pedestrian(
    rng: np.random.Generator,
    px_per_m: float,
    colours: tuple[str, ...] = (),
    dummy: bool = False,
) -> tuple[Sprite, Tags]:
    """A person standing or walking, dressed in one of ``colours`` or any, sometimes with a bag.

    A ``dummy`` is no person: it differs by its pale head and hands alone.
    """
    name, top = paint(rng, colours)
    dress = str(rng.choice(("shirt", "coat", "dress")))
    skin = _SKINS[rng.integers(len(_SKINS))]
    skin = _CLAY if dummy else skin
    trousers = _TROUSERS[rng.integers(len(_TROUSERS))]
    stride = float(rng.uniform(0.05, 0.22))
    pen = Pen(0.74, 1.76, px_per_m)
    hip = 1.12 if dress == "coat" else 0.98
    _legs(pen, hip - 0.05, stride, skin if dress == "dress" else trousers)
    swing = stride * 0.8
    pen.line([(0.26, 0.42), (0.18 - swing * 0.4, 0.72), (0.2 + swing, 0.98)], top, 0.1, 0.75)
    flare = 0.1 if dress == "dress" else 0.02
    pen.polygon(
        [(0.2, 0.38), (0.52, 0.38), (0.53 + flare, hip + flare), (0.19 - flare, hip + flare)], top
    )
    pen.oval((0.36, 0.4), 0.16, 0.08, top, 1.05)
    pen.line([(0.47, 0.42), (0.54 + swing * 0.4, 0.72), (0.5 - swing, 0.98)], top, 0.1, 1.15)
    pen.disc((0.5 - swing, 1.0), 0.05, skin)
    pen.block((0.31, 0.26), (0.41, 0.38), skin, 0.9)
    hair = _HAIR[rng.integers(len(_HAIR))]
    pen.oval((0.36, 0.17), 0.11, 0.15, _CLAY if dummy else hair)
    pen.oval((0.39, 0.19), 0.085, 0.115, skin)
    if rng.random() < 0.4:
        pen.block((0.12, 0.46), (0.27, 0.86), paint(rng, colours)[1], radius_m=0.06)
    flip = bool(rng.random() < 0.5)
    tags: Tags = {"colour": name, "view": dress, "flip": str(flip).lower()}
    return shaded(pen.sprite(flip), rng), tags


def _regular(sides: int, start: float, radius: float) -> list[Point]:
    angles = start + np.arange(sides) * 2 * np.pi / sides
    return [(0.42 + radius * float(np.cos(a)), 0.42 + radius * float(np.sin(a))) for a in angles]


def _plate(pen: Pen, kind: str) -> None:
    middle = (0.42, 0.42)
    if kind == "limit":
        pen.disc(middle, 0.4, _RED)
        pen.disc(middle, 0.29, _WHITE)
        pen.block((0.24, 0.3), (0.39, 0.54), _INK, radius_m=0.05)
        pen.block((0.45, 0.3), (0.6, 0.54), _INK, radius_m=0.05)
    elif kind == "warning":
        pen.polygon(_regular(3, -np.pi / 2, 0.44), _RED)
        pen.polygon(_regular(3, -np.pi / 2, 0.27), _WHITE)
        pen.block((0.38, 0.3), (0.46, 0.52), _INK)
    elif kind == "stop":
        pen.polygon(_regular(8, np.pi / 8, 0.42), _WHITE)
        pen.polygon(_regular(8, np.pi / 8, 0.38), _RED)
        pen.block((0.18, 0.36), (0.66, 0.48), _WHITE)
    elif kind == "mandatory":
        pen.disc(middle, 0.4, _BLUE)
        pen.line([(0.42, 0.64), (0.42, 0.24)], _WHITE, 0.1)
        pen.line([(0.28, 0.38), (0.42, 0.22), (0.56, 0.38)], _WHITE, 0.08)
    else:
        pen.polygon(_regular(4, 0.0, 0.42), _WHITE)
        pen.polygon(_regular(4, 0.0, 0.35), _YELLOW)


def sign(rng: np.random.Generator, px_per_m: float) -> tuple[Sprite, Tags]:
    """The plate of a traffic sign; its post is drawn by the caller."""
    kind = str(rng.choice(("limit", "warning", "stop", "mandatory", "priority")))
    pen = Pen(0.84, 0.84, px_per_m)
    _plate(pen, kind)
    tags: Tags = {"colour": kind, "view": "front", "flip": "false"}
    return shaded(pen.sprite(turn=float(rng.uniform(0, 0.15))), rng), tags

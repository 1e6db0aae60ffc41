"""The curve of a training as SVG shows it: loss and AP50 on the validation share by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT, MARGIN = 480, 140, 8


@dataclass(frozen=True, slots=True)
class Curve:
    """A training in a picture.

    Attributes:
        title: whose it is.
        loss: x and y of each look, px of a box of ``width`` and ``height``; the greatest loss is at
            the top, none at the bottom.
        ap50: the same, from 0 to 1; empty where nothing was measured.
        cooled_x: where the rate began to fall; None by epochs.
        words: the same as text.
    """

    title: str
    loss: Sequence[tuple[float, float]]
    ap50: Sequence[tuple[float, float]]
    cooled_x: float | None
    words: str
    width: int = WIDTH
    height: int = HEIGHT


def curve_of(title: str, history: Mapping[str, Any] | None) -> Curve | None:
    """The curve of a training; None where there are no two looks to draw a line between."""
    looks = list((history or {}).get("looks", ()))
    if history is None or len(looks) < 2:
        return None
    last = max(int(look["step"]) for look in looks)
    losses = [float(look["loss"]) for look in looks if look["loss"] is not None]
    most = max(losses, default=0.0) or 1.0
    cooled = history["cooled_from"]
    found = [look for look in looks if look["ap50"] is not None]
    words = f"{history['steps']} steps"
    if losses:
        words += f", loss {losses[0]:.2f} to {losses[-1]:.2f}"
    if found:
        words += f", AP50 of the validation share {found[0]['ap50']:.3f} to {found[-1]['ap50']:.3f}"
    return Curve(
        title,
        [_point(look["step"] / last, look["loss"] / most) for look in looks if look["loss"]],
        [_point(look["step"] / last, look["ap50"]) for look in found] if len(found) > 1 else [],
        None if cooled is None else _point(cooled / last, 0)[0],
        words,
    )


def _point(along: float, up: float) -> tuple[float, float]:
    x = MARGIN + (WIDTH - 2 * MARGIN) * along
    y = MARGIN + (HEIGHT - 2 * MARGIN) * (1 - min(1.0, up))
    return round(x, 1), round(y, 1)

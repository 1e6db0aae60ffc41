"""What an answer means in words, in pixels, and which regions are to blame.

The sign of a map is easily misread: :func:`words` says which way red and blue pull, and
:func:`hurts_positive` whether the harm is red or blue.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation.explain.fidelity import spearman
from curation.explain.questions import Question
from curation.explain.what import OFFSETS, What
from curation.kernel.types import Attribution, Box, Region

TOP = 5
"""Superpixels that a person looks at."""
_WAYS = {
    What.LEFT: ("left", "right"),
    What.UP: ("up", "down"),
    What.WIDE: ("wider", "narrower"),
    What.HIGH: ("higher", "lower"),
}
_SAME_PX, _SAME_SHARE = 0.5, 0.005
"""Below these a box is said to be where, or as large as, it should be."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """Of one default box, px of the image.

    Attributes:
        placed: as it lies before the regression.
        decoded: where the regression moves it.
        wanted: the object that it should have met; None where there is none.
    """

    placed: Box
    decoded: Box
    wanted: Box | None = None


def error(what: What, boxes: Boxes) -> float | None:
    """By how much the box is too far to the left, up, too wide or too high; None: cannot be told.

    Returns:
        px for shifts; the natural logarithm of the factor for sizes. Negative: to the right, down,
        too narrow, too low.
    """
    if boxes.wanted is None or what not in OFFSETS:
        return None
    axis = 0 if what in (What.LEFT, What.WIDE) else 1
    if what in (What.LEFT, What.UP):
        return _centre(boxes.wanted, axis) - _centre(boxes.decoded, axis)
    sides = _side(boxes.decoded, axis), _side(boxes.wanted, axis)
    return math.log(max(sides[0], 1.0) / max(sides[1], 1.0))


def hurts_positive(question: Question, boxes: Boxes, failure_hurts_positive: bool) -> bool:
    """Whether the harm is what supports the number that is asked for.

    Args:
        question: what is asked.
        boxes: of its default box.
        failure_hurts_positive: of the failure's own class, see
            :attr:`curation.kernel.types.Failure.hurts_positive`.
    """
    if question.what in OFFSETS:
        off = error(question.what, boxes)
        return off is None or off >= 0
    return failure_hurts_positive


def words(
    question: Question,
    attribution: Attribution,
    boxes: Boxes,
    names: Sequence[str],
    regions: Sequence[Region],
) -> list[str]:
    """What the number is and which way the colours pull, in sentences.

    Args:
        question: what was asked.
        attribution: the answer.
        boxes: of its default box.
        names: K class names.
        regions: that are to blame, the heaviest first.
    """
    if question.what in OFFSETS:
        return _of_box(question.what, attribution, boxes, regions)
    own = names[question.label]
    if question.what is What.AGAINST:
        assert question.rival is not None
        rival, full = names[question.rival], attribution.score
        ahead, behind = (own, rival) if full >= 0 else (rival, own)
        times = math.exp(min(abs(full), 20.0))
        return [
            f"{ahead} is {times:.3g} times as probable here as {behind}.",
            f"Red speaks for {own}, blue for {rival}.",
        ]
    score = (
        f"The score of {own} is {attribution.score:.3g}, without the picture "
        f"{attribution.baseline_score:.3g}."
    )
    return [score, f"Red raises the score of {own}, blue lowers it."]


def _of_box(
    what: What, attribution: Attribution, boxes: Boxes, regions: Sequence[Region]
) -> list[str]:
    more, less = _WAYS[what]
    said = []
    off = error(what, boxes)
    is_shift = what in (What.LEFT, What.UP)
    if off is not None:
        said.append(_off(off, is_shift, more, less))
    axis = 0 if what in (What.LEFT, What.WIDE) else 1
    side = _side(boxes.placed, axis)
    full, empty = attribution.score, attribution.baseline_score
    if is_shift:
        said.append(
            f"The regression moves it {_moved(full * side, more, less)} of where it was placed; "
            f"without the picture it would move it {_moved(empty * side, more, less)}."
        )
        said.append(f"Red pulls it {more}, blue {less}.")
    else:
        said.append(
            f"The regression makes it {_grown(full, more, less)} than it was placed; without the "
            f"picture {_grown(empty, more, less)}."
        )
        said.append(f"Red makes it {more}, blue {less}.")
    if regions:
        value = float(sum(attribution.for_regions()[0][list(regions[0].segments)]))
        pull = _moved(value * side, more, less) if is_shift else _grown(value, more, less)
        verb = "pulls it" if is_shift else "makes it"
        said.append(f"The region that is most to blame {verb} {pull}.")
    return said


def _off(off: float, is_shift: bool, more: str, less: str) -> str:
    if is_shift:
        if abs(off) < _SAME_PX:
            return f"The box lies neither {more} nor {less} of the object."
        where = {"up": "above", "down": "below", "left": "left of", "right": "right of"}
        return f"The box lies {abs(off):.0f} px {where[more if off > 0 else less]} the object."
    if abs(off) < _SAME_SHARE:
        return f"The box is neither {more} nor {less} than the object."
    return f"The box is {_grown(off, more, less)} than the object."


def _moved(shift_px: float, more: str, less: str) -> str:
    return f"{abs(shift_px):.1f} px {more if shift_px >= 0 else less}"


def _grown(growth: float, more: str, less: str) -> str:
    """In percent of what it is compared with."""
    share = math.expm1(min(growth, 10.0))
    return f"{abs(share):.1%} {more if growth >= 0 else less}"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How two maps of the same superpixels agree.

    Attributes:
        spearman: correlation of the ranks, in -1..1; None where one map is constant.
        top: share of the superpixels that hurt most by the one that the other names too, of
            :data:`TOP`, in 0..1; None where nothing hurts.
    """

    spearman: float | None
    top: float | None


def agreement(one: Attribution, other: Attribution, hurts_positive: bool) -> Agreement | None:
    """How two answers agree; None where they are not about the same superpixels.

    Args:
        one: an answer.
        other: another, to the same question.
        hurts_positive: whether the harm is what supports.
    """
    if not np.array_equal(one.segments, other.segments):
        return None
    first, second = one.for_regions()[0], other.for_regions()[0]
    rho = spearman(first, second)
    return Agreement(None if math.isnan(rho) else rho, _top(first, second, hurts_positive))


def _top(first: np.ndarray, second: np.ndarray, hurts_positive: bool) -> float | None:
    sign = 1.0 if hurts_positive else -1.0
    worst = []
    for values in (sign * first, sign * second):
        order = np.argsort(-values, kind="stable")[:TOP]
        worst.append({int(segment) for segment in order if values[segment] > 0})
    least = min(map(len, worst))
    return len(worst[0] & worst[1]) / least if least else None


def _centre(box: Box, axis: int) -> float:
    return (box[axis] + box[axis + 2]) / 2


def _side(box: Box, axis: int) -> float:
    return box[axis + 2] - box[axis]

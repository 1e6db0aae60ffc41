"""Which failing frames teach and which judge.

A frame that a model was trained on says nothing about whether its failure mode is fixed: the model
may know it by heart. So the frames of each mode are dealt into parents, which may teach, and
judges, which never do. They are dealt by group, such as a drive: neighbouring frames show the same
objects, and one of them taught is all of them taught.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from enum import StrEnum

SALT = "e2x field side 1"
"""Part of every hash, so that no order of names, such as of dates, decides who teaches."""
_EPSILON = 1e-9  # shares are fractions of counts: 0.5 must admit 1 of 2


class Side(StrEnum):
    """What the frames of a group do, from then on."""

    PARENT = "parent"
    """Once labelled they are trained on; they are asked about nothing."""
    JUDGE = "judge"
    """They say whether a mode is fixed; never trained on."""


def deal(
    modes: Mapping[str, Mapping[str, int]],
    known: Mapping[str, Side],
    share: float,
    lone_teaches: bool = False,
) -> dict[str, Side]:
    """The side of every group of some modes; the same question gives the same answer.

    A group has one side for all modes. What was dealt before stays: only undealt groups are, in
    the order of a hash of their names, each to the side that is further behind its share of the
    mode's frames. A mode of several groups that are not all dealt yet gets at least one of each
    side, unless the share is 1. Modes with few groups are dealt first, while they have a choice.

    A mode of one group cannot have both. Its group teaches only if somebody else can judge the
    mode; otherwise it judges, and the next group of the mode teaches.

    Args:
        modes: frames of each group, at least 1, by group and mode.
        known: groups that were dealt before; others than those of ``modes`` do no harm.
        share: of a mode's frames that teach, in 0..1. 0 deals nothing.
        lone_teaches: whether others, such as siblings, judge a mode that has no judge.

    Returns:
        Sides by group, of ``modes`` only; without those that were not dealt, where the share is 0.

    Raises:
        ValueError: the share is not in 0..1, or a group has no frame.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share that teaches is in 0..1, not {share}")
    if any(frames < 1 for groups in modes.values() for frames in groups.values()):
        raise ValueError("a group of a mode has at least one frame")
    of_modes = {group for groups in modes.values() for group in groups}
    sides = {group: known[group] for group in of_modes if group in known}
    if not share:
        return sides
    for groups in sorted(modes.values(), key=_by_choice):
        if len(groups) == 1:
            lone = Side.PARENT if lone_teaches or share == 1 else Side.JUDGE
            sides.setdefault(next(iter(groups)), lone)
        else:
            _deal_one(groups, sides, share)
    return sides


def by_hash(groups: Collection[str]) -> list[str]:
    """Groups in an order that has no meaning and is always the same."""
    return sorted(groups, key=lambda group: (_digest(group), group))


def _by_choice(groups: Mapping[str, int]) -> tuple[bool, int, list[str]]:
    """Modes of one group come last: what a larger mode made of the group is as good for them."""
    return len(groups) == 1, len(groups), by_hash(groups)


def _deal_one(groups: Mapping[str, int], sides: dict[str, Side], share: float) -> None:
    """Deal what is undealt of one mode.

    Source:
        Sainte-Laguë's method for two sides: each claim counts from its middle.
    """
    free = by_hash([group for group in groups if group not in sides])
    for left, group in zip(range(len(free) - 1, -1, -1), free, strict=True):
        dealt = {one: sides[one] for one in groups if one in sides}
        teach = sum(groups[one] for one, side in dealt.items() if side is Side.PARENT)
        frames = groups[group]
        total = sum(groups[one] for one in dealt) + frames
        behind = teach + frames / 2 <= share * total + _EPSILON
        sides[group] = Side.PARENT if behind else Side.JUDGE
        missing = set(Side) - set(dealt.values())
        if not left and len(missing) == 1 and share < 1:
            sides[group] = missing.pop()


def _digest(group: str) -> bytes:
    return hashlib.sha256(f"{SALT}:{group}".encode()).digest()

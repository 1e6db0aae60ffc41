"""What may be asked of a default box, and which methods can answer; no network is loaded for it."""

from __future__ import annotations

from enum import StrEnum

from curation import explain


class What(StrEnum):
    """What is asked; each is a number that may be explained."""

    CLASS = "class"
    """The score of a class."""
    AGAINST = "against"
    """The logit of the class minus that of the rival: the log of how many times as probable."""
    LEFT = "left"
    """How far the centre is moved to the left, in widths of the default box."""
    UP = "up"
    """How far it is moved up, in heights of the default box."""
    WIDE = "wide"
    """Natural logarithm of the box's width over the default box's."""
    HIGH = "high"
    """The same of the heights."""


OFFSETS = (What.LEFT, What.UP, What.WIDE, What.HIGH)
"""The four offsets of the regression, in its own order."""
OF_DETECTIONS = frozenset({"d_close", "d_rise", "vx_code"})
"""Methods that compare whole detections, and know classes only."""


def can_answer(method: str, what: What) -> bool:
    """Whether a method explains such a number; those that look at layers know classes only.

    CRP knows the offsets as well, from the layers that give them.
    """
    if what is What.CLASS:
        return True
    if method == "crp":
        return what in OFFSETS
    return not explain.needs_layers(method) and method not in OF_DETECTIONS

"""A plan put together: the picture that every generator starts from, with the truth of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from curation.kernel.types import BoolArray, FloatArray, Truth
from curation.synthesis.base import Plan, Staged, Staging
from curation.synthesis.blend import Blending, blend
from curation.synthesis.composite import BLENDING, Object, Surroundings, surround
from curation.synthesis.geometry import carry, carry_mask, place, still_there

SEEN = 0.5
"""Share of change from which a pixel shows what hurt."""


def stage(plan: Plan, blending: Blending = BLENDING, invents: bool = False) -> Staged:
    """Put a plan together.

    Args:
        plan: what to draw.
        blending: of the seams.
        invents: whether what fills the hole may hold objects that nobody knows of.

    Returns:
        The staged picture. Its truth holds the known object unchanged, what else is left to be
        seen of its picture, and what of the other frame is labelled and came along. Where that
        frame is not labelled, or objects may be invented, the hole is one ignored box.

    Raises:
        InvalidBoxes: the two objects differ too much in size.
    """
    if plan.staging is Staging.LOOKALIKE:
        return _lookalike(plan, blending, invents)
    donor, harm = plan.donor, plan.harm
    known = Object.cut(donor.pixels, donor.box_xyxy)
    around = Surroundings.of(harm.pixels, harm.box_xyxy)
    if harm.colours is not None:
        around = replace(around, light=harm.colours)
    made = surround(known, around, harm.mask, harm.light, blending)
    size_hw = made.image.shape[0], made.image.shape[1]
    hole = carry_mask(harm.mask, place(harm.box_xyxy, donor.box_xyxy), size_hw)
    hole &= made.changed > SEEN
    own = np.arange(len(donor.truth)) == donor.row
    left = still_there(donor.truth.subset(~own), np.where(hole, made.changed, 0))
    came = _came_along(plan, hole, known.alpha, invents)
    truth = _joined(donor.truth.subset(own), left, came)
    return Staged(made.base, made.image, 1 - made.changed, hole, truth, 0)


def _lookalike(plan: Plan, blending: Blending, invents: bool) -> Staged:
    """What was taken for an object, at the place of the donor's object, which is gone.

    The donor gives place and scale; its object is covered whole or the place is refused.
    """
    donor, harm = plan.donor, plan.harm
    size_hw = donor.pixels.shape[0], donor.pixels.shape[1]
    placement = place(harm.box_xyxy, donor.box_xyxy)
    hole = carry_mask(harm.mask, placement, size_hw)
    mixed, changed = blend(donor.pixels, carry(harm.pixels, placement, size_hw), hole, blending)
    image = np.where((changed > 0)[..., None], np.rint(mixed), donor.pixels).astype(np.uint8)
    left = still_there(donor.truth, np.where(hole, changed, 0).astype(np.float32))
    nothing = np.zeros(size_hw, np.float32)
    came = _came_along(plan, hole, nothing, invents)
    return Staged(donor.pixels, image, 1 - changed, hole, _joined(left, came), None)


def _came_along(plan: Plan, hole: BoolArray, alpha: FloatArray, invents: bool) -> Truth:
    """Objects of the other frame that can be seen in the hole, or the hole, ignored."""
    truth = plan.harm.truth
    if truth is None or invents:
        return _ignored(hole)
    placement = place(plan.harm.box_xyxy, plan.donor.box_xyxy)
    moved = Truth(placement.boxes(truth.boxes_xyxy), truth.labels, truth.ignore)
    covered = np.maximum(1 - hole, alpha).astype(np.float32)
    return still_there(moved, covered)


def _ignored(hole: BoolArray) -> Truth:
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    if not len(rows):
        return Truth.empty()
    box = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    return Truth(np.array([box], np.float32), np.ones(1, np.int64), np.ones(1, np.bool_))


def _joined(*parts: Truth) -> Truth:
    return Truth(
        np.concatenate([part.boxes_xyxy for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.ignore for part in parts]),
    )

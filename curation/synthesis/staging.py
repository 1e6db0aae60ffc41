"""A plan put together: the picture that every generator starts from, with the truth of it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from curation.kernel.errors import DrawingFailed
from curation.kernel.types import BoolArray, FloatArray, Truth
from curation.synthesis.base import Donor, Plan, Scene, Staged
from curation.synthesis.blend import Blending, blend
from curation.synthesis.composite import BLENDING, Object, Surroundings, surround
from curation.synthesis.geometry import carry, carry_alpha, carry_mask, place, still_there

SEEN = 0.5
"""Share of change from which a pixel shows what hurt."""
RIM = 1 / 8
"""Of the shorter side of an inserted object: how far around it a generator may draw."""


def stage(plan: Plan, blending: Blending = BLENDING, invents: bool = False) -> Staged:
    """Put a plan together.

    Args:
        plan: what to draw.
        blending: of the seams.
        invents: whether what fills the hole may hold objects that nobody knows of.

    Returns:
        The staged picture. Its truth holds the known object, what else is left to be seen of the
        picture that stays, and what of the other frame is labelled and came along. Where that
        frame is not labelled, or objects may be invented, the hole is one ignored box.

    Raises:
        InvalidBoxes: the two objects differ too much in size.
        DrawingFailed: a look-alike for a generator that invents.
    """
    if isinstance(plan.donor, Scene):
        return _lookalike(plan, plan.donor, blending, invents)
    if plan.staging.is_insert:
        return _insert(plan, plan.donor, invents)
    return _surround(plan, plan.donor, blending, invents)


def _surround(plan: Plan, donor: Donor, blending: Blending, invents: bool) -> Staged:
    harm = plan.harm
    known = Object.cut(donor.pixels, donor.box_xyxy)
    around = Surroundings.of(harm.pixels, harm.box_xyxy, harm.vacant)
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


def _insert(plan: Plan, donor: Donor, invents: bool) -> Staged:
    """A known object at the place of the harm, in whose frame nothing else changes.

    Of a scene that nobody labelled only the known object is known: all else is ignored.
    """
    harm = plan.harm
    scene = Surroundings.of(harm.pixels, harm.box_xyxy, harm.vacant).pixels
    size_hw = scene.shape[0], scene.shape[1]
    placement = place(donor.box_xyxy, harm.box_xyxy)
    known = Object.cut(donor.pixels, donor.box_xyxy)
    alpha = carry_alpha(known.alpha, placement, size_hw)
    above = carry(donor.pixels, placement, size_hw)
    weight = alpha[..., None]
    image = np.rint(scene * (1 - weight) + above * weight).astype(np.uint8)
    hole = _rim(alpha, donor, placement.scale)
    box = np.clip(placement.boxes(donor.truth.boxes_xyxy[[donor.row]]), 0, (*size_hw[::-1],) * 2)
    own = Truth(box.astype(np.float32), np.array([donor.label]), np.zeros(1, np.bool_))
    if harm.truth is None:
        left = _ignored(np.ones(size_hw, np.bool_))
    else:
        left = _joined(still_there(harm.truth, alpha), _ignored(hole & invents))
    return Staged(image, image, 1 - hole.astype(np.float32), hole, _joined(own, left), 0)


def _rim(alpha: FloatArray, donor: Donor, scale: float) -> BoolArray:
    """[H, W] bool: the object's soft edge, and what lies close around it."""
    x1, y1, x2, y2 = donor.box_xyxy
    reach = max(2, round(RIM * scale * min(x2 - x1, y2 - y1)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    near = cv2.dilate((alpha > 0).astype(np.uint8), disc).astype(np.bool_)
    rim: BoolArray = near & (alpha < 1)
    return rim


def _lookalike(plan: Plan, scene: Scene, blending: Blending, invents: bool) -> Staged:
    """What was taken for an object, at a place at which nothing stands."""
    if invents:
        raise DrawingFailed(
            "what a generative generator puts where nothing is may be an object, which would be "
            "trained on as none: look-alikes are drawn by compose"
        )
    harm, size_hw = plan.harm, (scene.pixels.shape[0], scene.pixels.shape[1])
    placement = place(harm.box_xyxy, scene.box_xyxy)
    hole = carry_mask(harm.mask, placement, size_hw)
    mixed, changed = blend(scene.pixels, carry(harm.pixels, placement, size_hw), hole, blending)
    image = np.where((changed > 0)[..., None], np.rint(mixed), scene.pixels).astype(np.uint8)
    hole &= changed > SEEN
    left = still_there(scene.truth, np.where(hole, changed, 0).astype(np.float32))
    # Of a frame that nobody labelled only the false detection itself is moved.
    known = Truth.empty() if harm.truth is None else harm.truth
    moved = Truth(placement.boxes(known.boxes_xyxy), known.labels, known.ignore)
    came = still_there(moved, 1 - hole.astype(np.float32))
    return Staged(scene.pixels, image, 1 - changed, hole, _joined(left, came), None)


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

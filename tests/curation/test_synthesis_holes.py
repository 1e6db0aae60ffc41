"""Masks with holes, and what hurts behind the known object: only what is seen of it counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from curation.kernel.types import Truth
from curation.synthesis import CheckContext, Plan, Staging, check, get
from curation.synthesis.geometry import carry_mask, place
from curation.synthesis.staging import stage
from tests.curation.synthesis_pictures import CAR, SIZE_HW, champion, donor, harm


def ringed(**more):
    """What hurts is a ring; in its hole, right of the object, the frame did no harm."""
    whole = harm(1)
    mask = whole.mask.copy()
    mask[32:64, 76:88] = False
    return replace(whole, mask=mask, **more)


@pytest.fixture(scope="module")
def staged():
    return stage(Plan("m", "f", Staging.SURROUND, 0, ringed(), donor(3)), "hard")


def test_a_hole_in_the_mask_keeps_the_pixels_of_the_known_picture(staged):
    known, source = donor(3), ringed()
    inner = np.zeros(SIZE_HW, np.bool_)
    inner[35:61, 79:85] = True  # well within the hole
    placement = place(source.box_xyxy, known.box_xyxy)
    kept = carry_mask(inner, placement, SIZE_HW)
    around = carry_mask(source.mask, placement, SIZE_HW)
    assert kept.any()
    assert not staged.hole[kept].any()
    assert np.array_equal(staged.composite[kept], known.pixels[kept])
    assert staged.hole[around].mean() > 0.7  # the rest is the object itself, in front of it


def test_an_object_in_the_hole_stays_labelled_and_one_under_the_ring_goes():
    known, source = donor(3), ringed()
    placement = place(source.box_xyxy, known.box_xyxy)
    inside, under = placement.boxes(np.array([[79, 35, 85, 61], [40, 30, 53, 38]], np.float32))
    boxes = np.stack([known.truth.boxes_xyxy[0], inside, under])
    truth = Truth(boxes, np.full(3, CAR), np.zeros(3, np.bool_))
    made = stage(Plan("m", "f", Staging.SURROUND, 0, source, replace(known, truth=truth)), "hard")
    assert len(made.truth) == 2
    assert np.abs(made.truth.boxes_xyxy[1] - inside).max() < 1.5
    assert not made.truth.ignore.any()


def test_what_came_along_in_the_hole_of_the_mask_did_not_come():
    """The frame's own object in the hole of the ring is not moved, so it is not labelled."""
    other = Truth(np.array([[79, 35, 85, 61]], np.float32), np.array([CAR]), np.zeros(1, np.bool_))
    made = stage(Plan("m", "f", Staging.SURROUND, 0, ringed(truth=other), donor(3)), "hard")
    assert len(made.truth) == 1


def test_an_unlabelled_frame_ignores_the_ring_with_its_hole():
    """A box cannot have a hole: what cannot be said exactly is ignored, and never background."""
    made = stage(Plan("m", "f", Staging.SURROUND, 0, ringed(truth=None), donor(3)), "hard")
    assert made.truth.ignore.tolist() == [False, True]
    rows, columns = np.nonzero(made.hole)
    x1, y1, x2, y2 = made.truth.boxes_xyxy[1]
    assert (x1, y1, x2, y2) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize("blending", ["hard", "feather", "pyramid"])
def test_what_hurts_behind_the_known_object_alone_is_refused_as_nothing(blending):
    """All of the mask lies behind the donor: nothing of it can be seen, and nothing is kept."""
    source = harm(1)
    behind = np.zeros(SIZE_HW, np.bool_)
    behind[47:50, 62:66] = True
    plan = Plan("m", "f", Staging.SURROUND, 0, replace(source, mask=behind), donor(3))
    (drawn,) = get("compose", blending=blending).draw([plan])
    assert not drawn.staged.hole.any()
    context = CheckContext(champion, (), (), (0.0, 1e6), max_distance=-1)
    (judged,) = check([drawn], context)
    assert judged.reason == "a picture: nothing was put into it"


def test_what_hurts_partly_behind_it_never_covers_the_object(staged):
    known = donor(3)
    x1, y1, x2, y2 = (round(side) for side in known.box_xyxy)
    part = slice(y1 + 3, y2 - 3), slice(x1 + 3, x2 - 3)
    assert np.array_equal(staged.composite[part], known.pixels[part])
    assert (staged.keep[part] > 0.99).mean() > 0.95

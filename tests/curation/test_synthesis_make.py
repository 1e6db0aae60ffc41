"""Synthesis: from misses and known objects to samples, on a detector with a known answer."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as npst

from curation import superpixels
from curation.kernel.types import Truth
from curation.synthesis import (
    CheckContext,
    Donor,
    ModeHarm,
    Staging,
    SynthesisRequest,
    get,
    harmless,
    make,
    plan,
)
from curation.synthesis.known import alike, found_rows
from curation.synthesis.masks import mask_of, run_lengths
from tests.curation.test_synthesis_transplant import BOX, LEFT, SIZE_HW, guilt, guilty_frame, plain


def donor(number):
    truth = Truth(np.array([BOX], np.float32), np.array([1]), np.zeros(1, np.bool_))
    return Donor(f"seed{number}", "train", plain(number), truth, 0, 0.9)


def missed(number, where=LEFT, box=BOX):
    frame = guilty_frame(where)
    segments = superpixels.grid(SIZE_HW, 192)
    return make.Missed("m", f"f{number}", f"field{number}", "field", frame, segments, box, 1, None)


def finds(images, boxes, _labels=()):
    lost = [20 * guilt(image, box) for image, box in zip(images, boxes, strict=True)]
    return (1 / (1 + np.exp(np.array(lost) * 2 - 3))).astype(np.float32)


@pytest.fixture
def scored(monkeypatch):
    """The transplant game asks this function in the place of a network."""
    monkeypatch.setattr(make, "scorer", lambda _detector, _label: finds)


def context(**values):
    texture = (0.0, 1e6)
    return CheckContext(finds, (), (), texture, max_distance=-1, **values)


def drawn(harms, budget=6, **limits):
    donors = [donor(n) for n in range(12)]
    request = SynthesisRequest(
        modes=[ModeHarm("m", Staging.SURROUND, tuple(harms))],
        donors=donors,
        harmless=[harmless(one) for one in donors],
        budget=budget,
        parent_share=1.0,
    )
    return list(make.draw(plan(request), get("compose"), context(), {"m": limits.get("m", 99)}))


def harms(where=LEFT, count=2):
    misses = [missed(n, where) for n in range(count)]
    found = make.harms_of(misses, [donor(n) for n in range(12)], None, 0)
    return [(one.failure, harm) for one, harm in found]


def test_what_hurt_is_found_and_its_samples_reproduce_more_than_controls(scored):
    found = harms()
    planted = np.zeros(SIZE_HW, np.bool_)
    planted[LEFT] = True
    for _, harm in found:
        assert harm.mask[planted].mean() > 0.7  # the players reach that far
        assert harm.light  # as the recipe that was measured has it
    samples, (verdict,) = make.decide(drawn(found), budget=6, controls=2, seed=0)
    assert verdict.works
    assert verdict.difference > 0.5
    kept = [one for one in samples if one.kept]
    assert sum(one.plan.staging is Staging.CONTROL for one in kept) == 2
    assert len(kept) == 6
    assert all(one.image is not None and len(one.truth) for one in kept)
    assert all(one.image is None for one in samples if not one.kept)


def test_a_mode_whose_blame_does_nothing_gets_no_sample(scored):
    found = [(name, replace(harm, mask=np.roll(harm.mask, 60, 1))) for name, harm in harms()]
    samples, (verdict,) = make.decide(drawn(found), budget=6, controls=2, seed=0)
    assert not verdict.works
    assert not any(one.kept for one in samples)
    assert any(make.NO_DIFFERENCE in one.reason for one in samples)


def test_what_passes_beyond_the_limit_of_its_mode_keeps_no_picture(scored):
    samples = drawn(harms(), m=2)
    own = [one for one in samples if one.plan.staging is Staging.SURROUND]
    assert sum(one.image is not None for one in own) == 2
    assert {one.reason for one in own if not one.kept} == {make.SPARE}


def test_the_same_question_gives_the_same_bytes(scored):
    first, second = (drawn(harms()) for _ in range(2))
    assert [one.plan.key for one in first] == [one.plan.key for one in second]
    assert all(
        np.array_equal(a.image, b.image)
        for a, b in zip(first, second, strict=True)
        if a.image is not None
    )


def test_one_bad_miss_costs_the_others_nothing(scored):
    misses = [missed(0, box=(5.0, 5.0, 5.0, 5.0)), missed(1)]
    bad, good = make.harms_of(misses, [donor(n) for n in range(12)], None, 0)
    assert isinstance(bad[1], str)
    assert not isinstance(good[1], str)
    ((_, why),) = make.harms_of([missed(0)], [donor(0)], None, 0)
    assert "1 known objects" in why


def test_known_objects_are_of_the_class_and_near_in_size():
    truth = Truth(np.array([[0, 0, 90, 90]], np.float32), np.array([1]), np.zeros(1, np.bool_))
    large = Donor("large", "train", plain(0), truth, 0, 0.9)
    found = alike([large, *(donor(n) for n in range(6))], BOX, 1, 4, np.random.default_rng(0))
    assert len(found) == 4
    assert "large" not in {one.image for one in found}
    assert alike([large], BOX, 2, 4, np.random.default_rng(0)) == []


def test_rows_that_are_found_are_large_enough_and_count():
    from curation.kernel.types import Detections

    boxes = np.array([[0, 0, 40, 40], [50, 50, 55, 90], [60, 0, 90, 30]], np.float32)
    truth = Truth(boxes, np.ones(3, np.int64), np.array([False, False, True]))
    seen = Detections(
        boxes, np.full(3, 0.8, np.float32), np.ones(3, np.int64), np.arange(3, dtype=np.int64)
    )
    assert found_rows(seen, truth, 0.5) == [(0, pytest.approx(0.8))]


@given(npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_masks_are_what_they_were_after_they_were_stored(mask):
    told = json.loads(json.dumps(run_lengths(mask)))
    assert np.array_equal(mask_of(told), mask)
    assert sum(told["counts"]) == mask.size
    with pytest.raises(ValueError, match="do not fill"):
        mask_of(told | {"counts": [*told["counts"], 1]})


def test_no_more_pixels_are_drawn_at_once_than_the_bound_says(scored, monkeypatch):
    """Pictures of a batch are all in memory: of large ones fewer come together."""
    asked = []

    class Counting(type(get("compose"))):
        def draw(self, plans):
            asked.append(len(plans))
            return super().draw(plans)

    monkeypatch.setattr(make, "MOST_PIXELS", 3 * SIZE_HW[0] * SIZE_HW[1])
    request = SynthesisRequest(
        modes=[ModeHarm("m", Staging.SURROUND, tuple(harms()))],
        donors=[donor(n) for n in range(12)],
        harmless=[],
        budget=6,
        controls=0.0,
        parent_share=1.0,
    )
    plans = plan(request)
    found = list(make.draw(plans, Counting(), context(), {}))
    assert [one.plan.key for one in found] == [one.key for one in plans]
    assert max(asked) == 3
    assert sum(asked) == len(plans)

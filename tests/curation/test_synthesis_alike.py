"""Look-alikes and inserts: labels, controls, checks, on a detector with a known answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from curation import superpixels
from curation.kernel.errors import DrawingFailed, InvalidBoxes
from curation.kernel.types import Detections, Truth
from curation.synthesis import (
    CheckContext,
    Harm,
    Labelled,
    ModeHarm,
    Plan,
    Scene,
    Staging,
    SynthesisRequest,
    get,
    harmless,
    lookalike,
    make,
    places,
    plan,
)
from curation.synthesis.make import Missed
from curation.synthesis.scenes import plain
from curation.synthesis.staging import stage
from tests.curation.synthesis_pictures import (
    CAR,
    GUILTY,
    SIZE_HW,
    champion,
    donor,
    ground,
    harm,
    paint,
)

SIGN = (50.0, 40.0, 74.0, 56.0)
"""Where something purple is taken for a car."""
NOTHING = Detections(
    np.zeros((0, 4), np.float32),
    np.zeros(0, np.float32),
    np.zeros(0, np.int64),
    np.zeros(0, np.int64),
)


def purple(image, box):
    x1, y1, x2, y2 = (round(side) for side in box)
    near = image[max(0, y1) : y2, max(0, x1) : x2].astype(int)
    return float((np.abs(near - GUILTY).sum(-1) < 120).mean()) if near.size else 0.0


def misled(images, boxes, _labels=()):
    """Takes what is purple for a car."""
    return np.array([0.95 * purple(i, b) for i, b in zip(images, boxes, strict=True)], np.float32)


def labelled(seed):
    """A picture with a car in it, in which the champion sees that car only."""
    one = donor(seed)
    return Labelled(one.image, "train", one.pixels, one.truth, NOTHING)


def false_frame(seed, truth=None):
    rng = np.random.default_rng(500 + seed)
    image = ground(rng)
    paint(image, SIGN, GUILTY, rng)
    segments = superpixels.grid(SIZE_HW, 192)
    return Missed(
        "m", f"f{seed}", f"field{seed}", "field", image, segments, SIGN, CAR, truth, alike=True
    )


@pytest.fixture
def scored(monkeypatch):
    monkeypatch.setattr(lookalike, "scorer", lambda _detector, _label: misled)


def one_place():
    pictures = [labelled(n) for n in range(9)]
    return places(pictures, SIGN, SIZE_HW, CAR, 1, np.random.default_rng(0))[0]


def context(score=misled, **values):
    return CheckContext(score, (), (), (0.0, 1e6), max_distance=-1, **values)


def test_what_misled_it_is_found_put_where_nothing_is_and_gets_no_box(scored):
    pictures = [labelled(n) for n in range(16)]
    found = list(make.harms_of([false_frame(n) for n in range(2)], [], None, 0, pictures=pictures))
    for missed, one in found:
        assert isinstance(one, Harm), one
        assert purple(one.pixels * one.mask[..., None], SIGN) > 0.6
        outside = one.mask.copy()
        outside[38:58, 48:76] = False
        assert not outside.any()  # nobody labelled the frame: only the false detection is moved
        assert one.vacant
        assert missed.staging is Staging.LOOKALIKE
    rng = np.random.default_rng(0)
    scenes = places(pictures, SIGN, SIZE_HW, CAR, 12, rng)
    request = SynthesisRequest(
        modes=[ModeHarm("m", Staging.LOOKALIKE, tuple((m.failure, h) for m, h in found))],
        donors=[],
        harmless=[],
        budget=8,
        parent_share=1.0,
        scenes=scenes,
    )
    drawn = list(make.draw(plan(request), get("compose"), context(), {"m": 99}))
    kinds = {one.plan.staging for one in drawn}
    assert kinds == {Staging.LOOKALIKE, Staging.CONTROL_ALIKE}
    samples, (verdict,) = make.decide(drawn, 8, 2, 0)
    assert verdict.staging is Staging.LOOKALIKE
    assert verdict.works
    kept = [one for one in samples if one.kept and not one.plan.staging.is_control]
    assert kept
    for one in kept:
        assert one.before < 0.5 <= one.after
        scene = one.plan.donor
        assert isinstance(scene, Scene)
        assert len(one.truth) == len(scene.truth)  # the objects of the scene, and no other
        assert {parent.part for parent in one.plan.parents} == {"scene", "harm"}


def test_a_look_alike_without_controls_is_not_kept(scored):
    pictures = [labelled(n) for n in range(16)]
    ((missed, one),) = make.harms_of([false_frame(0)], [], None, 0, pictures=pictures)
    scenes = places(pictures, SIGN, SIZE_HW, CAR, 8, np.random.default_rng(0))
    mode = ModeHarm("m", Staging.LOOKALIKE, ((missed.failure, one),))
    request = SynthesisRequest([mode], [], [], 4, controls=0.0, parent_share=1.0, scenes=scenes)
    drawn = list(make.draw(plan(request), get("compose"), context(), {"m": 99}))
    assert any(one.kept for one in drawn)
    samples, (verdict,) = make.decide(drawn, 4, 0, 0)
    assert not verdict.works
    assert not any(one.kept for one in samples)
    assert make.NO_ALIKE in samples[0].reason


def test_what_any_seam_would_do_is_no_look_alike(scored):
    """The champion sees a car wherever anything was changed: controls fire as well."""
    pictures = [labelled(n) for n in range(16)]
    found = list(make.harms_of([false_frame(n) for n in range(2)], [], None, 0, pictures=pictures))
    scenes = places(pictures, SIGN, SIZE_HW, CAR, 12, np.random.default_rng(0))
    mode = ModeHarm("m", Staging.LOOKALIKE, tuple((m.failure, h) for m, h in found))
    request = SynthesisRequest([mode], [], [], 8, parent_share=1.0, scenes=scenes)
    own = {id(one.pixels) for one in scenes}

    def jumpy(images, boxes, _labels):
        return np.array([0.1 if id(image) in own else 0.9 for image in images], np.float32)

    drawn = list(make.draw(plan(request), get("compose"), context(jumpy), {"m": 99}))
    samples, (verdict,) = make.decide(drawn, 8, 2, 0)
    assert verdict.difference == pytest.approx(0)
    assert not any(one.kept for one in samples)


def test_places_are_empty_and_as_high_as_what_was_taken_for_an_object():
    pictures = [labelled(n) for n in range(30)]
    found = places(pictures, SIGN, SIZE_HW, CAR, 30, np.random.default_rng(1))
    assert len(found) > 10
    assert len({one.image for one in found}) == len(found)
    for one in found:
        x1, y1, x2, y2 = one.box_xyxy
        assert 0 <= x1 < x2 <= SIZE_HW[1]
        assert abs(y2 - SIGN[3]) <= 0.15 * SIZE_HW[0] + 1e-6
        (car,) = one.truth.boxes_xyxy
        assert car[0] >= x2 or car[2] <= x1 or car[1] >= y2 or car[3] <= y1
    seen = Detections(
        np.array([[0, 0, SIZE_HW[1], SIZE_HW[0]]], np.float32),
        np.array([0.1], np.float32),
        np.array([CAR]),
        np.zeros(1, np.int64),
    )
    everywhere = replace(pictures[0], seen=seen)
    wide = (0.0, 0.0, 100.0, 80.0)
    assert places([everywhere], wide, SIZE_HW, CAR, 1, np.random.default_rng(0)) == []
    assert (
        places(pictures, (0.0, 0.0, 500.0, 400.0), SIZE_HW, CAR, 1, np.random.default_rng(0)) == []
    )


def test_a_look_alike_is_refused_where_something_is_seen_already_or_it_is_labelled():
    scene = one_place()
    source = replace(harm(1), box_xyxy=SIGN, vacant=True)
    one = next(iter(get("compose").draw([Plan("m", "f", Staging.LOOKALIKE, 0, source, scene)])))
    (judged,) = make.check([one], context(lambda images, *_: np.full(len(images), 0.9, np.float32)))
    assert "nothing there" in judged.reason
    shifted = replace(one, staged=replace(one.staged, row=0))
    (judged,) = make.check([shifted], context())
    assert "look-alike is labelled" in judged.reason


def test_no_generator_that_invents_draws_what_is_none():
    scene = one_place()
    with pytest.raises(DrawingFailed, match="drawn by compose"):
        stage(Plan("m", "f", Staging.LOOKALIKE, 0, harm(1), scene), invents=True)
    with pytest.raises(ValueError, match="put into scenes"):
        Plan("m", "f", Staging.LOOKALIKE, 0, harm(1), donor(1))
    with pytest.raises(ValueError, match="put into scenes"):
        Plan("m", "f", Staging.SURROUND, 0, harm(1), scene)


def pool_place(seed, truth=None):
    """An unlabelled picture with the colour that hurts, in which no object stands."""
    rng = np.random.default_rng(2000 + seed)
    image, box = ground(rng), (54.0, 40.0, 74.0, 56.0)
    paint(image, (38.0, 28.0, 92.0, 68.0), GUILTY, rng)
    mask = np.zeros(SIZE_HW, np.bool_)
    mask[28:68, 38:92] = True
    return Harm(f"pool-{seed}", "pool", image, mask, box, CAR, truth, vacant=True)


def test_a_known_object_is_put_into_a_scene_with_its_label():
    one = donor(3)
    place = pool_place(1)
    staged = stage(Plan("m", "f", Staging.INSERT, 0, place, one))
    own, rest = staged.truth.boxes_xyxy[0], staged.truth.ignore[1:]
    assert rest.all()  # nobody labelled the scene: nothing else of it is background
    assert (own[3], (own[0] + own[2]) / 2) == pytest.approx((56, 64), abs=0.6)  # feet on feet
    x1, y1, x2, y2 = (round(float(side)) for side in own)
    yellow = np.abs(staged.composite[y1:y2, x1:x2].astype(int) - (235, 220, 40)).sum(-1) < 90
    assert yellow.mean() > 0.7
    far = np.ones(SIZE_HW, np.bool_)
    far[20:76, 40:90] = False
    assert (staged.composite[far] == place.pixels[far]).all()
    drawn = next(iter(get("compose").draw([Plan("m", "f", Staging.INSERT, 0, place, one)])))
    (judged,) = make.check([drawn], context(champion))
    assert judged.reason == ""
    assert judged.before > 0.8 > judged.after
    assert [(p.image, p.part) for p in drawn.plan.parents] == [
        ("donor-3", "donor"),
        ("pool-1", "scene"),
    ]


def test_a_labelled_scene_keeps_its_objects_and_an_invented_rim_is_ignored():
    other = (4.0, 4.0, 20.0, 16.0)
    truth = Truth(np.array([other], np.float32), np.array([CAR]), np.zeros(1, np.bool_))
    staged = stage(Plan("m", "f", Staging.INSERT, 0, pool_place(1, truth), donor(3)))
    assert staged.truth.boxes_xyxy.tolist()[1] == list(other)
    assert not staged.truth.ignore.any()
    invented = stage(
        Plan("m", "f", Staging.INSERT, 0, pool_place(1, truth), donor(3)), invents=True
    )
    assert invented.truth.ignore.tolist() == [False, False, True]
    assert (invented.keep[invented.hole] == 0).all()


def test_inserts_have_controls_of_their_own():
    donors = [donor(n) for n in range(8)]
    mode = ModeHarm("m", Staging.INSERT, (("f", pool_place(1)), ("g", pool_place(2))))
    request = SynthesisRequest(
        [mode], donors, [harmless(one) for one in donors], 4, parent_share=1.0
    )
    drawn = list(make.draw(plan(request), get("compose"), context(champion), {"m": 99}))
    assert {one.plan.staging for one in drawn} == {Staging.INSERT, Staging.CONTROL_INSERT}
    _, (verdict,) = make.decide(drawn, 4, 1, 0)
    assert verdict.works
    assert verdict.difference > 0.5


def test_a_place_that_is_far_from_the_object_s_size_is_refused():
    tiny = replace(pool_place(1), box_xyxy=(10.0, 10.0, 11.0, 11.0))
    with pytest.raises(InvalidBoxes):
        stage(Plan("m", "f", Staging.INSERT, 0, tiny, donor(3)))


def test_controls_of_look_alikes_move_an_empty_place():
    scene = one_place()
    source = plain(scene)
    assert source.vacant
    assert source.mask.any()
    assert source.box_xyxy == scene.box_xyxy

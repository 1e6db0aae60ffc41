"""Synthesis: plans, what is staged of them, and who draws them."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from curation import synthesis
from curation.kernel.boxes import pairwise_iou
from curation.kernel.types import Truth
from curation.synthesis import (
    Drawn,
    ModeHarm,
    Staging,
    SynthesisRequest,
    Undrawn,
    plan,
)
from curation.synthesis.cutout import cutout
from curation.synthesis.staging import stage
from tests.curation.synthesis_pictures import CAR, PAINT, donor, harm, harmless


def request(**more):
    modes = [
        ModeHarm("a", Staging.SURROUND, tuple((f"a{n}", harm(n)) for n in range(4))),
        ModeHarm("b", Staging.SURROUND, tuple((f"b{n}", harm(10 + n)) for n in range(8))),
    ]
    donors = [donor(n) for n in range(30)]
    told = {"budget": 10, "candidates": 2, "seed": 1, "parent_share": 0.25}
    return SynthesisRequest(modes, donors, [harmless(n) for n in range(12)], **{**told, **more})


def test_modes_take_turns_and_controls_come_last():
    plans = plan(request())
    assert len(plans) == 20
    assert [one.mode for one in plans[:4]] == ["a", "b", "a", "b"]
    assert [one.staging for one in plans].count(Staging.CONTROL) == 5
    assert all(one.staging is Staging.CONTROL for one in plans[15:])
    known = {(one.donor.image, one.mode) for one in plans[:15]}
    assert all((one.donor.image, one.mode) in known for one in plans[15:])


def test_no_picture_gives_pixels_to_more_than_its_share():
    plans = plan(request(parent_share=0.1, controls=0.0))
    counted = Counter(name for one in plans for name in {p.image for p in one.parents})
    assert max(counted.values()) <= 2
    assert len(plans) == 20
    few = plan(replace(request(controls=0.0, budget=40), donors=[donor(0), donor(1)]))
    assert 0 < len(few) < 80  # fewer pictures, fewer samples: none is used more often for it
    assert len({one.key for one in few}) == len(few)


def test_the_same_request_gives_the_same_plans_and_another_seed_others():
    first, second, other = ([one.key for one in plan(request(seed=seed))] for seed in (1, 1, 2))
    assert first == second
    assert first != other


def test_the_key_tells_everything_that_decides_the_sample():
    (one, *_) = plan(request())
    others = [
        replace(one, seed=one.seed + 1),
        replace(one, mode="c"),
        replace(one, harm=replace(one.harm, light=True)),
        replace(one, harm=replace(one.harm, mask=~one.harm.mask)),
        replace(one, donor=donor(29)),
    ]
    assert len({one.key, *(other.key for other in others)}) == 6


def test_objects_of_another_class_and_of_the_same_frame_are_no_donors():
    strange = replace(donor(0), truth=replace_label(donor(0).truth, 2))
    same = donor(1, "frame-0")
    found = plan(replace(request(), donors=[strange, same], controls=0.0))
    assert {one.donor.image for one in found} == {"frame-0"}
    assert all(one.harm.image != "frame-0" for one in found)


def replace_label(truth, label):
    return Truth(truth.boxes_xyxy, np.full(len(truth), label), truth.ignore)


def test_nothing_to_draw_from_gives_no_plan():
    assert plan(replace(request(), modes=[])) == []
    assert plan(replace(request(), donors=[])) == []
    assert plan(request(budget=0)) == []
    with pytest.raises(ValueError, match="parent_share"):
        request(parent_share=0.0)


def test_the_label_is_where_the_object_is():
    for one in plan(request(controls=0.0)):
        staged = stage(one)
        box = staged.truth.boxes_xyxy[[staged.row]]
        yellow = np.abs(staged.composite.astype(int) - PAINT).sum(-1) < 90
        rows, columns = np.flatnonzero(yellow.sum(1) > 4), np.flatnonzero(yellow.sum(0) > 4)
        seen = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
        assert pairwise_iou(box, seen)[0, 0] >= 0.9
        assert (cutout(staged.composite, one.donor.box_xyxy) > 0.5).any()


def test_labelled_objects_of_the_frame_come_along_and_unlabelled_ones_are_ignored():
    beside = Truth(np.array([[76, 40, 90, 56]], np.float32), np.array([2]), np.zeros(1, np.bool_))
    known, unknown = harm(0, truth=beside), harm(0, truth=None)
    (one, *_) = plan(request())
    staged = stage(replace(one, harm=known))
    assert staged.truth.labels.tolist() == [CAR, 2]
    assert not staged.truth.ignore.any()
    staged = stage(replace(one, harm=unknown))
    assert staged.truth.ignore.tolist() == [False, True]
    rows, columns = np.flatnonzero(staged.hole.any(1)), np.flatnonzero(staged.hole.any(0))
    wanted = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    assert staged.truth.boxes_xyxy[1].tolist() == wanted


def test_an_object_that_is_covered_loses_its_label():
    (one, *_) = plan(request())
    x1, y1, x2, y2 = one.donor.box_xyxy
    beside = np.array([[x1, y1, x2, y2], [x2 + 2, y1, x2 + 10, y2], [0, 80, 12, 95]], np.float32)
    truth = Truth(beside, np.array([CAR, 2, 3]), np.zeros(3, np.bool_))
    staged = stage(replace(one, donor=replace(one.donor, truth=truth)))
    assert staged.truth.labels.tolist() == [CAR, 3]


def test_the_registry_knows_compose_and_refuses_others():
    assert "compose" in synthesis.names()
    assert synthesis.get("compose", blending="hard").version != synthesis.get("compose").version
    assert synthesis.accepted("compose", {"blending": "hard", "steps": 3}) == {"blending": "hard"}
    with pytest.raises(ValueError, match="no generator"):
        synthesis.get("dream")
    with pytest.raises(ValueError, match="no blending"):
        synthesis.get("compose", blending="poisson")


@pytest.mark.parametrize("blending", ["hard", "feather", "pyramid", "varied"])
def test_every_generator_keeps_the_contract(blending):
    generator = synthesis.get("compose", blending=blending)
    plans = plan(request(budget=3, controls=0.0))
    drawn = list(generator.draw(plans))
    again = list(synthesis.get("compose", blending=blending).draw(plans))
    for one, wanted, same in zip(drawn, plans, again, strict=True):
        assert isinstance(one, Drawn)
        assert one.plan is wanted
        assert np.array_equal(one.image, same.image)
        assert (one.generator, one.version) == (generator.name, generator.version)
        stays = one.staged.keep >= 1
        assert stays.any()
        assert np.array_equal(one.image[stays], one.staged.base[stays])
        # conditioned on what hurt: swapped, the hole changes and the rest does not
        other = harm(50, colour=np.array((20, 120, 60)))
        (swapped,) = generator.draw([replace(wanted, harm=other)])
        far = np.abs(swapped.image.astype(int) - one.image)
        assert far[one.staged.hole & swapped.staged.hole].mean() > 20
        assert far[stays & (swapped.staged.keep >= 1)].max() == 0


def test_a_plan_that_cannot_be_drawn_costs_its_neighbours_nothing():
    plans = plan(request(budget=3, controls=0.0))
    tiny = replace(plans[1], harm=replace(plans[1].harm, box_xyxy=(50.0, 40.0, 51.0, 41.0)))
    first, second, third = synthesis.get("compose").draw([plans[0], tiny, plans[2]])
    assert isinstance(first, Drawn)
    assert isinstance(second, Undrawn)
    assert "choose a known object" in second.reason
    assert isinstance(third, Drawn)


def test_what_is_no_picture_is_refused():
    with pytest.raises(ValueError, match=r"\[H, W, 3\] uint8"):
        replace(donor(0), pixels=np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="mask"):
        replace(harm(0), mask=np.zeros((4, 4), np.bool_))
    with pytest.raises(ValueError, match="row 3"):
        replace(donor(0), row=3)

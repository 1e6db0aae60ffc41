"""Synthesis: what hurt in pixels of the pool, by a real index, tried on known objects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from curation import superpixels
from curation.embedding.embed import RegionEmbedder
from curation.embedding.encoder import TimmEncoder
from curation.index import RegionIndex
from curation.kernel.errors import CurationError
from curation.kernel.types import Truth
from curation.synthesis import (
    Donor,
    Drawn,
    Harm,
    Missed,
    ModeHarm,
    Plan,
    Staging,
    SynthesisRequest,
    get,
    plan,
    pool_harms,
    pool_pixels,
)
from curation.synthesis.staging import stage
from tests.curation.test_synthesis_make import finds
from tests.curation.test_synthesis_transplant import BOX, GUILTY, LEFT, SIZE_HW, guilty_frame, plain

HURT = (slice(20, 60), slice(4, 50))
"""Left of the place of the object in the frame that was missed, and large enough for the index."""
ELSEWHERE = (slice(30, 70), slice(44, 90))
"""The same in pictures of the pool, 40 px further right and 10 px further down."""


def pool_picture(number, guilty):
    image = np.clip(np.random.default_rng(number).normal(110, 5, (*SIZE_HW, 3)), 0, 255)
    if guilty:
        image[ELSEWHERE] = GUILTY
    return image.astype(np.uint8)


PICTURES = {f"pool{n:02}": pool_picture(n, n < 3) for n in range(12)}


@pytest.fixture(scope="module")
def embedder():
    return RegionEmbedder(TimmEncoder(input_size_hw=(96, 128)), mask_size_hw=(96, 128))


@pytest.fixture(scope="module")
def index(embedder, tmp_path_factory):
    made = RegionIndex(tmp_path_factory.mktemp("index"), embedder.version, embedder.width)
    cells = embedder.embed_pool(list(PICTURES.values()))
    made.add(list(PICTURES), [one.vectors for one in cells], [one.boxes_xyxy for one in cells])
    return made


@pytest.fixture(autouse=True)
def scored(monkeypatch):
    """Known objects are scored by this function in the place of a network."""
    monkeypatch.setattr(pool_pixels, "scorer", lambda _detector, _label: finds)


def donors(count=8):
    truth = Truth(np.array([BOX], np.float32), np.array([1]), np.zeros(1, np.bool_))
    return [Donor(f"seed{n}", "train", plain(n), truth, 0, 0.9) for n in range(count)]


def miss(where=HURT, light=False):
    frame, mask = guilty_frame(where), np.zeros(SIZE_HW, np.bool_)
    mask[where] = True
    segments = superpixels.grid(SIZE_HW, 192)
    missed = Missed("m", "f0", "field0", "field", frame, segments, BOX, 1, None)
    return missed, Harm("field0", "field", frame, mask, BOX, 1, Truth.empty(), light)


def asked(index, embedder, found=None, opened=PICTURES.__getitem__, **more):
    found = [found or miss()]
    return list(pool_harms(found, donors(), None, index, embedder, opened, 0, **more))


def test_pool_pictures_that_hold_what_hurt_give_its_pixels_at_its_place(index, embedder):
    ((missed, harms),) = asked(index, embedder)
    assert missed.failure == "f0"
    assert {one.image for one in harms} <= {"pool00", "pool01", "pool02"}
    assert len(harms) == pool_pixels.PoolRules().kept
    for one in harms:
        assert one.role == "pool"
        assert one.truth is None  # nobody labelled it
        assert one.pixels is PICTURES[one.image]
        guilty = (one.pixels[one.mask] == GUILTY).all(axis=1)
        assert guilty.mean() > 0.5  # the place is that of a cell, a sixth of a side apart
        assert one.box_xyxy[0] - BOX[0] == pytest.approx(40, abs=16)
        assert one.box_xyxy[1] - BOX[1] == pytest.approx(10, abs=16)


def test_drawn_samples_show_no_pixel_of_the_field(index, embedder):
    ((_, harms),) = asked(index, embedder)
    request = SynthesisRequest(
        [ModeHarm("m", Staging.SURROUND, tuple(("f0", one) for one in harms))], donors(), (), 4, 1
    )
    plans = plan(request)
    assert plans
    assert {parent.role for one in plans for parent in one.parents} == {"train", "pool"}
    drawn = [one for one in get("compose").draw(plans) if isinstance(one, Drawn)]
    scores = finds([one.image for one in drawn], [one.plan.donor.box_xyxy for one in drawn])
    assert (scores < 0.5).all()
    assert all(one.staged.truth.ignore.any() for one in drawn)  # what came along is not learned


def test_barred_pictures_give_none_and_the_sentence_says_so(index, embedder):
    guilty = ["pool00", "pool01", "pool02"]
    ((_, why),) = asked(index, embedder, barred=guilty)
    assert why == pool_pixels.NONE_HURTS.format(count=5)
    ((_, why),) = asked(index, embedder, barred=list(PICTURES))
    assert why == pool_pixels.NONE_LIKE_IT


def test_a_miss_without_a_mask_and_an_empty_pool_are_told(index, embedder, tmp_path):
    missed, harm = miss()
    nothing = missed, replace(harm, mask=np.zeros(SIZE_HW, np.bool_), light=True)
    assert asked(index, embedder, nothing)[0][1] == pool_pixels.NONE_LIKE_IT
    empty = RegionIndex(tmp_path, embedder.version, embedder.width)
    assert asked(empty, embedder)[0][1] == pool_pixels.NONE_LIKE_IT


def test_a_picture_that_cannot_be_opened_costs_the_others_nothing(index, embedder):
    def opened(image):
        if image == "pool00":
            raise CurationError("it is lost")
        return PICTURES[image]

    ((_, harms),) = asked(index, embedder, opened=opened)
    assert {one.image for one in harms} == {"pool01", "pool02"}


def test_the_same_question_gives_the_same_answer(index, embedder):
    first, second = (asked(index, embedder)[0][1] for _ in range(2))
    assert [(one.image, one.box_xyxy) for one in first] == [
        (one.image, one.box_xyxy) for one in second
    ]


def test_light_is_that_of_what_was_missed_and_part_of_the_plan(index, embedder):
    ((_, harms),) = asked(index, embedder, miss(light=True))
    assert all(one.light and one.colours is not None for one in harms)
    dark = replace(harms[0], colours=(np.array([20.0, 5, -5], np.float32), np.ones(3, np.float32)))
    plans = [Plan("m", "f0", Staging.SURROUND, 0, one, donors()[0]) for one in (harms[0], dark)]
    assert plans[0].key != plans[1].key
    x1, y1, x2, y2 = (int(side) for side in BOX)
    means = [stage(one).base[y1:y2, x1:x2].mean() for one in plans]
    assert means[1] < means[0] - 30


def test_rules_that_ask_nothing_are_refused():
    with pytest.raises(ValueError, match="at least 1"):
        pool_pixels.PoolRules(queries=0)


def test_what_hurt_close_by_is_found_too(index, embedder):
    """The mask of the smaller cause of other tests: less than a cell of the index."""
    ((_, harms),) = asked(index, embedder, miss(LEFT))
    assert {one.image for one in harms} <= {"pool00", "pool01", "pool02"}

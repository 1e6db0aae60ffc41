"""Synthesis, checks: planted bad samples are refused, good ones are kept; likeness."""

from collections import Counter

import numpy as np
import pytest

from benchmarks.synthesis.spoils import (
    SPOILS,
    Spoiler,
    changed_object,
    empty_hole,
    labelled,
    mislabelled_donor,
    noise,
    nothing_put,
    of_a_judge,
    wrong_box,
)
from curation import synthesis
from curation.kernel.images import perceptual_hash
from curation.synthesis import (
    CheckContext,
    ModeHarm,
    Staging,
    SynthesisRequest,
    check,
    plan,
    texture_bounds,
    works,
)
from curation.synthesis.likeness import kernel_distance, memorised, neighbour_distances, realism
from tests.curation.synthesis_pictures import champion, donor, harm, harmless

DONORS = [donor(seed) for seed in range(40)]
HOLDOUT = [donor(500 + seed) for seed in range(10)]


def context(**more):
    bounds = texture_bounds([one.pixels for one in DONORS], np.random.default_rng(0))
    told = {
        "champion": champion,
        "barred": {"judge"},
        "evaluation_hashes": [perceptual_hash(one.pixels) for one in HOLDOUT],
        "texture": bounds,
    }
    return CheckContext(**{**told, **more})


def drawn(count=20, controls=0.0):
    mode = ModeHarm("a", Staging.SURROUND, tuple((f"a{n}", harm(n)) for n in range(20)))
    plain = [harmless(n) for n in range(20)]
    asked = SynthesisRequest([mode], DONORS, plain, count, 1, controls, seed=2)
    return list(synthesis.get("compose").draw(plan(asked)))


def spoiler(seed=0):
    return Spoiler(np.random.default_rng(seed), "judge", [one.pixels for one in HOLDOUT])


def test_planted_bad_samples_are_refused_and_good_ones_kept():
    good, by = drawn(), spoiler()
    judged = check(good, context())
    assert sum(not one.kept for one in judged) <= 0.1 * len(good), Counter(
        one.reason for one in judged
    )
    bad = [spoil(one, by) for one in good[:12] for spoil in SPOILS]
    refused = [not one.kept for row in bad for one in check([row], context())]
    assert len(bad) > 100
    assert np.mean(refused) >= 0.95, Counter(
        SPOILS[n % len(SPOILS)].__name__ for n, one in enumerate(refused) if not one
    )


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (changed_object, "integrity"),
        (empty_hole, "a picture"),
        (noise, "a picture"),
        (wrong_box, "label"),
        (mislabelled_donor, "known object"),
        (of_a_judge, "parents"),
        (nothing_put, "reproduces the failure"),
    ],
)
def test_the_row_that_is_meant_is_the_one_that_fails(spoil, name):
    (one, *_) = drawn()
    (judged,) = check([spoil(one, spoiler())], context())
    assert name in {row.name for row in judged.rows if row.passed is False}
    assert judged.reason
    assert all(
        set(row) == {"name", "value", "bound", "passed", "reason"} for row in judged.to_rows()
    )


def test_a_second_copy_is_refused_and_so_is_what_was_kept_before():
    (one, *_) = drawn()
    first, second = check([one, one], context())
    assert first.kept
    assert second.reason.startswith("unlike other samples")
    (again,) = check([one], context(kept_hashes=[perceptual_hash(one.image)]))
    assert again.reason.startswith("unlike other samples")


def test_a_sample_of_another_mode_is_refused():
    (one, *_) = drawn()
    (judged,) = check([one], context(of_mode=lambda _: (0.2, 0.5)))
    assert judged.reason.startswith("of its mode")
    assert check([one], context(of_mode=lambda _: (0.6, 0.5)))[0].kept


def test_an_out_of_bounds_or_flat_label_is_named():
    (one, *_) = drawn()
    boxes = one.staged.truth.boxes_xyxy.copy()
    boxes[0] = (-5, 3, 200, 40)
    (judged,) = check([labelled(one, boxes)], context())
    assert "boxes" in {row.name for row in judged.rows if row.passed is False}


def test_a_mode_works_where_its_samples_fail_more_often_than_controls():
    pairs = check(drawn(40, controls=0.5), context())
    samples = [one for one in pairs if one.drawn.plan.staging is Staging.SURROUND]
    controls = [one for one in pairs if one.drawn.plan.staging is Staging.CONTROL]
    value, low, high = works(samples, controls, np.random.default_rng(0))
    assert low > 0.5
    assert value <= high <= 1
    assert works(controls, controls, np.random.default_rng(0))[1] <= 0
    assert works([], controls, np.random.default_rng(0)) == (0.0, -1.0, 1.0)
    assert check([], context()) == []


def test_neighbours_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    own, other = rng.normal(size=(30, 5)), rng.normal(size=(40, 5))
    slow = np.sort(np.linalg.norm(own[:, None] - other[None], axis=2), axis=1)[:, :4]
    found = neighbour_distances(own.astype(np.float32), other.astype(np.float32), 4)
    assert found == pytest.approx(slow, abs=1e-3)
    alone = neighbour_distances(other.astype(np.float32), other.astype(np.float32), 1, same=True)
    assert alone.min() > 0


def test_what_is_far_from_the_real_is_not_like_it():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(300, 8)).astype(np.float32)
    like, far = rng.normal(size=(50, 8)), rng.normal(5, 1, size=(50, 8))
    assert np.quantile(realism(like.astype(np.float32), real), 0.9) <= 1.1
    assert realism(far.astype(np.float32), real).min() > 1
    near, _ = kernel_distance(like.astype(np.float32), real, np.random.default_rng(1))
    away, _ = kernel_distance(far.astype(np.float32), real, np.random.default_rng(1))
    assert abs(near) < 0.05 * away
    for call in (lambda: realism(real, real[:5]), lambda: memorised(real, real[:1])):
        with pytest.raises(ValueError, match=r"needed|needs"):
            call()
    with pytest.raises(ValueError, match="two vectors"):
        kernel_distance(real[:1], real, rng)


def test_a_repeated_training_sample_is_found_out():
    rng = np.random.default_rng(0)
    training = rng.normal(size=(200, 16)).astype(np.float32)
    fresh = rng.normal(size=(20, 16)).astype(np.float32)
    copied = training[:20] + rng.normal(0, 0.01, (20, 16)).astype(np.float32)
    assert memorised(fresh, training).min() > 0.5
    assert memorised(copied, training).max() < 0.1

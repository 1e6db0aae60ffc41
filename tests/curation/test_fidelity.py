"""Measures of faithfulness on cases whose answer is known."""

import numpy as np
import pytest

from curation import superpixels
from curation.explain import fidelity
from curation.kernel.detector import ScoreKind
from curation.kernel.types import ScoreTarget
from tests.toy import PolynomialToy, textured_image

LOGIT = ScoreKind.LOGIT


def test_correlations_know_linear_monotone_and_constant_maps():
    x = np.array([-2.0, 0.0, 1.0, 5.0])
    assert fidelity.pearson(x, 3 * x + 1) == pytest.approx(1)
    assert fidelity.pearson(x, -x) == pytest.approx(-1)
    assert fidelity.pearson(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])) == pytest.approx(0)
    assert fidelity.spearman(x, np.exp(x)) == pytest.approx(1)
    assert fidelity.pearson(x, np.exp(x)) < 0.95
    assert fidelity.spearman(np.array([1, 1, 2]), np.array([1, 2, 3])) == pytest.approx(0.75**0.5)
    assert np.isnan(fidelity.pearson(x, np.ones(4)))
    grid = np.arange(12.0).reshape(3, 4)
    assert fidelity.pearson(grid, grid**3) == pytest.approx(
        np.corrcoef(grid.ravel(), grid.ravel() ** 3)[0, 1]
    )


def test_sign_agreement_looks_at_the_references_worst_segments():
    reference = np.array([-5.0, -3.0, -1.0, 2.0, 4.0])
    assert fidelity.sign_agreement(np.array([-1, 1, -1, -9, -9]), reference, top=2) == 0.5
    assert fidelity.sign_agreement(reference, reference, top=5) == 1
    assert np.isnan(fidelity.sign_agreement(reference, np.abs(reference)))


def linear_case():
    toy = PolynomialToy(np.array([2.0, -1.0, 0.5, 3.0, -2.0, 1.0]) / 50)
    image = textured_image(3)
    return toy, image, toy.expected_shapley(image)


def test_curves_of_an_additive_score_are_its_running_sums():
    toy, image, phi = linear_case()
    target, first = ScoreTarget(0, 1), np.argsort(-phi)
    shares, gone = fidelity.order_curve(toy, image, target, toy.segments, phi, LOGIT)
    _, put = fidelity.order_curve(toy, image, target, toy.segments, phi, LOGIT, "insertion")
    running = np.concatenate([[0], np.cumsum(phi[first])])
    np.testing.assert_allclose(put, running, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(gone, phi.sum() - running, rtol=1e-4, atol=1e-4)
    area = superpixels.areas(toy.segments)[first]
    np.testing.assert_allclose(shares, np.concatenate([[0], np.cumsum(area) / area.sum()]))


def test_the_true_order_deletes_faster_than_any_other():
    toy, image, phi = linear_case()
    target = ScoreTarget(0, 1)

    def area(values, order):
        curve = fidelity.order_curve(toy, image, target, toy.segments, values, LOGIT, order)
        return fidelity.area_under(*curve)

    for seed in range(5):
        other = np.random.default_rng(seed).permutation(phi)
        assert area(phi, "deletion") <= area(other, "deletion") + 1e-9
        assert area(phi, "insertion") >= area(other, "insertion") - 1e-9


def test_area_under_a_straight_line():
    shares = np.array([0.0, 0.1, 0.6, 1.0])
    assert fidelity.area_under(shares, 1 - shares) == pytest.approx(0.5)


def test_what_a_user_sees_is_found_with_suppression_run_anew():
    toy, image, phi = linear_case()
    weights = np.ones((2, len(phi)), np.float32)
    weights[1] = 0  # the image of mean colour: both logits of a foreground class near zero
    box = tuple(float(side) for side in toy.boxes_of(image)[4])
    seen = toy.predict([image])[0]
    row = int(np.flatnonzero(seen.default_boxes == 4)[0])
    label = int(seen.labels[row])
    found = fidelity.detected_scores(toy, image, box, label, toy.segments, weights)
    assert found[0] == pytest.approx(seen.scores[row], abs=1e-5)
    assert found[1] != pytest.approx(found[0], abs=1e-3)
    other = 3 - label  # the best class of a default box is shown alone
    assert fidelity.detected_scores(toy, image, box, other, toy.segments, weights)[0] == 0
    np.testing.assert_allclose(fidelity.mean_colour(toy), 127.5, atol=0.01)


def test_the_point_of_a_region_lies_inside_and_hits_by_distance():
    segments = np.zeros((9, 12), np.int32)
    segments[2:7, 3:8] = 1
    segments[4, 5] = 1
    row, column = fidelity.inner_point(segments, [1])
    assert (row, column) == (4, 5)
    mask = np.zeros((9, 12), bool)
    mask[4, 8] = True
    assert not fidelity.pointing_hit((row, column), mask)
    assert not fidelity.pointing_hit((row, column), mask, 2.9)
    assert fidelity.pointing_hit((row, column), mask, 3)
    assert not fidelity.pointing_hit((row, column), np.zeros_like(mask), 99)
    values = np.array([3.0, -2.0])
    assert fidelity.most_negative(values) == 1
    assert fidelity.most_negative(values, harmful_is_positive=True) == 0


def test_overlap_with_a_mask_is_averaged_over_thresholds():
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    assert fidelity.mask_iou(mask.astype(float), mask) == 1
    assert fidelity.mask_iou(-mask.astype(float), mask) == 0
    half = np.where(mask, 1.0, 0.5)  # below one half everything is chosen, above it the mask
    assert fidelity.mask_iou(half, mask, thresholds=3) == pytest.approx((0.5 + 1 + 1) / 3)


def test_the_bootstrap_covers_the_mean_and_keeps_groups_together():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(60):
        values = rng.normal(0.3, 1, 40)
        interval = fidelity.bootstrap(values, np.arange(40), rng, rounds=400)
        covered += interval.low <= 0.3 <= interval.high
        assert interval.mean == pytest.approx(values.mean())
    assert 50 <= covered <= 60
    values = np.repeat(rng.normal(0, 1, 10), 20)
    apart = fidelity.bootstrap(values, np.arange(200), np.random.default_rng(1))
    whole = fidelity.bootstrap(values, np.repeat(np.arange(10), 20), np.random.default_rng(1))
    assert whole.high - whole.low > 3 * (apart.high - apart.low)
    alone = fidelity.bootstrap([1.0, np.nan, 3.0], ["a", "a", "a"], rng)
    assert alone.mean == 2
    assert np.isnan([alone.low, alone.high]).all()
    assert np.isnan(fidelity.bootstrap([np.nan], ["a"], rng).mean)


def test_ranks_are_compared_among_those_that_matter_and_among_the_rest():
    reference = np.array([9.0, -6.0, 4.0, 0.1, -0.1, 0.05])
    errors = np.full(6, 0.2)
    matter = fidelity.that_matter(reference, errors)
    assert matter.tolist() == [True] * 3 + [False] * 3
    values = np.array([8.0, -7.0, 5.0, -0.1, 0.1, -0.05])  # right where it matters, wrong elsewhere
    assert fidelity.spearman_of(values, reference, matter) == pytest.approx(1)
    assert fidelity.spearman_of(values, reference, ~matter) < 0
    assert np.isnan(fidelity.spearman_of(values, reference, np.arange(6) < 2))
    assert fidelity.sign_agreement(values, reference) == 0.5
    assert fidelity.sign_agreement(values, reference, among=matter) == 1


def test_the_heaviest_hold_the_share_and_no_more_are_taken():
    reference = np.array([5.0, -4.0, 0.6, 0.4, 0.0])
    assert fidelity.heaviest(reference).tolist() == [True, True, False, False, False]
    assert fidelity.heaviest(reference, 0.91).tolist() == [True, True, True, False, False]
    assert not fidelity.heaviest(np.zeros(3)).any()


def test_overlap_counts_the_worst_that_are_among_the_worst():
    reference = np.array([-5.0, -3.0, -1.0, 2.0])
    assert fidelity.worst_overlap(np.array([-1.0, 4.0, -9.0, -2.0]), reference, 2) == 0
    assert fidelity.worst_overlap(np.array([-9.0, 4.0, -1.0, -2.0]), reference, 2) == 0.5
    assert fidelity.worst_overlap(reference, reference) == 1
    assert np.isnan(fidelity.worst_overlap(reference, np.abs(reference)))

"""Shapley values from a Gaussian process over coalitions: closed forms, oracle, accuracy."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch

from curation import explain, superpixels
from curation.explain import coalition_fit, coalition_gp
from curation.explain.base import masked_scores
from curation.explain.coalition_fit import Layout, fit
from curation.explain.gp_shap import GPShap, sample_masks
from curation.kernel.detector import ScoreKind
from curation.kernel.types import ScoreTarget
from tests.oracles import coalition_gp as oracle
from tests.tiny_ssd import tiny_ssd
from tests.toy import ConvToy, PolynomialToy, textured_image

TARGET = ScoreTarget(1, 1)


def exact(detector, image, target, segments, kind=ScoreKind.LOGIT, of=oracle.exact_shapley):
    """Shapley values [S] from all masks, or others."""
    num_segments = superpixels.count(segments)
    every = np.array(list(itertools.product((0, 1), repeat=num_segments)), np.float32)
    scores = masked_scores(
        detector, detector.preprocess([image]), segments, every, [target], kind, 64
    )[:, 0]
    values = {tuple(map(int, row)): float(v) for row, v in zip(every, scores, strict=True)}
    return np.array(of(values, num_segments))


def a_kernel(rng, num_segments, is_linear):
    """A kernel with rates and, if wanted, a covariance of what superpixels do alone."""
    rates = rng.uniform(0.01, 2.0, num_segments)
    root = rng.normal(size=(num_segments, num_segments)) / 3
    return coalition_gp.Kernel(rates, 0.02, root @ root.T if is_linear else None)


@pytest.mark.parametrize("is_linear", [False, True])
def test_posterior_agrees_with_the_oracle(is_linear):
    rng = np.random.default_rng(3)
    masks = sample_masks(6, 24, rng).astype(np.float64)
    scores = rng.normal(size=len(masks))
    kernel = a_kernel(rng, 6, is_linear)
    values, errors = coalition_gp.shapley(masks, scores, kernel)
    expected, expected_errors = oracle.posterior(
        masks, scores, kernel.rates, kernel.noises(masks), linear=kernel.linear
    )
    np.testing.assert_allclose(values, expected, atol=1e-7)
    np.testing.assert_allclose(errors, expected_errors, atol=1e-6)
    entry = kernel.covariance(masks)[2, 4]
    assert entry == pytest.approx(
        oracle.covariance(masks[2], masks[4], kernel.rates, kernel.linear)
    )
    np.testing.assert_allclose(kernel.own(masks), np.diag(kernel.between(masks, masks)))


@pytest.mark.parametrize("is_linear", [False, True])
@pytest.mark.parametrize("shown", [0.0, 0.3, 0.75, 1.0])
def test_banzhaf_values_agree_with_the_oracle(shown, is_linear):
    rng = np.random.default_rng(4)
    masks = sample_masks(6, 24, rng).astype(np.float64)
    scores = rng.normal(size=len(masks))
    kernel = a_kernel(rng, 6, is_linear)
    values, errors = coalition_gp.banzhaf(masks, scores, kernel, shown)
    expected, expected_errors = oracle.posterior(
        masks,
        scores,
        kernel.rates,
        kernel.noises(masks),
        functools.partial(oracle.exact_banzhaf, shown=shown),
        kernel.linear,
    )
    np.testing.assert_allclose(values, expected, atol=1e-7)
    np.testing.assert_allclose(errors, expected_errors, atol=1e-6)


@pytest.mark.parametrize("num_segments", [60, 165, 900])
@pytest.mark.parametrize("rate", [0.02, 2.0])
def test_what_the_superpixels_share_adds_up_whatever_their_number(num_segments, rate):
    masks = sample_masks(num_segments, 24, np.random.default_rng(0)).astype(np.float64)
    kernel = coalition_gp.Kernel(np.full(num_segments, rate), 0.0)
    with_scores, _ = coalition_gp._moments(
        2 * masks - 1, np.tanh(kernel.rates / 2), *coalition_gp._quadrature(num_segments)
    )  # [S, N]
    covariance = kernel.covariance(masks)
    whole = covariance[0] - covariance[1]  # of the scores with v(all) - v(none)
    np.testing.assert_allclose(with_scores.sum(axis=0), whole, atol=1e-8)  # noise of the ends: 1e-9


def test_quadrature_is_exact_and_as_it_was_where_16_nodes_are():
    nodes, weights = np.polynomial.legendre.leggauss(16)
    for num_segments in (1, 12, 31):
        found = coalition_gp._quadrature(num_segments)
        np.testing.assert_array_equal(found[0], nodes)
        np.testing.assert_array_equal(found[1], weights / 2)
    for num_segments in (32, 72, 165, 900):
        node, weight = coalition_gp._quadrature(num_segments)
        for shown in (0, num_segments // 2, num_segments):  # shown and hidden superpixels
            hidden = num_segments - shown
            found = weight @ (((1 + node) / 2) ** shown * ((1 - node) / 2) ** hidden)
            exact = -np.log(num_segments + 1.0) - _log_choose(num_segments, shown)
            assert np.log(found) == pytest.approx(exact, abs=1e-9)


def _log_choose(size, members):
    return math.lgamma(size + 1) - math.lgamma(members + 1) - math.lgamma(size - members + 1)


def test_many_superpixels_under_a_box_of_the_whole_image_add_up():
    class WholeImage(ConvToy):
        def boxes_of(self, image):
            return np.tile(np.float32((0, 0, image.shape[1], image.shape[0])), (6, 1))

    toy, image = WholeImage(3), textured_image(3)
    segments = superpixels.grid(toy.input_size_hw, 768)
    assert superpixels.count(segments) >= 600
    (found,) = GPShap(num_samples=48).explain(toy, image, [ScoreTarget(0, 1)], segments)
    difference = found.score - found.baseline_score
    assert found.completeness_error == pytest.approx(0, abs=1e-4 * abs(difference))


@pytest.mark.parametrize("is_linear", [False, True])
def test_objective_has_the_gradient_it_says(is_linear):
    rng = np.random.default_rng(5)
    masks = sample_masks(9, 30, rng).astype(np.float64)
    layout = Layout.of(
        rng.uniform(0, 3, 9), rng.uniform(0, 9, (9, 2)), rng.uniform(0, 30, (9, 3)), 81.0
    )
    objective = coalition_fit._Objective(
        2 * masks - 1,
        rng.normal(size=30),
        layout if is_linear else Layout(layout.distances),
        coalition_gp.is_end(masks),
    )
    theta = np.r_[0.5, 0.2, 0.3, -3.0, -1.0, 0.4, rng.normal(size=9)]
    _, gradient = objective(theta)
    for index in range(len(theta)):
        step = np.zeros(len(theta))
        step[index] = 1e-5
        slope = (objective(theta + step)[0] - objective(theta - step)[0]) / 2e-5
        assert gradient[index] == pytest.approx(slope, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("shown", [0.0, 0.75, 1.0])
def test_a_superpixel_that_decides_alone_leaves_all_values_finite(shown):
    """Its rate grows without an end, and the hyperbolic tangent of it is one."""
    masks = sample_masks(12, 64, np.random.default_rng(0)).astype(np.float64)
    scores = np.tanh(masks[:, 0] * (1 + masks[:, 1:].mean(axis=1)))
    rates = np.full(12, 0.1)
    found = []
    for rate in (28.0, 80.0):  # tanh(14) is below 1 by 1e-12, tanh(40) is 1
        rates[0] = rate
        kernel = coalition_gp.Kernel(rates.copy(), 1e-3)
        assert (kernel.strengths < 1).all()
        values, errors = coalition_gp.banzhaf(masks, scores, kernel, shown)
        assert np.isfinite(values).all()
        assert np.isfinite(errors).all()
        found.append(values)
    np.testing.assert_allclose(*found, atol=1e-9)


@pytest.mark.parametrize("num_segments", [1, 2, 6])
def test_exact_where_there_are_no_more_masks(num_segments):
    toy, image = ConvToy(2), textured_image(4)
    segments = superpixels.grid(toy.input_size_hw, num_segments)
    found = GPShap(num_samples=64, kind=ScoreKind.LOGIT).explain(toy, image, [TARGET], segments)[0]
    expected = exact(toy, image, TARGET, segments)
    np.testing.assert_allclose(found.values, expected, atol=1e-5 * np.abs(expected).max())
    assert found.standard_errors.max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("share", [0.0, 0.75, 1.0])
def test_regions_are_made_of_what_a_superpixel_does_among_so_many_others(share):
    toy, image = ConvToy(2), textured_image(4)
    segments = superpixels.grid(toy.input_size_hw, 6)
    explainer = GPShap(num_samples=64, kind=ScoreKind.LOGIT, region_share=share)
    (found,) = explainer.explain(toy, image, [TARGET], segments)
    banzhaf = functools.partial(oracle.exact_banzhaf, shown=share)
    expected = exact(toy, image, TARGET, segments, of=banzhaf)
    values, errors = found.for_regions()
    np.testing.assert_allclose(values, expected, atol=1e-4 * np.abs(expected).max())
    assert errors.max() < 1e-3 * np.abs(expected).max()
    assert np.abs(values - found.values).max() > 0.01 * np.abs(expected).max()


def test_a_share_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"region_share must lie in 0\.\.1, not 75"):
        GPShap(region_share=75)


def test_sums_of_segments_and_pairs_come_out_nearly_exact():
    rng = np.random.default_rng(0)
    linear = rng.normal(size=12) / 40
    image = textured_image(2)
    toy = PolynomialToy(linear, rng.normal(size=(12, 12)) / 3e4)
    found = GPShap(num_samples=128, kind=ScoreKind.LOGIT).explain(
        toy, image, [TARGET], toy.segments
    )[0]
    expected = toy.expected_shapley(image)
    assert np.corrcoef(found.values, expected)[0, 1] > 0.999
    assert np.abs(found.values - expected).max() < 0.03 * np.abs(expected).max()


def test_nearer_to_shapley_than_e2x_at_a_third_of_the_passes_and_better_with_more():
    correlations, ratios = [], []
    for seed in range(6):
        toy, image, target = ConvToy(seed), textured_image(seed), ScoreTarget(seed, 1)
        segments = superpixels.grid(toy.input_size_hw, 9)
        expected = exact(toy, image, target, segments, ScoreKind.LOG_ODDS)
        found = [
            GPShap(num_samples=n).explain(toy, image, [target], segments)[0] for n in (32, 128)
        ]
        e2x = explain.get("e2x", num_samples=32).explain(toy, image, [target], segments)[0]
        correlations.append([np.corrcoef(f.values, expected)[0, 1] for f in (*found, e2x)])
        ratios.append((found[0].values - expected) / found[0].standard_errors)
    few, many, gradients = np.mean(correlations, axis=0)
    assert many > few > gradients
    assert many > 0.98
    assert 0.3 < np.sqrt(np.mean(np.square(ratios))) < 2  # the errors are of the right size


def test_a_tiny_ssd_with_eight_superpixels_is_explained_by_128_passes():
    ssd, image, target = tiny_ssd(), textured_image(1), ScoreTarget(40, 1)
    segments = superpixels.grid(ssd.input_size_hw, 8)
    found = GPShap(num_samples=128).explain(ssd, image, [target], segments)[0]
    expected = exact(ssd, image, target, segments, ScoreKind.LOG_ODDS)
    assert np.corrcoef(found.values, expected)[0, 1] > 0.95


def test_values_sum_to_the_difference_and_far_segments_count_less():
    toy, image = ConvToy(1), textured_image(1)
    segments = superpixels.grid(toy.input_size_hw, 30)
    found = GPShap(num_samples=40).explain(toy, image, [TARGET], segments)[0]
    assert found.completeness_error == pytest.approx(0, abs=1e-4)
    assert (found.standard_errors > 0).all()
    z = GPShap(num_samples=40).masks(30).astype(np.float64)
    distances = np.linspace(0, 10, 30)
    rates = fit(z, np.random.default_rng(1).normal(size=len(z)), Layout(distances)).rates
    assert rates[:10].mean() > rates[-10:].mean()


def test_neighbours_of_one_colour_are_believed_to_do_alike():
    """Where one half of an image helps and the other harms, from fewer masks than superpixels."""
    rng = np.random.default_rng(7)
    side = 8
    x, y = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    is_left = centres[:, 0] < side / 2
    colours = np.where(is_left[:, None], [30.0, 0, 0], [70.0, 0, 0])
    worth = np.where(is_left, 1.0, -1.0)
    masks = sample_masks(side**2, 40, rng).astype(np.float64)
    scores = masks @ worth
    far = np.ones(side**2)
    errors = []
    for layout in (Layout(far), Layout.of(far, centres, colours, float(side**2))):
        values, _ = coalition_gp.shapley(masks, scores, fit(masks, scores, layout))
        errors.append(np.abs(values - worth).mean())
    assert errors[1] < 0.3 * errors[0]


def test_colours_and_places_that_tell_nothing_cost_little():
    """Where neighbours of one colour do nothing alike, the most probable kernel says so."""
    rng = np.random.default_rng(8)
    centres, colours = rng.uniform(0, 8, (64, 2)), rng.uniform(0, 20, (64, 3))
    worth = np.where(rng.permutation(64) < 12, rng.normal(size=64), 0.0)
    masks = sample_masks(64, 128, rng).astype(np.float64)
    scores = masks @ worth
    agreements = []
    for layout in (Layout(np.ones(64)), Layout.of(np.ones(64), centres, colours, 64.0)):
        values, _ = coalition_gp.shapley(masks, scores, fit(masks, scores, layout))
        agreements.append(np.corrcoef(values, worth)[0, 1])
    assert agreements[1] > agreements[0] - 0.02


def test_forward_passes_do_not_grow_with_the_targets():
    image, segments = textured_image(1), superpixels.grid((24, 32), 20)
    targets = [ScoreTarget(box, label) for box in range(6) for label in (1, 2)]
    toy = ConvToy(1)
    together = GPShap(48, first_samples=0, batch_size=5).explain(toy, image, targets, segments)
    assert toy.forward_rows == 48
    alone = GPShap(48, first_samples=0).explain(toy, image, targets[3:4], segments)[0]
    np.testing.assert_allclose(together[3].values, alone.values, rtol=1e-2, atol=1e-4)
    toy.forward_rows = 0
    found = GPShap(num_samples=48).explain(toy, image, targets, segments)
    assert 42 < toy.forward_rows <= 48  # a region removed for one tells of all
    agreement = [
        np.corrcoef(a.values, b.values)[0, 1] for a, b in zip(found, together, strict=True)
    ]
    assert np.mean(agreement) > 0.8
    assert all(p.grad is None for p in toy.module.parameters())


def test_an_eighth_of_the_passes_is_kept_for_regions_that_are_removed():
    first = {count: GPShap(count).parameters["first_samples"] for count in (4, 16, 100, 128, 320)}
    assert first == {4: 4, 16: 14, 100: 86, 128: 112, 320: 280}
    assert GPShap(first_samples=0).parameters["first_samples"] == 0


def test_same_seed_same_masks_same_values():
    toy, image = ConvToy(1), textured_image(3)
    segments = superpixels.grid(toy.input_size_hw, 20)
    first = GPShap(num_samples=32, seed=4)
    np.testing.assert_array_equal(first.masks(20), GPShap(num_samples=32, seed=4).masks(20))
    assert not np.array_equal(first.masks(20), GPShap(num_samples=32).masks(20))
    values = [first.explain(toy, image, [TARGET], segments)[0].values for _ in range(2)]
    np.testing.assert_array_equal(*values)


def test_masks_are_distinct_pairs_after_the_two_ends():
    masks = sample_masks(10, 101, np.random.default_rng(0))
    assert masks.shape == (100, 10)
    assert len(np.unique(masks, axis=0)) == 100
    np.testing.assert_array_equal(masks[::2] + masks[1::2], 1)
    assert masks[0].all()
    sizes = np.bincount(masks.sum(axis=1).astype(int))
    assert sizes.min() >= 1
    assert len(sample_masks(5, 500, np.random.default_rng(0))) == 32


def test_a_score_that_nothing_changes_gives_zero():
    class Constant(ConvToy):
        def logits(self, inputs: torch.Tensor) -> torch.Tensor:
            return super().logits(inputs * 0)

    segments = superpixels.grid((24, 32), 20)
    found = GPShap(num_samples=32).explain(Constant(1), textured_image(1), [TARGET], segments)[0]
    np.testing.assert_allclose(found.values, 0, atol=1e-7)
    assert np.isfinite(found.standard_errors).all()


@pytest.mark.parametrize(
    "wrong", [{"num_samples": 3}, {"batch_size": 0}, {"first_samples": 3}, {"certain": -0.1}]
)
def test_parameters_are_checked(wrong):
    with pytest.raises(ValueError, match="at least"):
        GPShap(**wrong)

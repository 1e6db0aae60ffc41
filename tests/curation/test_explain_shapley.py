"""Sampled Shapley values against closed forms, exact values, slow twins, shapiq and captum."""

import numpy as np
import pytest
import shapiq
import torch
from captum.attr import KernelShap as CaptumKernelShap

from curation import explain, superpixels
from curation.explain import coalitions
from curation.explain.checks.reference import converged_reference
from curation.explain.coalitions import Scores, fit, paired_design
from curation.explain.methods.exact_shapley import ExactShapley, all_masks, coefficients
from curation.explain.methods.kernel_shap import KernelShap
from curation.explain.methods.ramped import Ramped
from curation.kernel.detector import ScoreKind
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import ScoreTarget
from curation.regions import RegionRules, harmful_regions
from tests.oracles import shapley as slow
from tests.toy import ConvToy, PolynomialToy, textured_image

TARGETS = [ScoreTarget(0, 1), ScoreTarget(4, 2)]
FORWARD = ["kernel_shap", "leverage_shap", "permutation_shap"]


def _polynomial(seed, size=8):
    rng = np.random.default_rng(seed)
    squares = rng.normal(size=(size, size)) * 1e-4
    return PolynomialToy(rng.normal(size=size) * 0.01, squares, triple=1e-6)


class _Game:
    """A game of S players with interactions of all orders."""

    def __init__(self, size, seed=0):
        rng = np.random.default_rng(seed)
        self.size, self.weights = size, rng.normal(size=(size, 20))

    def __call__(self, masks):
        return np.tanh(np.asarray(masks, np.float64) @ self.weights).sum(axis=-1) + 1

    def scores(self, design):
        ends = self(np.ones((1, self.size))), self(np.zeros((1, self.size)))
        return Scores(self(design.masks)[:, None], self(~design.masks)[:, None], *ends)

    def shapley(self):
        masks = all_masks(self.size)
        return coefficients(masks).T @ self(masks)


def _pearson(one, two):
    return float(np.corrcoef(one, two)[0, 1])


@pytest.mark.parametrize("name", ["exact_shapley", "kernel_shap", "leverage_shap"])
def test_all_coalitions_give_the_closed_form(name):
    toy, image = _polynomial(0), textured_image(0)
    offered = explain.accepted(name, {"num_samples": 256, "kind": "logit"})
    (result,) = explain.get(name, **offered).explain(toy, image, TARGETS[:1], toy.segments)
    np.testing.assert_allclose(result.values, toy.expected_shapley(image), rtol=1e-4, atol=1e-5)
    assert not result.standard_errors.any()
    assert result.completeness_error == pytest.approx(0, abs=1e-5)


def test_exact_values_agree_with_the_definition_and_with_shapiq():
    small = _Game(5)
    expected = slow.exact(lambda mask: float(small(mask)), 5)
    np.testing.assert_allclose(small.shapley(), expected, rtol=1e-10)
    game = _Game(8)
    library = shapiq.ExactComputer(game, n_players=8)("SV", order=1)
    found = [library[(player,)] for player in range(8)]
    np.testing.assert_allclose(game.shapley(), found, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("num_segments", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("sampling", ["kernel", "leverage"])
def test_regression_on_all_pairs_is_exact(num_segments, sampling):
    game = _Game(num_segments)
    design = paired_design(10**6, num_segments, sampling, np.random.default_rng(0))
    assert design.complete
    assert len(design) == 2 ** (num_segments - 1) - 1
    found = fit(design, game.scores(design), ridge=0.5)
    np.testing.assert_allclose(found.values[0], game.shapley(), rtol=1e-9, atol=1e-12)
    assert not found.standard_errors.any()


@pytest.mark.parametrize("sampling", ["kernel", "leverage"])
def test_regression_agrees_with_the_slow_twin(sampling):
    game = _Game(9)
    design = paired_design(60, 9, sampling, np.random.default_rng(1))
    scores = game.scores(design)
    masks = np.concatenate([design.masks, ~design.masks])
    both = np.concatenate([scores.kept, scores.removed])[:, 0]
    expected = slow.constrained_regression(
        masks, np.tile(design.weights, 2), both, scores.full[0], scores.empty[0]
    )
    np.testing.assert_allclose(fit(design, scores).values[0], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("sampling", ["kernel", "leverage"])
@pytest.mark.parametrize("num_pairs", [3, 20, 100, 400, 511])
def test_designs_hold_the_pairs_asked_for_none_twice(sampling, num_pairs):
    design = paired_design(num_pairs, 10, sampling, np.random.default_rng(num_pairs))
    assert design.masks.shape == (num_pairs, 10)
    both = np.concatenate([design.masks, ~design.masks])
    assert len(np.unique(both, axis=0)) == 2 * num_pairs
    assert both.any(axis=1).all()
    assert not both.all(axis=1).any()


def test_weights_are_those_of_the_kernel_on_average():
    # a function of the size alone: its weighted sum estimates the sum over the whole kernel
    whole = paired_design(10**6, 11, "kernel", np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for sampling in ("kernel", "leverage"):
        sums = []
        for _ in range(400):
            design = paired_design(4, 11, sampling, rng)
            sums.append(design.weights @ np.abs(2 * design.masks.sum(axis=1) - 11))
        exact = whole.weights @ np.abs(2 * whole.masks.sum(axis=1) - 11)
        error = np.std(sums) / 20
        assert abs(np.mean(sums) - exact) < 4 * error + 1e-9
    assert whole.weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("sampling", ["kernel", "leverage"])
def test_standard_errors_of_the_regression_cover(sampling):
    game, ratios = _Game(10), []
    for seed in range(60):
        design = paired_design(100, 10, sampling, np.random.default_rng(seed))
        found = fit(design, game.scores(design))
        ratios.append((found.values[0] - game.shapley()) / found.standard_errors[0])
    assert 0.85 < np.std(ratios) < 1.15  # 600 draws


@pytest.mark.parametrize("sampling", ["kernel", "leverage"])
def test_the_default_ridge_fades_as_pairs_are_added(sampling):
    game, ridge = _Game(14), KernelShap().ridge
    exact = game.shapley()
    slopes, ratios = [], []
    for num_pairs in (14, 140, 4000):
        design = paired_design(num_pairs, 14, sampling, np.random.default_rng(2))
        values, errors = (rows[0] for rows in fit(design, game.scores(design), ridge))
        slopes.append(np.polyfit(exact, values, 1)[0])
        ratios.append(np.sqrt(np.mean(((values - exact) / errors) ** 2)))
    assert slopes[0] < 0.97
    assert slopes[2] == pytest.approx(1, abs=0.005)
    assert ratios[2] < 2


def test_the_ridge_counts_in_full_up_to_as_many_pairs_as_segments():
    game = _Game(9)
    for num_pairs, share in ((6, 1), (9, 1), (45, 0.2)):
        design = paired_design(num_pairs, 9, "kernel", np.random.default_rng(3))
        scores = game.scores(design)
        rows = design.masks - design.masks.mean(axis=1, keepdims=True)
        weights = design.weights / design.weights.sum()
        total = scores.full - scores.empty
        half = (scores.kept - scores.removed) / 2
        half = half - (design.masks.mean(axis=1, keepdims=True) - 0.5) * total
        left = (rows.T * weights) @ rows + 0.02 * share * np.eye(9)
        slope = np.linalg.solve(left, (rows.T * weights) @ half)[:, 0]
        found = fit(design, scores, ridge=0.02).values[0]
        np.testing.assert_allclose(found, slope + total / 9, rtol=1e-8)


@pytest.mark.parametrize("num_segments", [5, 8])
def test_eigenvalues_that_the_ridge_is_added_to_are_half_a_harmonic_number(num_segments):
    design = paired_design(10**6, num_segments, "kernel", np.random.default_rng(0))
    rows = design.masks - design.masks.mean(axis=1, keepdims=True)
    found = np.linalg.eigvalsh((rows.T * design.weights) @ rows)
    harmonic = (1 / np.arange(1, num_segments)).sum()
    np.testing.assert_allclose(found[1:], 1 / (2 * harmonic), rtol=1e-9)
    assert found[0] == pytest.approx(0, abs=1e-12)


def test_is_nearer_to_the_exact_values_than_the_libraries():
    game = _Game(10, seed=2)
    exact, ours, theirs, captums = game.shapley(), [], [], []
    for seed in range(8):
        design = paired_design(63, 10, "kernel", np.random.default_rng(seed))
        ours.append(fit(design, game.scores(design)).values[0])
        library = shapiq.KernelSHAP(n=10, pairing_trick=True, random_state=seed)
        values = library.approximate(128, game)
        theirs.append([values[(player,)] for player in range(10)])
        torch.manual_seed(seed)
        method = CaptumKernelShap(lambda x: torch.from_numpy(game(x.double().numpy())))
        inputs = torch.ones(1, 10)
        found = method.attribute(inputs, n_samples=126, perturbations_per_eval=126)
        captums.append(found[0].numpy())
    error = [np.sqrt(np.mean((np.array(v) - exact) ** 2)) for v in (ours, theirs, captums)]
    assert error[0] < 1.1 * error[1]
    assert error[0] < 0.7 * error[2]
    for values in (ours, theirs, captums):  # all of them near the same truth
        assert np.mean([_pearson(v, exact) for v in values]) > 0.97


@pytest.mark.parametrize("name", FORWARD)
def test_is_complete_near_the_exact_values_and_shares_rows(name):
    toy, image = ConvToy(3), textured_image(3)
    segments = superpixels.grid(toy.input_size_hw, 9)
    exact = ExactShapley().explain(toy, image, TARGETS, segments)
    toy.forward_rows = 0
    parameters = {"ridge": 0.0} if name != "permutation_shap" else {}
    explainer = explain.get(name, num_samples=200, **parameters)
    together = explainer.explain(toy, image, TARGETS, segments)
    assert toy.forward_rows <= 200
    for target, result, expected in zip(TARGETS, together, exact, strict=True):
        assert result.completeness_error == pytest.approx(0, abs=1e-5)
        assert _pearson(result.values, expected.values) > 0.97
        near = np.abs(result.values - expected.values) < 5 * result.standard_errors + 1e-6
        assert near.all()
        alone_in = explain.get(name, num_samples=200, batch_size=7, **parameters)
        (alone,) = alone_in.explain(toy, image, [target], segments)
        np.testing.assert_allclose(alone.values, result.values, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", [*FORWARD, "ramped"])
def test_seeds_decide(name):
    toy, image = ConvToy(4), textured_image(4)
    segments = superpixels.grid(toy.input_size_hw, 12)
    first, again, other = (
        explain.get(name, num_samples=48, seed=seed).explain(toy, image, TARGETS, segments)[0]
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)


def test_fewer_samples_than_segments_still_add_up():
    toy, image = ConvToy(5), textured_image(5)
    segments = superpixels.grid(toy.input_size_hw, 48)
    for name in ("kernel_shap", "leverage_shap"):
        (result,) = explain.get(name, num_samples=32).explain(toy, image, TARGETS[:1], segments)
        assert result.completeness_error == pytest.approx(0, abs=1e-5)
        # 15 pairs say nothing of 47 directions, and the ridge does not know either
        assert np.isnan(result.standard_errors).all()
        assert harmful_regions(result, True, (64, 48), RegionRules())
        (plain,) = explain.get(name, num_samples=32, ridge=0.0).explain(
            toy, image, TARGETS[:1], segments
        )
        assert np.isfinite(plain.values).all()
        assert np.isnan(plain.standard_errors).all()


def test_segments_that_the_score_does_not_see_get_nothing():
    linear = np.zeros(12)
    linear[3] = 0.02
    toy, image = PolynomialToy(linear), textured_image(9)
    for name in ("permutation_shap", "ramped"):
        (result,) = explain.get(name, num_samples=64).explain(toy, image, TARGETS[:1], toy.segments)
        assert np.flatnonzero(result.values).tolist() == [3]


def test_permutations_are_unbiased_and_their_errors_cover():
    toy, image = ConvToy(6), textured_image(6)
    segments = superpixels.grid(toy.input_size_hw, 6)
    (exact,) = ExactShapley().explain(toy, image, TARGETS[:1], segments)
    ratios = []
    for seed in range(16):
        (result,) = explain.get(
            "permutation_shap", num_samples=302, batch_size=64, seed=seed
        ).explain(toy, image, TARGETS[:1], segments)
        ratios.append((result.values - exact.values) / result.standard_errors)
    assert 0.7 < np.std(ratios) < 1.3
    single = explain.get("permutation_shap", num_samples=4)
    (result,) = single.explain(toy, image, TARGETS[:1], segments)
    assert np.isnan(result.standard_errors).all()


def test_ramped_orders_reach_shapley_values_and_differ_from_e2x():
    toy, image = PolynomialToy(np.zeros(12), triple=1e-6), textured_image(2)
    ramped = Ramped(num_samples=4096, kind=ScoreKind.LOGIT, duration=0.25, batch_size=512)
    (result,) = ramped.explain(toy, image, TARGETS[:1], toy.segments)
    # the product of three ramps: each gets a third by symmetry, whatever the duration
    expected = toy.expected_shapley(image)
    assert (np.abs(result.values - expected) <= 4 * result.standard_errors).all()
    assert result.standard_errors.max() < 0.08 * np.abs(expected).max()
    assert np.abs(result.values - toy.expected_e2x(image)).max() > 2 * result.standard_errors.max()


def test_ramps_are_the_derivatives_of_the_levels():
    explainer = Ramped(num_samples=4096, duration=0.5)
    levels, slopes = explainer.levels(3)
    assert levels.min() == 0
    assert levels.max() == 1
    # the integral of d level / d time over the path is 1 for each segment
    np.testing.assert_allclose(slopes.mean(axis=0), 1, atol=0.05)
    assert (slopes[(levels == 0) | (levels == 1)] == 0).all()


def test_converged_references_come_with_their_errors():
    toy, image = ConvToy(7), textured_image(7)
    segments = superpixels.grid(toy.input_size_hw, 12)
    exact = ExactShapley().explain(toy, image, TARGETS, segments)
    kind, size = ScoreKind.LOG_ODDS, superpixels.count(segments)
    whole = converged_reference(toy, image, TARGETS, segments, kind, 4096, batch_size=256)
    part = converged_reference(toy, image, TARGETS, segments, kind, 300, batch_size=256)
    assert part.values.shape == part.standard_errors.shape == (2, size)
    assert whole.split_half.tolist() == [1, 1]
    assert not whole.standard_errors.any()
    for t, attribution in enumerate(exact):
        np.testing.assert_allclose(whole.values[t], attribution.values, rtol=1e-4, atol=1e-6)
        ratio = (part.values[t] - attribution.values) / part.standard_errors[t]
        assert 0.4 < np.sqrt(np.mean(ratio**2)) < 1.8
        assert 0.9 < part.split_half[t] < 1
    nothing = converged_reference(toy, image, [], segments, kind, 300)
    assert nothing.values.shape == (0, size)


def test_memory_of_a_large_regression_is_bounded_by_chunks(monkeypatch):
    game = _Game(10)
    design = paired_design(100, 10, "kernel", np.random.default_rng(0))
    whole = fit(design, game.scores(design))
    monkeypatch.setattr(coalitions, "_CHUNK", 7)
    for one, other in zip(fit(design, game.scores(design)), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_wrong_parameters_and_too_many_segments_are_refused():
    toy, image = ConvToy(8), textured_image(8)
    with pytest.raises(ExplanationFailed, match="kernel_shap"):
        ExactShapley().explain(toy, image, TARGETS, superpixels.grid(toy.input_size_hw, 15))
    for name, wrong in (
        ("kernel_shap", {"num_samples": 3}),
        ("leverage_shap", {"ridge": -1.0}),
        ("permutation_shap", {"num_samples": 0}),
        ("exact_shapley", {"batch_size": 0}),
        ("ramped", {"duration": 0.0}),
        ("ramped", {"num_samples": 1}),
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            explain.get(name, **wrong)

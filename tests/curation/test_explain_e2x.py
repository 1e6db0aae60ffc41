"""E2X against closed forms, a slow float64 twin and its own definition."""

import numpy as np
import pytest
import torch

from curation import explain, superpixels
from curation.explain.e2x import E2X, sample_levels
from curation.kernel.detector import ScoreKind
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import ScoreTarget
from tests.oracles.e2x import e2x as slow_e2x
from tests.toy import ConvToy, PolynomialToy, ToyDetector, textured_image

TARGET = ScoreTarget(default_box=1, label=1)


def _polynomial(seed: int, size: int = 12, **parts: float) -> PolynomialToy:
    rng = np.random.default_rng(seed)
    quadratic = rng.normal(size=(size, size)) * 1e-4 if parts.pop("squares", 0) else None
    return PolynomialToy(rng.normal(size=size) * 0.01, quadratic, **parts)


def _explain(toy, image, segments, targets=(TARGET,), **parameters):
    return E2X(**parameters).explain(toy, image, list(targets), segments)


@pytest.mark.parametrize("num_samples", [2, 3, 8])
@pytest.mark.parametrize("levels", ["grid", "midpoint", "jittered", "iid"])
def test_linear_score_is_exact_at_any_number_of_samples(num_samples, levels):
    toy, image = _polynomial(0), textured_image(0)
    (result,) = _explain(
        toy, image, toy.segments, num_samples=num_samples, levels=levels, kind=ScoreKind.LOGIT
    )
    np.testing.assert_allclose(result.values, toy.expected_e2x(image), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(result.standard_errors, 0, atol=1e-5)
    assert result.values.sum() == pytest.approx(result.score - result.baseline_score, abs=1e-3)


@pytest.mark.parametrize("num_samples", [2, 5, 16])
def test_quadratic_score_is_exact_on_average_levels_of_one_half(num_samples):
    # One independent permutation a segment leaves the product of two levels to chance, but the
    # derivative of a quadratic is linear in the levels, and each column averages one half.
    toy, image = _polynomial(1, squares=1), textured_image(1)
    (result,) = _explain(toy, image, toy.segments, num_samples=num_samples, kind=ScoreKind.LOGIT)
    np.testing.assert_allclose(result.values, toy.expected_e2x(image), rtol=1e-3, atol=1e-4)


def test_product_of_three_gives_the_gradient_at_the_centre_and_not_shapley():
    toy, image = PolynomialToy(np.zeros(12), triple=1e-6), textured_image(2)
    (result,) = _explain(
        toy, image, toy.segments, num_samples=1024, levels="jittered", kind=ScoreKind.LOGIT
    )
    expected = toy.expected_e2x(image)
    assert np.abs(result.values - expected).max() < 4 * result.standard_errors.max()
    assert result.standard_errors.max() < 0.05 * np.abs(expected).max()
    (path,) = explain.get("integrated_gradients", num_samples=64, kind="logit").explain(
        toy, image, [TARGET], toy.segments
    )
    np.testing.assert_allclose(path.values, toy.expected_shapley(image), rtol=1e-3, atol=1e-5)
    assert path.values.sum() == pytest.approx(path.score - path.baseline_score, rel=1e-3)


@pytest.mark.parametrize("kind", list(ScoreKind))
def test_agrees_with_the_slow_twin(kind):
    toy, image = ConvToy(3, (12, 16)), textured_image(3)
    segments = superpixels.grid((12, 16), 12)
    explainer = E2X(num_samples=4, kind=kind, batch_size=3, seed=5)
    (result,) = explainer.explain(toy, image, [TARGET], segments)
    toy.module.double()
    values, errors = slow_e2x(toy, image, TARGET, segments, explainer.weights(12), kind)
    scale = np.abs(values).max()
    np.testing.assert_allclose(result.values, values, rtol=1e-3, atol=1e-4 * scale)
    np.testing.assert_allclose(result.standard_errors, errors, rtol=1e-2, atol=1e-4 * scale)


def test_limit_is_the_difference_with_the_others_dimmed_at_random():
    toy, image = ConvToy(4), textured_image(4)
    segments = superpixels.grid(toy.input_size_hw, 20)
    (result,) = _explain(toy, image, segments, num_samples=4096, levels="jittered", batch_size=512)
    inputs = toy.preprocess([image])
    labels = torch.from_numpy(segments.astype(np.int64))
    rng = np.random.default_rng(1)
    for segment in np.argsort(-np.abs(result.values))[:3]:
        levels = torch.from_numpy(rng.random((2048, 20), np.float32))
        ends = []
        for value in (1.0, 0.0):
            levels[:, segment] = value
            with torch.no_grad():
                dimmed = inputs * levels[:, labels][:, None]
                ends.append(toy.scores(dimmed, [TARGET], ScoreKind.LOG_ODDS)[:, 0].numpy())
        difference = ends[0] - ends[1]
        error = np.hypot(difference.std() / 2048**0.5, result.standard_errors[segment])
        assert abs(difference.mean() - result.values[segment]) < 3.5 * error


def test_standard_errors_shrink_and_cover():
    toy, image = ConvToy(5), textured_image(5)
    segments = superpixels.grid(toy.input_size_hw, 20)
    (reference,) = _explain(toy, image, segments, num_samples=4096, levels="iid", batch_size=512)
    scores = []
    for seed in range(20):
        (result,) = _explain(
            toy, image, segments, num_samples=64, levels="iid", batch_size=64, seed=seed
        )
        scores.append((result.values - reference.values) / result.standard_errors)
    assert 0.8 < np.std(scores) < 1.25  # 400 draws: the spread of a standard normal
    assert result.standard_errors.mean() > 5 * reference.standard_errors.mean()


def test_targets_share_forward_passes_and_do_not_influence_each_other():
    toy, image = ConvToy(6), textured_image(6)
    segments = superpixels.grid(toy.input_size_hw, 20)
    targets = [ScoreTarget(0, 1), ScoreTarget(5, 2), ScoreTarget(0, 2), ScoreTarget(0, 1)]
    together = _explain(toy, image, segments, targets, num_samples=8, batch_size=4)
    assert toy.forward_rows == 8 + 2  # the samples once, and the two ends
    alone = [
        _explain(toy, image, segments, [one], num_samples=8, batch_size=8)[0] for one in targets
    ]
    for first, second in zip(together, alone, strict=True):
        assert first.target == second.target
        np.testing.assert_allclose(first.values, second.values, rtol=1e-4, atol=1e-6)
        assert first.score == pytest.approx(second.score, rel=1e-5)
    np.testing.assert_array_equal(together[0].values, together[3].values)
    assert _explain(toy, image, segments, []) == []


def test_same_seed_same_values_other_seed_other_values():
    toy, image = ConvToy(7), textured_image(7)
    segments = superpixels.slic(image, toy.input_size_hw, 20)
    first, again, other = (
        _explain(toy, image, segments, num_samples=8, seed=seed)[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)


def test_detector_is_left_as_it_was():
    toy, image = ConvToy(8), textured_image(8)
    before = {name: value.clone() for name, value in toy.module.state_dict().items()}
    _explain(toy, image, superpixels.grid(toy.input_size_hw, 20), num_samples=4)
    for name, parameter in toy.module.named_parameters():
        assert parameter.grad is None
        assert parameter.requires_grad
        assert torch.equal(parameter, before[name])
    for module in toy.module.modules():
        assert not module._forward_hooks
        assert not module._backward_hooks
        assert not module._forward_pre_hooks


def test_works_where_gradients_are_switched_off_and_parameters_frozen():
    toy, image = ConvToy(8), textured_image(8)
    segments = superpixels.grid(toy.input_size_hw, 20)
    (expected,) = _explain(toy, image, segments, num_samples=4)
    toy.module.requires_grad_(False)
    with torch.no_grad():
        (frozen,) = _explain(toy, image, segments, num_samples=4)
    np.testing.assert_array_equal(frozen.values, expected.values)


def test_segments_that_the_score_does_not_see_get_exactly_zero():
    linear = np.zeros(12)
    linear[3] = 0.02
    toy, image = PolynomialToy(linear), textured_image(9)
    (result,) = _explain(toy, image, toy.segments, num_samples=8)
    assert np.flatnonzero(result.values).tolist() == [3]
    assert not result.standard_errors[[0, 1, 2, 4]].any()


def test_result_records_what_it_depends_on():
    toy, image = _polynomial(0), textured_image(0)
    (result,) = _explain(toy, image, toy.segments, num_samples=4, levels="iid", seed=9)
    assert result.method == "e2x"
    assert dict(result.parameters) == {
        "num_samples": 4,
        "kind": "log_odds",
        "levels": "iid",
        "seed": 9,
    }
    scores = toy.scores(toy.preprocess([image]), [TARGET], ScoreKind.LOG_ODDS)
    assert result.score == pytest.approx(float(scores[0, 0]), rel=1e-5)
    assert result.baseline_score == pytest.approx(-np.log(1 + np.exp(-1)), rel=1e-5)


class _Broken(ToyDetector):
    def logits(self, inputs):
        size = (len(inputs), self.num_default_boxes, 3)
        return torch.full(size, float("nan")) * inputs.sum()


class _Constant(ToyDetector):
    def logits(self, inputs):
        return torch.zeros(len(inputs), self.num_default_boxes, 3)


@pytest.mark.parametrize("toy", [_Broken(), _Constant()], ids=["not finite", "no gradient"])
@pytest.mark.parametrize("name", ["e2x", "integrated_gradients"])
def test_a_detector_without_usable_gradients_is_refused(toy, name):
    with pytest.raises(ExplanationFailed):
        explain.get(name).explain(
            toy, textured_image(0), [TARGET], superpixels.grid(toy.input_size_hw, 6)
        )


@pytest.mark.parametrize("levels", ["grid", "midpoint", "jittered"])
def test_levels_are_one_permutation_a_segment(levels):
    weights = sample_levels(levels, 16, 50, np.random.default_rng(0))
    ordered = np.sort(weights, axis=0)
    assert weights.dtype == np.float32
    assert len({tuple(column) for column in np.argsort(weights, axis=0).T}) == 50
    if levels == "grid":
        np.testing.assert_allclose(ordered, (np.arange(16) / 15)[:, None].repeat(50, 1), atol=1e-6)
    else:  # one in each stratum
        np.testing.assert_array_equal(np.floor(ordered * 16), np.arange(16)[:, None].repeat(50, 1))


def test_impossible_parameters_are_refused():
    for bad in ({"num_samples": 1}, {"batch_size": 0}, {"levels": "sobol"}):
        with pytest.raises(ValueError, match=r"num_samples|levels"):
            E2X(**bad)

"""VEBI: the sparse fit, its features, its maps, and what it refuses."""

import dataclasses

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop
from torch import nn

from curation import superpixels
from curation.explain.methods import l1_ball, vebi, vebi_features
from curation.explain.methods.guided_backprop import make_guidable
from curation.explain.methods.l1_ball import descend, gaps, project_l1, solve
from curation.explain.methods.vebi import Vebi
from curation.explain.methods.vebi_ablation import _score_without, ablation_curve
from curation.explain.methods.vebi_examples import examples
from curation.explain.methods.vebi_features import FeatureModel, fit, responses
from curation.explain.methods.vebi_pictures import average_image, average_images, field_side
from curation.kernel.boxes import pairwise_iou
from curation.kernel.detector import Network
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import ScoreTarget, Truth
from services.config import explainers
from services.errors import InvalidRequest
from tests.oracles import vebi as oracle
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image

IMAGES = [textured_image(seed, 96, 96) for seed in range(3)]
BOXES = [np.array([[5, 5, 50, 60], [40, 30, 90, 90], [0, 50, 30, 96]], np.float32)] * 3
LABELS = [np.array([1, 2, 0]), np.array([2, 1, 0]), np.array([1, 1, 2])]
TARGETS = [ScoreTarget(40, 1), ScoreTarget(200, 2)]
SEGMENTS = superpixels.grid((96, 96), 24)


@pytest.fixture(scope="module")
def model():
    return fit(tiny_ssd(), IMAGES, BOXES, LABELS)


class AsLevels(nn.Module):
    """Layers as a backbone of one level."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, inputs):
        return {"0": self.layers(inputs)}


def num_hooks(module):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def test_projection_has_its_known_answers():
    rows = np.array([[3.0, 0.0], [0.2, -0.3], [2.0, -2.0], [0.0, 0.0]])
    expected = [[1.0, 0.0], [0.2, -0.3], [0.5, -0.5], [0.0, 0.0]]
    np.testing.assert_allclose(project_l1(rows, 1.0), expected, atol=1e-12)


def test_projection_agrees_with_bisection():
    rows = np.random.default_rng(0).normal(0, 2, (20, 30))
    expected = [oracle.project(row, 4.0) for row in rows]
    np.testing.assert_allclose(project_l1(rows, 4.0), expected, atol=1e-9)


@pytest.mark.parametrize("mu", [0.5, 2.0])
def test_the_fit_agrees_with_coordinate_descent(mu):
    rng = np.random.default_rng(1)
    features = rng.random((30, 6))
    wanted = (rng.random((30, 2)) < 0.4).astype(float)
    weights = solve(features, wanted, mu)
    for k in range(2):
        slow = oracle.constrained(features, wanted[:, k], mu)
        errors = [np.sum((features @ w - wanted[:, k]) ** 2) for w in (weights[k], slow)]
        assert np.abs(weights[k]).sum() <= mu + 1e-9
        assert errors[0] == pytest.approx(errors[1], rel=1e-6)
        np.testing.assert_allclose(weights[k], slow, atol=1e-5)


def test_the_path_and_the_descent_reach_the_same_least_error():
    rng = np.random.default_rng(3)
    features = rng.random((40, 120)) / 60
    wanted = np.eye(3)[rng.integers(0, 3, 40)]
    wanted[:, 2] = 0
    for mu in (5.0, 60.0):
        exact = solve(features, wanted, mu)
        np.testing.assert_allclose(np.abs(exact).sum(axis=1)[:2], mu)
        assert not exact[2].any()
        assert np.abs(gaps(features, wanted, exact, mu)).max() < 1e-9
        near = descend(features, wanted, mu, np.zeros((3, 120)))
        least, reached = (((features @ w.T - wanted) ** 2).sum(axis=0) for w in (exact, near))
        assert (reached <= least + 1e-4 * (wanted**2).sum(axis=0) + 1e-9).all()


def test_within_a_wide_ball_the_fit_is_that_of_least_squares():
    rng = np.random.default_rng(4)
    features, wanted = rng.random((30, 5)), rng.random((30, 2))
    expected = np.linalg.lstsq(features, wanted, rcond=None)[0].T
    np.testing.assert_allclose(solve(features, wanted, 1e3), expected, atol=1e-8)


def test_a_path_that_breaks_off_is_mended(monkeypatch):
    rng = np.random.default_rng(5)
    features, wanted = rng.random((30, 6)), np.eye(2)[rng.integers(0, 2, 30)]
    expected = solve(features, wanted, 1.0)
    monkeypatch.setattr(l1_ball, "_along_path", lambda inner, pull, mu: np.zeros(len(pull)))
    found = solve(features, wanted, 1.0)
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_doubled_features_and_empty_ones_do_no_harm():
    rng = np.random.default_rng(6)
    features = rng.random((30, 6))
    features[:, 3], features[:, 5] = features[:, 2], 0
    wanted = np.eye(2)[rng.integers(0, 2, 30)]
    weights = solve(features, wanted, 1.0)
    assert (gaps(features, wanted, weights, 1.0) <= 1e-4 * (wanted**2).sum(axis=0)).all()
    assert not weights[:, 5].any()


def test_planted_features_are_found():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 120)
    features = rng.random((120, 200)) * 0.02
    for k in range(3):
        features[labels == k, 10 * k : 10 * k + 2] += 0.2
    weights = solve(features, np.eye(3)[labels], 10.0)
    for k in range(3):
        assert set(np.argsort(-weights[k])[:2]) == {10 * k, 10 * k + 1}


def test_responses_agree_with_loops_and_touch_one_cell_at_least():
    feature_map = torch.rand(1, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    boxes = np.array([[10.0, 20.0, 50.0, 55.0], [33.0, 1.0, 34.0, 2.0]])
    found = responses([feature_map], boxes / (80, 60, 80, 60))
    expected = [oracle.responses(feature_map[0].numpy(), box, (60, 80)) for box in boxes]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    beyond = responses([feature_map], np.array([[1.0, 1.0, 1.0, 1.0]]))
    corner = feature_map[0, :, -1, -1].numpy()
    np.testing.assert_allclose(beyond[0], corner / corner.sum(), rtol=1e-6)


def test_guided_rectifiers_agree_with_captum():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU6(), nn.Conv2d(8, 2, 3), nn.ReLU())
    whole = nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    make_guidable(whole)
    x = torch.randn(1, 3, 12, 12, requires_grad=True)
    with pytest.warns(UserWarning, match="hooks"):
        expected = GuidedBackprop(whole).attribute(x, target=1).detach()
    vebi._guide(whole)
    (found,) = torch.autograd.grad(whole(x)[0, 1], x)
    assert found.any()
    torch.testing.assert_close(found, expected)


def test_a_map_has_the_relevance_of_its_features_as_sum(model):
    detector, image = tiny_ssd(), IMAGES[0]
    for target in TARGETS:
        (one,) = Vebi(model, num_features=1).explain(detector, image, [target], SEGMENTS)
        (more,) = Vebi(model, num_features=4).explain(detector, image, [target], SEGMENTS)
        network = detector.network().copy()
        maps = vebi_features.activations(network, model.layers, detector.preprocess([image]))
        box = vebi_features.shares(vebi.target_boxes(detector, image, [target]), image)
        relevance = model.weights[target.label] * responses(maps, box)[0]
        strongest = relevance[np.argsort(-np.abs(relevance))]
        assert one.pixels.sum() == pytest.approx(strongest[0], rel=1e-4)
        assert more.pixels.sum() == pytest.approx(strongest[:4].sum(), rel=1e-3)
        assert np.sign(one.pixels).min() * np.sign(one.pixels).max() >= 0
        blocks = one.pixels.reshape(24, 4, 24, 4)
        assert np.ptp(blocks, axis=(1, 3)).max() == 0


def test_alone_as_in_a_batch_and_the_same_again(model):
    explainer = Vebi(model, num_features=3)
    both = explainer.explain(tiny_ssd(), IMAGES[1], TARGETS, SEGMENTS)
    for target, found in zip(TARGETS, both, strict=True):
        (alone,) = explainer.explain(tiny_ssd(), IMAGES[1], [target], SEGMENTS)
        np.testing.assert_array_equal(alone.pixels, found.pixels)


def test_removing_relevant_channels_lowers_a_score_that_stands_on_them():
    """A model that names the channels of a head with the greatest say for the class."""
    detector, target = tiny_ssd(), ScoreTarget(40, 1)
    network = detector.network().copy()
    x = detector.preprocess(IMAGES[:1])
    names = vebi_features.layer_names(network, x)
    maps = vebi_features.activations(network, names, x)
    place = network.place(target.default_box)
    ((layer, feature_map),) = [
        (i, m) for i, m in enumerate(maps) if torch.equal(m, network.maps(x)[place.level])
    ]
    feature_map = feature_map.detach().requires_grad_(True)
    inputs = [feature_map if i == place.level else m for i, m in enumerate(network.maps(x))]
    logits = network.class_logits(inputs, place)[0]
    log_odds = logits[1] - logits[[0, 2]].logsumexp(0)
    (slope,) = torch.autograd.grad(log_odds, feature_map)
    gain = (slope * feature_map).sum(dim=(0, 2, 3)).detach().numpy()
    sizes = tuple(m.shape[1] for m in maps)
    weights = np.zeros((3, sum(sizes)), np.float32)
    weights[1, sum(sizes[:layer]) : sum(sizes[: layer + 1])] = np.where(gain > 0, gain, 0)
    planted = FeatureModel(detector.version, names, sizes, weights, 10.0, 1)
    relevant, random = ablation_curve(detector, planted, IMAGES[0], target, (0, 5, 20))
    assert relevant[0] == random[0] == pytest.approx(float(log_odds.detach()), rel=1e-4)
    assert relevant[2] < relevant[1] < relevant[0]
    assert relevant[2] < random[2] - 0.1


def test_average_image_of_one_crop_is_that_crop(model):
    feature = int(model.relevant(1)[0])
    one = average_image(tiny_ssd(), model, IMAGES[:1], [BOXES[0][:1]], feature)
    side = len(one)
    windows = np.lib.stride_tricks.sliding_window_view(IMAGES[0], (side, side), axis=(0, 1))
    assert (windows.transpose(0, 1, 3, 4, 2) == one).all(axis=(2, 3, 4)).any()
    few = average_image(tiny_ssd(), model, IMAGES, BOXES, feature, num_crops=2)
    assert few.shape == one.shape
    with pytest.raises(ExplanationFailed, match="no box"):
        average_image(tiny_ssd(), model, IMAGES[:1], [BOXES[0][:0]], feature)


def test_a_saved_model_explains_the_same_also_from_the_command_line(model, tmp_path):
    model.save(tmp_path / "model.npz")
    again = explainers.make("vebi", {"model": str(tmp_path / "model.npz"), "num_features": "2"})
    assert again.parameters == Vebi(model, num_features=2).parameters
    assert (again.model.layers, again.model.channels) == (model.layers, model.channels)
    np.testing.assert_array_equal(again.model.weights, model.weights)
    assert sum(model.channels) == model.weights.shape[1]
    with pytest.raises(InvalidRequest, match="nothing"):
        explainers.make("vebi", {"model": str(tmp_path / "nothing.npz")})
    (tmp_path / "cut.npz").write_bytes((tmp_path / "model.npz").read_bytes()[:200])
    with pytest.raises(ExplanationFailed, match="fit it again"):
        FeatureModel.load(tmp_path / "cut.npz")


def test_a_model_of_another_detector_is_refused(model):
    other = dataclasses.replace(model, version="another")
    for call in (
        lambda: Vebi(other).explain(tiny_ssd(), IMAGES[0], TARGETS, SEGMENTS),
        lambda: ablation_curve(tiny_ssd(), other, IMAGES[0], TARGETS[0]),
        lambda: average_image(tiny_ssd(), other, IMAGES, BOXES, 0),
    ):
        with pytest.raises(ExplanationFailed, match="fit one on this detector"):
            call()


def test_a_map_without_a_model_says_what_it_is():
    (found,) = Vebi(num_features=1).explain(tiny_ssd(), IMAGES[0], TARGETS[:1], SEGMENTS)
    assert "own boxes" in found.notes[-1]
    assert found.pixels.any()


def test_no_hook_is_left_behind_also_after_an_exception(model):
    network = tiny_ssd().network()
    x = tiny_ssd().preprocess(IMAGES[:1])
    vebi_features.activations(network, model.layers, x)
    assert num_hooks(network.backbone) == 0
    with pytest.raises(RuntimeError):
        vebi_features.activations(network, model.layers, x[:, :2])
    with pytest.raises(RuntimeError):
        _score_without(network, model, np.arange(3), x[:, :2], TARGETS[0], Vebi().kind)
    assert num_hooks(network.backbone) == num_hooks(network.class_heads) == 0


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="num_features"):
        Vebi(num_features=0)
    with pytest.raises(ExplanationFailed, match="no box"):
        fit(tiny_ssd(), IMAGES[:1], [BOXES[0][:0]], [LABELS[0][:0]])


def test_a_field_is_measured_through_closed_activations():
    backbone = nn.Sequential()
    for i in range(3):
        backbone.append(nn.Conv2d(3 if i == 0 else 4, 4, 3, padding=1))
        nn.init.constant_(backbone[-1].weight, 5.0)  # far above the ceiling of a ReLU6
        backbone.append(nn.ReLU6(inplace=True))
    network = Network(
        AsLevels(backbone), nn.ModuleList(), nn.ModuleList(), (), 2, torch.zeros(2, 3)
    )
    x = torch.rand(1, 3, 21, 21, generator=torch.Generator().manual_seed(0)) + 1
    for name, side in (("layers.1", 3), ("layers.3", 5), ("layers.5", 7)):
        assert field_side(network, name, x, (0, 10, 10), share=1.0) == side
    assert field_side(network, "layers.5", x, (0, 10, 10), share=0.5) < 7
    assert isinstance(backbone[1], nn.ReLU6)


def test_examples_are_objects_background_and_what_was_missed():
    detector = tiny_ssd()
    (found,) = detector.predict(IMAGES[:1], 0.5)
    seen, lost = found.boxes_xyxy[0], np.array([2.0, 2.0, 5.0, 94.0], np.float32)
    truth = Truth(np.array([lost, seen, lost]), np.array([1, found.labels[0], 2]), np.eye(3)[2] > 0)
    boxes, labels, missed = examples(detector, IMAGES[:1], [truth], num_background=4)
    np.testing.assert_array_equal(boxes[0][:2], [lost, seen])
    assert labels[0].tolist()[:2] == [1, found.labels[0]]
    assert missed[0].tolist()[:2] == [True, False]
    assert len(boxes[0]) == len(labels[0]) == len(missed[0]) > 2
    assert not labels[0][2:].any()
    assert not missed[0][2:].any()
    assert pairwise_iou(boxes[0][2:], truth.boxes_xyxy).max() <= 0.1
    model = fit(detector, IMAGES[:1], boxes, labels, missed=missed)
    assert len(model.weights) == len(detector.class_names) + 1
    assert model.weights[-1].any()


def test_many_average_images_in_one_pass_are_those_of_each_alone(model):
    """And no more than one image is held at a time."""

    class Lazy:
        held = 0

        def __len__(self):
            return len(IMAGES)

        def __getitem__(self, number):
            Lazy.held += 1
            return IMAGES[number].copy()

    features = [int(model.relevant(label)[0]) for label in (1, 2)]
    together = average_images(tiny_ssd(), model, Lazy(), BOXES, features, num_crops=4)
    for feature, found in zip(features, together, strict=True):
        alone = average_image(tiny_ssd(), model, IMAGES, BOXES, feature, num_crops=4)
        np.testing.assert_allclose(found, alone, atol=1e-3)
    assert Lazy.held <= 2 * len(IMAGES) + len(features)


def test_a_feature_model_of_bytes_is_the_one_of_the_file(model, tmp_path):
    model.save(tmp_path / "model.npz")
    again = FeatureModel.of_bytes(model.to_bytes(), "somewhere")
    assert again.fingerprint == FeatureModel.load(tmp_path / "model.npz").fingerprint
    with pytest.raises(ExplanationFailed, match="somewhere: no feature model"):
        FeatureModel.of_bytes(b"none", "somewhere")

"""The detector protocol: equal to torchvision's own outputs, explainable, batch-independent."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import ScoreTarget
from retrain.detector import SsdDetector
from retrain.fold import folded


def takes_a_detector(detector: Detector) -> Detector:
    return detector


def test_the_warmed_model_is_alive(detector, pictures):
    takes_a_detector(detector)
    proposals = detector.propose(pictures)[0]
    assert proposals.probabilities.std(axis=0).min() > 0.01
    assert sum(len(found) for found in detector.predict(pictures)) > 20


def test_predict_equals_torchvision(model, detector, pictures):
    own = detector.predict(pictures, score_threshold=0.01)
    tensors = [torch.from_numpy(p.copy()).permute(2, 0, 1) / 255 for p in pictures]
    with torch.no_grad():
        theirs = model(tensors)
    for found, expected in zip(own, theirs, strict=True):
        assert len(found) == len(expected["scores"]) > 0
        order = np.lexsort((found.boxes_xyxy[:, 0], -found.scores.round(3)))
        other = np.lexsort((expected["boxes"][:, 0].numpy(), -expected["scores"].numpy().round(3)))
        np.testing.assert_allclose(
            found.scores[order], expected["scores"].numpy()[other], atol=2e-3
        )
        np.testing.assert_allclose(found.scores, expected["scores"].numpy(), atol=1e-4)
        assert (found.labels == expected["labels"].numpy()).mean() > 0.98  # near ties may swap


def test_one_look_is_a_prediction_and_proposals_from_one_pass(detector, pictures):
    passes = []
    hook = detector.model.head.register_forward_hook(lambda *_: passes.append(1))
    looked = detector.look(pictures, 0.05)
    hook.remove()
    assert len(passes) == 1
    pairs = zip(looked, detector.predict(pictures, 0.05), detector.propose(pictures), strict=True)
    for (found, all_boxes), predicted, proposed in pairs:
        for name in ("boxes_xyxy", "scores", "labels", "default_boxes"):
            assert (getattr(found, name) == getattr(predicted, name)).all()
        assert (all_boxes.boxes_xyxy == proposed.boxes_xyxy).all()
        assert (all_boxes.probabilities == proposed.probabilities).all()


def test_the_network_gives_the_scores_of_every_default_box(detector, pictures):
    network = detector.network()
    inputs = detector.preprocess(pictures)
    low, high = network.pixel_range
    assert (inputs >= low[:, None, None] - 1e-4).all()
    assert (inputs <= high[:, None, None] + 1e-4).all()
    with torch.no_grad():
        maps = network.copy().maps(inputs)
        expected = detector.model.head(maps)
        for row in np.linspace(0, detector.num_default_boxes - 1, 40).astype(int):
            place = network.place(int(row))
            torch.testing.assert_close(
                network.class_logits(maps, place), expected["cls_logits"][:, row]
            )
            torch.testing.assert_close(
                network.box_offsets(maps, place), expected["bbox_regression"][:, row]
            )
    with pytest.raises(ValueError, match="no default box"):
        network.place(detector.num_default_boxes)


def test_each_detection_names_its_default_box(detector, pictures):
    large = [np.kron(picture, np.ones((2, 3, 1), np.uint8)) for picture in pictures]
    for found, proposals in zip(detector.predict(large), detector.propose(large), strict=True):
        rows = found.default_boxes
        np.testing.assert_allclose(found.boxes_xyxy, proposals.boxes_xyxy[rows], atol=1e-3)
        np.testing.assert_allclose(
            found.scores, proposals.probabilities[rows, found.labels], atol=1e-5
        )
        assert proposals.boxes_xyxy[:, 2].max() <= 96 * 3
        assert (np.diff(found.scores) <= 0).all()


@pytest.fixture(scope="module")
def targets(detector):
    rows = np.linspace(0, detector.num_default_boxes - 1, 9).astype(int)
    return [ScoreTarget(int(row), label) for row in rows for label in (1, 2)]


def test_scores_equal_the_proposals(detector, pictures, targets):
    inputs = detector.preprocess(pictures)
    proposals = detector.propose(pictures)
    probability = detector.scores(inputs, targets, ScoreKind.PROBABILITY)
    assert probability.shape == (len(pictures), len(targets))
    for row, proposal in enumerate(proposals):
        expected = [proposal.probabilities[t.default_box, t.label] for t in targets]
        np.testing.assert_allclose(probability[row].numpy(), expected, atol=1e-5)
    log_odds = detector.scores(inputs, targets, ScoreKind.LOG_ODDS)
    torch.testing.assert_close(log_odds, torch.logit(probability), rtol=1e-3, atol=1e-3)


def test_logits_of_one_box_differ_by_the_log_of_their_probabilities(detector, pictures):
    inputs = detector.preprocess(pictures)
    pair = [ScoreTarget(7, 1), ScoreTarget(7, 2)]
    logits = detector.scores(inputs, pair, ScoreKind.LOGIT)
    ratio = detector.scores(inputs, pair, ScoreKind.PROBABILITY).log()
    torch.testing.assert_close(
        logits[:, 0] - logits[:, 1], ratio[:, 0] - ratio[:, 1], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("kind", list(ScoreKind))
def test_gradient_reaches_the_input_and_no_parameter(detector, pictures, targets, kind):
    inputs = detector.preprocess(pictures[:2]).requires_grad_()
    detector.scores(inputs, targets, kind)[0].sum().backward()
    assert inputs.grad is not None
    assert float(inputs.grad[0].abs().max()) > 0
    assert float(inputs.grad[1].abs().max()) == 0  # rows do not mix
    assert all(not p.requires_grad and p.grad is None for p in detector.model.parameters())


def test_gradient_agrees_with_a_difference(detector, pictures):
    target, step = [ScoreTarget(40, 1)], 1e-2
    inputs = detector.preprocess(pictures[:1])
    direction = torch.sign(torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0)))
    direction = torch.nn.functional.avg_pool2d(direction, 9, 1, 4)
    probe = inputs.clone().requires_grad_()
    detector.scores(probe, target, ScoreKind.LOG_ODDS).sum().backward()
    slope = float((probe.grad * direction).sum())
    ahead = detector.scores(inputs + step * direction, target, ScoreKind.LOG_ODDS)
    behind = detector.scores(inputs - step * direction, target, ScoreKind.LOG_ODDS)
    assert slope == pytest.approx(float(ahead - behind) / (2 * step), rel=0.1, abs=1e-3)


def test_alone_equals_in_a_batch(detector, pictures, targets):
    together = detector.scores(detector.preprocess(pictures), targets, ScoreKind.LOG_ODDS)
    for row, picture in enumerate(pictures):
        alone = detector.scores(detector.preprocess([picture]), targets, ScoreKind.LOG_ODDS)
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-4)
    first = detector.predict(pictures)[3]
    only = detector.predict([pictures[3]])[0]
    np.testing.assert_allclose(first.scores, only.scores, atol=1e-5)


def test_zero_is_the_mean_colour(detector):
    mean = (np.array(detector.model.transform.image_mean) * 255).round().astype(np.uint8)
    flat = np.broadcast_to(mean, (200, 300, 3))
    assert float(detector.preprocess([flat]).abs().max()) < 0.01


def test_unknown_targets_are_refused(detector, pictures):
    inputs = detector.preprocess(pictures[:1])
    with pytest.raises(ValueError, match="default boxes"):
        detector.scores(inputs, [ScoreTarget(10**6, 1)], ScoreKind.LOGIT)
    with pytest.raises(ValueError, match="labels"):
        detector.scores(inputs, [ScoreTarget(0, 9)], ScoreKind.LOGIT)
    assert detector.scores(inputs, [], ScoreKind.LOGIT).shape == (1, 0)
    assert detector.predict([]) == []


def test_folding_changes_nothing_but_the_layers(model, config, pictures, detector):
    plain = sum(isinstance(m, torch.nn.BatchNorm2d) for m in model.modules())
    left = sum(isinstance(m, torch.nn.BatchNorm2d) for m in detector.model.modules())
    assert plain > 50
    assert left == 0
    again = folded(model, config.input_size_hw)
    inputs = detector.preprocess(pictures)
    with torch.no_grad():
        before = model.head.classification_head(list(model.backbone(inputs).values()))
        after = again.head.classification_head(list(again.backbone(inputs).values()))
    torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-3)


def test_folding_gives_way_where_the_logits_would_differ(model, config):
    broken = copy.deepcopy(model)
    stem = broken.backbone.stages[0]
    stem.bn1.register_forward_hook(lambda module, inputs, output: output * 1.5)
    kept = folded(broken, config.input_size_hw)
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in kept.modules())


def test_version_follows_weights_and_configuration(model, config, detector):
    assert SsdDetector(model, config).version == detector.version
    assert SsdDetector(model, replace(config, nms_iou=0.6)).version != detector.version
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.parameters())[0, 0, 0, 0] += 1e-3
    assert SsdDetector(other, config).version != detector.version
    assert not any(p.grad is not None for p in model.parameters())

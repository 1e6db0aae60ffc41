"""CRP: against its slow twin, what the contrast sums to, and that it tells classes apart."""

import numpy as np
import pytest
import torch

from curation import superpixels
from curation.explain.methods import crp as module
from curation.explain.methods.crp import Crp
from curation.explain.methods.lrp import Lrp
from curation.explain.methods.sweep import layer_statistics
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import ScoreTarget
from tests.oracles import lrp as oracle
from tests.small_ssd import SmallSsd
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image

SMALL_IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
COARSE = ScoreTarget(32 + 3, 1)


def explain(method, detector, image, targets):
    segments = superpixels.grid(detector.input_size_hw, 6)
    return method.explain(detector, image, targets, segments)


def contrast_oracle(detector, target, output, background):
    """[C, fh, fw] Q from the text of the method, in float64, and the sign of the offset."""
    network = detector.network()
    place = network.place(target.default_box)
    x = network.maps(detector.preprocess([SMALL_IMAGE]))[place.level][0].double().numpy()

    def relevance(head, which, per_box, side=None):
        matrix, shape = oracle.dense(head.weight.double().numpy(), x.shape, padding=head.padding[0])
        bias = np.repeat(head.bias.double().numpy(), x.shape[1] * x.shape[2])
        seed = np.zeros(shape)
        here = place.shape * per_box + which, place.row, place.column
        seed[here] = 1
        value = (matrix @ x.ravel() + bias).reshape(shape)[here]
        side = side or (1 if value > 0 else -1)
        below = oracle.alpha_beta(x.ravel(), matrix, bias, seed.ravel(), 1, 0, side)
        return below.reshape(x.shape), side

    classes = range(0 if background else 1, network.num_classes)
    head = network.class_heads[place.level]
    of_class = {k: relevance(head, k, network.num_classes, 1)[0] for k in range(4)}
    if output == "class":
        others = [of_class[k] for k in classes if k != target.label]
        return of_class[target.label] - np.mean(others, axis=0), 1
    index = ("cx", "cy", "w", "h").index(output)
    own, sign = relevance(network.box_heads[place.level], index, 4)
    return own - np.mean([of_class[k] for k in classes], axis=0), sign


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("output", ["class", "cx", "cy", "w", "h"])
def test_the_contrast_agrees_with_its_slow_twin_and_sums_to_zero(output, background):
    detector, method = SmallSsd(), Crp(output=output, background=background)
    ready = method.prepare(detector.network())
    maps = ready.maps(detector.preprocess([SMALL_IMAGE]))
    for target in (ScoreTarget(13, 2), COARSE, ScoreTarget(38, 3)):
        place = ready.network.place(target.default_box)
        seed = method.seed(ready, maps[place.level], place, target.label)
        found = (seed.gradient * maps[place.level])[0].double().numpy()
        expected, sign = contrast_oracle(detector, target, output, background)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert found.sum() == pytest.approx(0, abs=1e-5)
        assert np.abs(found).max() > 1e-3
        if output != "class":
            way, side = ("above", "+") if sign > 0 else ("below", "-")
            assert seed.notes == (f"raw {output} is {way} zero: w{side} rule",)


def test_both_rules_of_the_sign_are_taken_somewhere():
    notes = [
        note
        for output in ("cx", "cy", "w", "h")
        for found in explain(Crp(output=output), SmallSsd(), SMALL_IMAGE, [COARSE])
        for note in found.notes
    ]
    assert any("w+ rule" in note for note in notes)
    assert any("w- rule" in note for note in notes)


def test_the_map_is_the_difference_of_two_w_plus_maps():
    detector, target = SmallSsd(), ScoreTarget(COARSE.default_box, 2)
    (found,) = explain(Crp(), detector, SMALL_IMAGE, [target])
    maps = {
        k: explain(Lrp("alpha_beta"), detector, SMALL_IMAGE, [ScoreTarget(35, k)])[0].pixels
        for k in (1, 2, 3)
    }
    # w+ is linear in the relevance, so the contrast can be taken at either end
    expected = maps[2] - (maps[1] + maps[3]) / 2
    np.testing.assert_allclose(found.pixels, expected, atol=1e-4 * np.abs(maps[2]).max())


@pytest.mark.parametrize(
    "detector", [("ssd300_vgg16", (64, 64)), ("ssdlite_efficientnet_lite0", (96, 96))]
)
def test_classes_differ_under_crp_and_hardly_under_w_plus(detector):
    detector, image = tiny_ssd(*detector), textured_image(1)
    box = detector.num_default_boxes - 1
    targets = [ScoreTarget(box, 1), ScoreTarget(box, 2)]

    def alike(method):
        first, second = explain(method, detector, image, targets)
        return np.corrcoef(first.pixels.ravel(), second.pixels.ravel())[0, 1]

    assert alike(Lrp("alpha_beta")) > 0.8
    assert alike(Crp()) < -0.99  # with two classes one map is the other's negative


def test_a_single_class_is_contrasted_with_background():
    detector = SmallSsd()
    for part in detector.parts[1]:
        part.weight = torch.nn.Parameter(part.weight[:4], requires_grad=False)
        part.bias = torch.nn.Parameter(part.bias[:4], requires_grad=False)
    network = detector.network()
    one = type(network)(*detector.parts, detector.boxes, network.cells, 2, network.pixel_range)
    method = Crp()
    ready = method.prepare(one)
    maps = ready.maps(detector.preprocess([SMALL_IMAGE]))
    place = one.place(35)
    seed = method.seed(ready, maps[1], place, 1)
    assert float((seed.gradient * maps[1]).abs().max()) > 1e-3


def test_notes_of_a_target_do_not_depend_on_those_before_it():
    detector, targets = SmallSsd(), [COARSE, ScoreTarget(26, 2), COARSE]
    together = explain(Crp(), detector, SMALL_IMAGE, targets)
    alone = [explain(Crp(), detector, SMALL_IMAGE, [target])[0] for target in targets]
    assert [found.notes for found in together] == [found.notes for found in alone]
    assert len(together[0].notes) > len(together[1].notes)


def test_statistics_start_almost_symmetric_about_zero():
    rows = layer_statistics(Crp(), SmallSsd(), SMALL_IMAGE, COARSE)
    assert rows[0].layer == "feature map"
    assert rows[0].smallest < 0 < rows[0].largest
    assert all(abs(row.total) < 1e-3 for row in rows[:2])
    plain = layer_statistics(Lrp("alpha_beta"), SmallSsd(), SMALL_IMAGE, COARSE)
    assert [row.layer for row in rows] == [row.layer for row in plain]


def test_gates_are_refused_and_an_error_leaves_no_trace(monkeypatch):
    with pytest.raises(ExplanationFailed, match="Hardswish"):
        explain(Crp(), tiny_ssd("ssdlite320_mobilenet_v3_large"), textured_image(1), [COARSE])
    detector = SmallSsd()
    (before,) = explain(Crp(), detector, SMALL_IMAGE, [COARSE])
    state = {k: v.clone() for k, v in detector.parts[0].state_dict().items()}

    def broken(*_):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(module, "_through", broken)
        with pytest.raises(RuntimeError, match="memory"):
            explain(Crp(), detector, SMALL_IMAGE, [COARSE])
    for key, value in detector.parts[0].state_dict().items():
        assert torch.equal(value, state[key])
    assert not any(m._forward_hooks or m._backward_hooks for m in detector.parts[0].modules())
    assert not any(p.requires_grad for p in detector.parts[0].parameters())
    (after,) = explain(Crp(), detector, SMALL_IMAGE, [COARSE])
    np.testing.assert_array_equal(before.pixels, after.pixels)


def test_wrong_parameters_are_refused():
    with pytest.raises(ValueError, match="depth"):
        Crp(output="depth")  # type: ignore[arg-type]  # what a setting could hold
    with pytest.raises(ValueError, match="w2"):
        Crp(first="w2")  # type: ignore[arg-type]  # likewise

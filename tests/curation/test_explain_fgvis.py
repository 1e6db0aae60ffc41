"""FGVis: the game against its slow twin, the defence, and what is left behind."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from curation import superpixels
from curation.explain.checks.colour import channel_swaps
from curation.explain.checks.fgvis_checks import deletion_curve, driven_to
from curation.explain.methods import fgvis
from curation.explain.methods.fgvis import FGVis, optimise
from curation.explain.methods.fgvis_defence import Defended, defend
from curation.kernel.detector import Network, ScoreKind
from curation.kernel.errors import ExplanationFailed
from curation.kernel.types import ScoreTarget, Truth
from tests.oracles import fgvis as oracle
from tests.tiny_ssd import tiny_ssd
from tests.toy import PolynomialToy, textured_image

IMAGE = textured_image(3, 160, 120)
TARGETS = [ScoreTarget(40, 1), ScoreTarget(300, 2), ScoreTarget(700, 1)]


class PixelBackbone(nn.Module):
    """One feature map of the input's size; each cell sees one pixel."""

    def __init__(self, weights: torch.Tensor) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, len(weights), 1, bias=False), nn.ReLU(True))
        self.layers[0].weight.data = weights[:, :, None, None]

    def forward(self, inputs: torch.Tensor) -> OrderedDict[str, torch.Tensor]:
        return OrderedDict(only=self.layers(inputs))


def pixel_network(first: torch.Tensor, second: torch.Tensor) -> Network:
    head = nn.Conv2d(second.shape[1], len(second), 1, bias=False)
    head.weight.data = second[:, :, None, None]
    parts = PixelBackbone(first).requires_grad_(False), nn.ModuleList([head.requires_grad_(False)])
    ends = torch.tensor([[-1.0] * 3, [1.0] * 3])
    return Network(parts[0], parts[1], nn.ModuleList(), ((2, 2, 1),), len(second), ends)


@pytest.mark.parametrize("defence", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 4])
def test_the_deletion_game_agrees_with_its_slow_twin(seed: int, defence: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    second = torch.randn(3, 5, generator=generator, dtype=torch.float64) * 2
    x = torch.randn(1, 3, 2, 2, generator=generator, dtype=torch.float64)
    rules = FGVis(num_steps=7, learning_rate=0.07, stop_ratio=0.3, defence=defence)
    (mask,) = optimise(pixel_network(first, second).copy(), x, [ScoreTarget(2, 1)], rules).masks
    expected = oracle.deletion(
        x[0, :, 1, 0].tolist(), first.tolist(), second.tolist(), 1, 7, 0.07, 0.3, defence
    )
    assert min(expected) < 1
    np.testing.assert_allclose(mask[:, 1, 0], expected, atol=1e-6)
    untouched = torch.ones_like(mask, dtype=torch.bool)
    untouched[:, 1, 0] = False
    assert (mask[untouched] == 1).all()


def test_the_gradient_stops_where_the_image_has_no_such_activation() -> None:
    guard = Defended(nn.Hardswish())
    guard.learns = True
    guard(torch.tensor([1.0, -1.0, 2.0, -2.0]))
    guard.learns = False
    inputs = torch.tensor([0.5, -1.5, 3.0, 1.0], requires_grad=True)
    guard(inputs).sum().backward()
    # h(1) = 2/3 bounds the first; h(-1) = -1/3 and h(-1.5) = -3/8 lies below it; h(3) > h(2);
    # a positive value where the image has a negative one
    assert (inputs.grad != 0).tolist() == [True, False, False, False]


def test_rows_of_a_batch_do_not_know_of_each_other() -> None:
    detector = tiny_ssd()
    x = detector.preprocess([IMAGE])
    rules = FGVis(num_steps=3)
    together = optimise(detector.network(), x, TARGETS, rules).masks
    for row, target in enumerate(TARGETS):
        (alone,) = optimise(detector.network(), x, [target], rules).masks
        assert (alone - together[row]).abs().mean() < 1e-3
    again = optimise(detector.network(), x, TARGETS, rules).masks
    assert torch.equal(again, together)


def test_the_game_lowers_the_score_more_than_chance() -> None:
    detector, target = tiny_ssd(), TARGETS[1]
    segments = superpixels.grid(detector.input_size_hw, 9)
    (found,) = FGVis(num_steps=12).explain(detector, IMAGE, [target], segments)
    assert found.pixels is not None
    assert found.pixels.min() >= 0
    assert found.pixels.max() <= 1
    x = detector.preprocess([IMAGE])
    (mask,) = optimise(detector.network(), x, [target], FGVis(num_steps=12)).masks
    shuffled = mask.flatten()[torch.randperm(mask.numel(), generator=torch.manual_seed(0))]
    both = torch.stack([mask, shuffled.view_as(mask)]) * x
    own, chance = detector.scores(both, [target], ScoreKind.LOG_ODDS)[:, 0].tolist()
    assert own < min(found.score, chance) - 0.5


def test_a_probability_below_the_smallest_float_has_a_share_left() -> None:
    network = pixel_network(torch.tensor([[100.0, 0, 0]]), torch.tensor([[0.0], [-3.0], [0.0]]))
    played = optimise(network, torch.ones(1, 3, 2, 2), [ScoreTarget(0, 1)], FGVis(num_steps=2))
    assert played.shares.tolist() == [1]


def test_deletion_removes_the_strongest_pixels_first() -> None:
    toy = PolynomialToy(np.arange(1.0, 7.0) / 50)
    image, target = textured_image(2), ScoreTarget(0, 1)
    x = toy.preprocess([image])[0]  # [3, h, w]
    share = toy.linear[torch.from_numpy(toy.segments).long()] * x.sum(0)  # [h, w]
    curve = deletion_curve(toy, image, target, share.numpy(), 6, ScoreKind.LOGIT)
    ordered = share.flatten().sort(descending=True).values
    expected = [ordered[round(len(ordered) * point / 6) :].sum() for point in range(7)]
    np.testing.assert_allclose(curve, expected, atol=1e-3)
    assert curve[-1] == 0
    assert curve.argmin() > 0


def test_preservation_keeps_the_score_with_less_of_the_image() -> None:
    detector, segments = tiny_ssd(), superpixels.grid((96, 96), 9)
    # seen for sure, and not in any image: an empty one loses them
    targets = [ScoreTarget(785, 1), ScoreTarget(641, 1), ScoreTarget(797, 1), TARGETS[1]]
    x = detector.preprocess([IMAGE])
    rules = FGVis(game="preservation", num_steps=20)
    masks = optimise(detector.network(), x, targets, rules).masks
    for target, mask in zip(targets, masks, strict=True):
        order = torch.randperm(mask.numel(), generator=torch.manual_seed(0))
        shuffled = mask.flatten()[order]
        views = torch.stack([torch.ones_like(mask), mask, shuffled.view_as(mask)]) * x
        whole, own, chance = detector.scores(views, [target], ScoreKind.LOG_ODDS)[:, 0].tolist()
        assert mask.mean() < 0.9
        assert own > whole - 0.11
        assert own > chance + 0.3
    found = rules.explain(detector, IMAGE, targets, segments)
    for result, mask in zip(found, masks, strict=True):
        np.testing.assert_allclose(result.pixels, mask.mean(dim=0), atol=1e-3)
        assert result.notes == ()


def test_a_deletion_that_does_not_reach_its_end_says_so() -> None:
    detector, target = tiny_ssd(), TARGETS[1]
    segments = superpixels.grid(detector.input_size_hw, 9)
    (short,) = FGVis(num_steps=1).explain(detector, IMAGE, [target], segments)
    assert "of the image's, not below 10 %" in short.notes[0]
    x = detector.preprocess([IMAGE])
    mask, share = (
        part[0] for part in optimise(detector.network(), x, [target], FGVis(num_steps=1))
    )
    both = torch.stack([mask, torch.ones_like(mask)]) * x
    left, whole = detector.scores(both, [target], ScoreKind.PROBABILITY)[:, 0].tolist()
    assert float(share) == pytest.approx(left / whole, rel=1e-3)
    assert f"{left / whole:.0%}".replace("%", " %") in short.notes[0]
    (reached,) = FGVis(num_steps=1, stop_ratio=0.99).explain(detector, IMAGE, [target], segments)
    assert left / whole < 0.99
    assert reached.notes == ()


def test_the_defence_keeps_a_mask_from_inventing_a_class() -> None:
    detector = tiny_ssd()
    (proposals,) = detector.propose([IMAGE])
    ranked = np.sort(proposals.probabilities, axis=1)  # [A, K]
    margin = np.log(ranked[:, -1] / ranked[:, -2])
    boxes = np.flatnonzero((margin > 1) & (margin < 2))[::40][:3]
    second = np.argsort(proposals.probabilities, axis=1)[boxes, -2]
    wrong = [ScoreTarget(int(box), int(k)) for box, k in zip(boxes, second, strict=True)]
    free = driven_to(detector, IMAGE, wrong, FGVis(num_steps=8, defence=False))
    held = driven_to(detector, IMAGE, wrong, FGVis(num_steps=8))
    assert free.sum() >= 2
    assert not held.any()


def test_a_score_that_is_not_a_number_is_no_end_of_the_game(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detector = tiny_ssd()
    x = detector.preprocess([IMAGE])
    unknown = torch.full((1,), torch.nan, requires_grad=True)
    monkeypatch.setattr(fgvis, "_log_odds", lambda *_: unknown)
    with pytest.raises(ExplanationFailed, match="not a number"):
        optimise(detector.network(), x, TARGETS[:1], FGVis(num_steps=2))


def test_the_detector_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = tiny_ssd()
    kinds = [type(module) for module in detector.model.modules()]
    segments = superpixels.grid(detector.input_size_hw, 9)
    FGVis(num_steps=1).explain(detector, IMAGE, TARGETS[:1], segments)
    monkeypatch.setattr(torch, "isfinite", lambda values: torch.zeros(1, dtype=torch.bool))
    with pytest.raises(ExplanationFailed, match="not finite"):
        FGVis(num_steps=1).explain(detector, IMAGE, TARGETS[:1], segments)
    monkeypatch.undo()
    assert [type(module) for module in detector.model.modules()] == kinds
    assert not any(m._forward_hooks or m._backward_hooks for m in detector.model.modules())


def test_every_bend_is_wrapped_and_nonsense_refused() -> None:
    network = tiny_ssd("ssdlite320_mobilenet_v3_large").network().copy()
    count = sum(
        isinstance(m, nn.Hardswish | nn.ReLU | nn.Hardtanh) for m in network.backbone.modules()
    )
    assert len(defend(network.backbone)) >= count > 20
    for given in ({"game": "chess"}, {"num_steps": 0}, {"learning_rate": 0.0}, {"stop_ratio": 1.0}):
        with pytest.raises(ValueError, match=r"expected|at least"):
            FGVis(**given)  # type: ignore[arg-type]


def test_channel_swaps_count_what_stays_found() -> None:
    detector = tiny_ssd()
    (found,) = detector.predict([IMAGE], 0.5)
    truth = Truth(found.boxes_xyxy, found.labels, np.zeros(len(found), np.bool_))
    counts = channel_swaps(detector, [IMAGE], [truth])
    assert sorted(counts) == ["BGR", "BRG", "GBR", "GRB", "RBG"]
    for by_class in counts.values():
        assert sum(total for _, total in by_class.values()) == len(found)
        assert all(0 <= kept <= total for kept, total in by_class.values())
    grey = np.repeat(IMAGE.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    (found,) = detector.predict([grey], 0.5)
    truth = Truth(found.boxes_xyxy, found.labels, np.zeros(len(found), np.bool_))
    assert all(
        kept == total
        for by_class in channel_swaps(detector, [grey], [truth]).values()
        for kept, total in by_class.values()
    )

"""Quick rectifiers give torch's numbers, all of them, and take its way where they cannot."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from curation.kernel.detector import ScoreKind
from curation.kernel.types import ScoreTarget
from retrain.config import DetectorConfig
from retrain.fold import folded
from retrain.rectify import QuickReLU, QuickReLU6, quicken
from retrain.ssd import build
from tests.tiny_ssd import tiny_ssd
from tests.toy import textured_image

PAIRS = [(nn.ReLU, QuickReLU), (nn.ReLU6, QuickReLU6)]
pairs = pytest.mark.parametrize(("plain", "quick"), PAIRS)
ARCHITECTURES = ["ssd300_vgg16", "ssdlite_efficientnet_lite0", "ssdlite320_mobilenet_v3_large"]


def every_number() -> torch.Tensor:
    """All 65,282 numbers of bfloat16 that are no NaN, infinities and both zeros among them."""
    bits = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16)
    numbers = bits.view(torch.bfloat16)
    return numbers[~numbers.isnan()]


@pairs
@pytest.mark.parametrize("inplace", [False, True])
def test_every_number_of_half_precision_comes_out_the_same(plain, quick, inplace):
    numbers = every_number()
    assert len(numbers) == 65_282
    given = numbers.clone()
    found = quick(inplace)(given)
    assert torch.equal(found, plain()(numbers))
    assert (found.data_ptr() == given.data_ptr()) is inplace
    assert torch.equal(given, found if inplace else numbers)


@pairs
def test_shape_and_memory_stay_as_they_are(plain, quick):
    values = torch.randn(2, 6, 5, 7, generator=torch.Generator().manual_seed(0)).bfloat16()
    last = values.to(memory_format=torch.channels_last)
    part = values[:, ::2, 1:, ::3]  # with gaps
    for given in (values, last, part):
        found = quick()(given)
        assert torch.equal(found, plain()(given))
        assert found.dtype is torch.bfloat16
    assert quick()(last).is_contiguous(memory_format=torch.channels_last)


@pairs
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_gradients_and_other_types_go_torchs_way(plain, quick, dtype):
    values = torch.linspace(-8, 8, 33, dtype=dtype)
    slopes = []
    for layer in (plain(), quick()):
        given = values.clone().requires_grad_(True)
        out = layer(given)
        out.sum().backward()
        slopes.append((out.detach(), given.grad))
    assert torch.equal(slopes[0][0], slopes[1][0])
    assert torch.equal(slopes[0][1], slopes[1][1])


def test_places_and_flags_are_kept_and_others_left_alone():
    inner = nn.Sequential(nn.ReLU6(inplace=True), nn.Hardtanh(-1, 1), nn.LeakyReLU())
    model = nn.Sequential(nn.ReLU(), inner, nn.ReLU(inplace=True))
    quicken(model)
    assert [type(m) for m in model.modules() if not isinstance(m, nn.Sequential)] == [
        *(QuickReLU, QuickReLU6, nn.Hardtanh, nn.LeakyReLU, QuickReLU)
    ]
    assert [model[0].inplace, inner[0].inplace, model[2].inplace] == [False, True, True]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_of_a_detector_are_those_of_plain_rectifiers(architecture):
    quick = tiny_ssd(architecture).in_precision("bf16")
    slow = copy.copy(quick)
    slow.model = copy.deepcopy(quick.model)
    swapped = _with_plain(slow.model)
    assert swapped > 5
    targets = [ScoreTarget(3, 1), ScoreTarget(40, 2)]
    inputs = quick.preprocess([textured_image(seed, 96, 96) for seed in range(3)])
    with torch.inference_mode():
        one, other = (d.scores(inputs, targets, ScoreKind.LOGIT) for d in (quick, slow))
    assert torch.equal(one, other)


def test_a_network_that_is_not_finite_keeps_its_rectifiers():
    """Else its NaN could come out as a score."""
    config = DetectorConfig("ssdlite_efficientnet_lite0", ("background", "car"), (64, 96))
    model = build(config).eval()
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    kept = folded(model, config.input_size_hw)
    assert kept is model
    assert not any(isinstance(m, QuickReLU | QuickReLU6) for m in kept.modules())


def _with_plain(module: nn.Module) -> int:
    """Put torch's rectifiers back; returns how many there were."""
    count = 0
    for name, child in module.named_children():
        for plain, quick in PAIRS:
            if isinstance(child, quick):
                setattr(module, name, plain(child.inplace))
                count += 1
        count += _with_plain(child)
    return count

"""The price of a backward pass, by which methods are given equal cost, is measured on any SSD."""

import math

import pytest

from benchmarks.fidelity import methods
from curation.kernel.types import ScoreTarget
from tests.tiny_ssd import tiny_ssd


@pytest.mark.parametrize("architecture", ["ssdlite_efficientnet_lite0", "ssd300_vgg16"])
def test_both_passes_have_a_price(architecture):
    price = methods.backward_price(tiny_ssd(architecture), ScoreTarget(3, 1), repeats=1)
    assert price["forward_s"] > 0
    assert math.isfinite(price["backward"])

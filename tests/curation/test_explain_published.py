"""E2X does what its published code does: a plain restatement of that code on the same levels."""

import numpy as np
import torch

from curation import superpixels
from curation.explain.e2x import E2X
from curation.kernel.detector import ScoreKind
from curation.kernel.types import ScoreTarget
from tests.toy import ConvToy, textured_image


def test_probability_on_a_grid_of_levels_is_the_published_method():
    toy, image, target = ConvToy(2), textured_image(2), ScoreTarget(3, 2)
    segments, num_samples = superpixels.slic(image, toy.input_size_hw, 20), 16
    explainer = E2X(num_samples=num_samples, levels="grid", kind=ScoreKind.PROBABILITY)
    (result,) = explainer.explain(toy, image, [target], segments)
    weights = explainer.weights(superpixels.count(segments))  # [K, S]
    # each segment meets each of the K levels, both ends included, in an order of its own
    for column in weights.T:
        np.testing.assert_allclose(np.sort(column), np.linspace(0, 1, num_samples), atol=1e-7)
    assert len(np.unique(weights, axis=1).T) > 1
    # upstream gradient 1 at the softmax output of the default box and class, for every sample
    x = toy.preprocess([image])
    composed = (x * torch.from_numpy(weights[:, segments])[:, None]).requires_grad_(True)
    toy.logits(composed).softmax(2)[:, target.default_box, target.label].sum().backward()
    pixels = (x * composed.grad).sum(dim=(0, 1)).numpy()  # over samples and colours, not by 1/K
    sums = np.bincount(segments.ravel(), pixels.ravel().astype(np.float64))
    np.testing.assert_allclose(
        result.values * num_samples, sums, rtol=1e-4, atol=1e-5 * np.abs(sums).max()
    )

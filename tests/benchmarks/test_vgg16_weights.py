"""Keras' VGG16 in an ONNX graph becomes torchvision's."""

import numpy as np
import pytest
import torch
from torchvision.models.vgg import cfgs, make_layers

from benchmarks.vgg16_weights import CONVOLUTIONS, convert


def graph_of(layers):
    """Constants as an exporter names them: red and blue swapped, a dense layer beside."""
    convolutions = [layer for layer in layers if isinstance(layer, torch.nn.Conv2d)]
    found = {"net/dense_1/MatMul:0": np.zeros((8, 2), np.float32)}
    for name, layer in zip(CONVOLUTIONS, convolutions, strict=True):
        kernel = layer.weight.detach()
        kernel = kernel.flip(1) if name == "block1_conv1" else kernel
        found[f"net/{name}_1/convolution:0"] = kernel.numpy()
        found[f"net/{name}_1/Squeeze:0"] = layer.bias.detach().numpy()
    return dict(reversed(found.items()))


def test_the_converted_network_computes_the_same():
    torch.manual_seed(0)
    theirs, ours = make_layers(cfgs["D"]), make_layers(cfgs["D"])
    tensors = convert(graph_of(theirs))
    ours.load_state_dict({k.removeprefix("features."): v for k, v in tensors.items()})
    inputs = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        wanted = theirs(inputs)
        assert wanted.std() > 0
        torch.testing.assert_close(ours(inputs), wanted)


def test_a_graph_of_another_network_is_refused():
    constants = graph_of(make_layers(cfgs["D"]))
    constants["net/block3_conv2_1/convolution:0"] = np.zeros((256, 128, 3, 3), np.float32)
    with pytest.raises(ValueError, match=r"block3_conv2: one weight of \(256, 256, 3, 3\)"):
        convert(constants)
    del constants["net/block1_conv1_1/Squeeze:0"]
    with pytest.raises(ValueError, match="block1_conv1: one bias"):
        convert(constants)

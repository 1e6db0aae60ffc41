"""A single-shot network of a few hundred units with all that relevance has to travel through."""

from __future__ import annotations

import torch
from torch import nn

from curation.kernel.detector import Network, ScoreKind

SIZE_HW = (8, 8)
LOW, HIGH = -0.5, 0.5


class Backbone(nn.Module):
    """Convolution, ReLU6 that saturates, max-pool, residual block with a linear end, strides."""

    def __init__(self):
        super().__init__()
        self.stem, self.cut = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU6(inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.depthwise, self.relu = nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.ReLU(inplace=True)
        self.project = nn.Conv2d(4, 4, 1)
        self.down, self.last = nn.Conv2d(4, 5, 3, stride=2, padding=1), nn.ReLU(inplace=True)

    def forward(self, inputs):
        stem = self.pool(self.cut(self.stem(inputs)))
        block = self.project(self.relu(self.depthwise(stem)))
        block += stem
        return {"0": block, "1": self.last(self.down(block))}


class SmallSsd:
    """Implements what relevance methods ask of a detector: its layers and the targets' scores."""

    class_names = ("background", "disc", "square", "star")
    input_size_hw = SIZE_HW

    def __init__(self, scale=3.0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.parts = Backbone(), nn.ModuleList([nn.Conv2d(c, 8, 1) for c in (4, 5)])
            self.boxes = nn.ModuleList([nn.Conv2d(c, 8, 3, padding=1) for c in (4, 5)])
        with torch.no_grad():
            for part in (*self.parts, self.boxes):
                part.eval().requires_grad_(False)
            self.parts[0].stem.weight.mul_(12 * scale)
            self.parts[0].project.weight.mul_(scale)

    def network(self):
        limits = torch.tensor([[LOW] * 3, [HIGH] * 3])
        return Network(*self.parts, self.boxes, ((4, 4, 2), (2, 2, 2)), 4, limits)

    def preprocess(self, images):
        return (
            torch.stack([torch.from_numpy(i).permute(2, 0, 1).float() / 255 for i in images]) - 0.5
        )

    def scores(self, inputs, targets, kind):
        network = self.network()
        maps = network.maps(inputs)
        logits = [network.class_logits(maps, network.place(t.default_box)) for t in targets]
        assert kind is ScoreKind.LOGIT
        rows = [row[:, t.label] for row, t in zip(logits, targets, strict=True)]
        return torch.stack(rows, dim=1)

"""Small pictures of coloured squares, and an SSD whose outputs are alive without training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from curation.kernel.manifest import Manifest, ManifestItem
from curation.kernel.types import ImageArray
from retrain.config import DetectorConfig
from retrain.detector import SsdDetector
from retrain.ssd import build, feature_maps
from retrain.weights import initialise

NAMES = ("background", "red", "blue")
COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220)}


def warmed(config: DetectorConfig, weights: str = "random", seed: int = 0):
    """A model with statistics from a few forwards and a louder head.

    A fresh SSDLite in eval mode puts out logits of 1e-14, on which every test passes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(config)
        initialise(model, config, weights)
        with torch.no_grad():
            for _ in range(8):
                inputs = torch.randn(4, 3, *config.input_size_hw)
                model.head(feature_maps(model, inputs))
            for head in (model.head.classification_head, model.head.regression_head):
                for level in head.module_list:
                    final = level[-1] if isinstance(level, torch.nn.Sequential) else level
                    final.weight.mul_(4)
                    final.bias.normal_(std=0.3)
    return model.eval()


@pytest.fixture(scope="session")
def config() -> DetectorConfig:
    return DetectorConfig("ssdlite_efficientnet_lite0", NAMES, (64, 96), 0.15, 0.8)


@pytest.fixture(scope="session")
def model(config):
    return warmed(config, "package")


@pytest.fixture(scope="session")
def detector(model, config) -> SsdDetector:
    return SsdDetector(model, config)


@pytest.fixture(scope="session")
def pictures() -> list[ImageArray]:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 255, (5, 8, 12, 3), dtype=np.uint8)
    return [
        np.asarray(Image.fromarray(c).resize((96, 64), Image.Resampling.BICUBIC)) for c in coarse
    ]


def square_scene(seed: int) -> tuple[ImageArray, list[tuple[float, ...]], list[str]]:
    """A 120 x 80 picture with one red and one blue square, on noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(60, 120, (80, 120, 3), dtype=np.uint8)
    boxes, labels = [], []
    for column, (label, colour) in enumerate(COLOURS.items()):
        side = int(rng.integers(22, 40))
        x = column * 60 + int(rng.integers(0, 60 - side))
        y = int(rng.integers(0, 80 - side))
        image[y : y + side, x : x + side] = colour
        boxes.append((float(x), float(y), float(x + side), float(y + side)))
        labels.append(label)
    return image, boxes, labels


def make_manifest(root: Path, count: int, origin: dict[int, str] | None = None) -> Manifest:
    """Write scenes and describe them."""
    root.mkdir(parents=True, exist_ok=True)
    items = []
    for seed in range(count):
        image, boxes, labels = square_scene(seed)
        Image.fromarray(image).save(root / f"{seed}.png")
        items.append(
            ManifestItem(
                image=f"{seed:064x}",
                file=f"{seed}.png",
                width_px=120,
                height_px=80,
                boxes_xyxy=tuple(boxes),
                labels=tuple(labels),
                ignore=(False,) * len(labels),
                origin=(origin or {}).get(seed),
            )
        )
    return Manifest(class_names=NAMES, items=tuple(items), parent=None)

"""A project whose champion is a small detector that has learned nothing: a look costs the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common.projects import make_context
from curation.kernel.images import encode_png
from curation.kernel.types import ImageArray
from retrain.config import DetectorConfig
from retrain.detector import SsdDetector
from retrain.ssd import build
from retrain.weights import initialise
from services.context import Context
from services.db import migrate
from services.models import importing

CLASS_NAMES = ("background", "car", "bus")
INPUT_HW = (96, 128)
FRAME_HW = (120, 160)
SETTINGS = """\
seed = 0
[detector]
input_height_px = 96
input_width_px = 128
min_scale = 0.15
[explanation]
num_samples = 8
num_segments = 30
[selection]
encoder_height_px = 96
encoder_width_px = 128
[workers]
threads = 1
"""
"""Of a project whose units take little, as its file has them."""


def make(root: Path, url: str, **settings: Any) -> Context:
    """A new project, its tables and its champion.

    Args:
        root: its folder.
        url: of an empty database.
        settings: others than the defaults.
    """
    return fill(make_context(root, url, **settings))


def fill(context: Context) -> Context:
    """The same in a project that has nothing yet."""
    context.project.make()
    migrate.upgrade(context.engine)
    config = DetectorConfig("ssdlite_efficientnet_lite0", CLASS_NAMES, INPUT_HW, 0.15, 0.8)
    torch.manual_seed(0)
    model = build(config)
    initialise(model, config, "package")
    path = context.project.root
    importing.add(context, SsdDetector(model.eval(), config), path, "benchmark")
    return context


def pixels(number: int, size_hw: tuple[int, int] = FRAME_HW) -> ImageArray:
    """A picture that no other number has: large shapes, some noise."""
    rng = np.random.default_rng((11, number))
    coarse = rng.integers(0, 255, (6, 8, 3), np.uint8)
    height, width = size_hw
    rows, columns = np.arange(height) * 6 // height, np.arange(width) * 8 // width
    noise = rng.integers(0, 12, (height, width, 3), np.uint8)
    return np.asarray((coarse[rows][:, columns] // 2 + noise).astype(np.uint8))


def frame(number: int) -> bytes:
    """The same as a file."""
    return encode_png(pixels(number))


def objects(number: int) -> list[dict[str, Any]]:
    """One object, which the detector does not show."""
    left = 10 + number % 40
    return [{"box": [float(left), 20.0, float(left + 50), 80.0], "label": "car"}]

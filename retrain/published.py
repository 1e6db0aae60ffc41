"""Networks that were trained elsewhere, with the torchvision code that our SSDs are built from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torchvision.models.detection.ssd import SSD

from retrain.config import DetectorConfig
from retrain.detector import SsdDetector
from retrain.errors import CheckpointCorrupt
from retrain.ssd import build
from retrain.tensor_files import read_tensors
from retrain.weights import load_state

TORCHVISION_ARCHITECTURES = ("ssd300_vgg16", "ssdlite320_mobilenet_v3_large")

REDUCED_CHANNELS = 480
_SECOND_LEVEL = "head.classification_head.module_list.1.0.0.weight"


def torchvision_config(architecture: str, class_names: tuple[str, ...]) -> DetectorConfig:
    """Input, default boxes and suppression of a network that torchvision's function builds.

    Args:
        architecture: one of ``TORCHVISION_ARCHITECTURES``, as its function is called.
        class_names: K names, background first.

    Raises:
        ValueError: torchvision has no such network.

    Source:
        ``torchvision.models.detection.ssd300_vgg16`` and ``ssdlite320_mobilenet_v3_large`` with
        their defaults; Liu et al., "SSD: Single Shot MultiBox Detector", 2016, for the former.
    """
    if architecture == "ssd300_vgg16":
        return DetectorConfig(
            architecture,
            class_names,
            (300, 300),
            scales=(0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
            aspect_ratios=((2,), (2, 3), (2, 3), (2, 3), (2,), (2,)),
            steps_px=(8, 16, 32, 64, 100, 300),
        )
    if architecture == "ssdlite320_mobilenet_v3_large":
        return DetectorConfig(
            architecture,
            class_names,
            (320, 320),
            scales=(0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0),
            nms_iou=0.55,
            max_detections=300,
            max_candidates=300,
        )
    raise ValueError(f"torchvision has no {architecture}, but {TORCHVISION_ARCHITECTURES}")


def from_file(path: Path, config: DetectorConfig, device: str = "cpu") -> SsdDetector:
    """The detector whose weights a file holds.

    Pictures are made smaller with antialiasing, as in training here; torchvision's own transform
    does without, so that scores on large frames differ a little.

    Args:
        path: safetensors or a state dict, of the whole network.
        config: what the network is, of which the file tells no more than the tail.
        device: where it will run.

    Raises:
        CheckpointCorrupt: the file is unreadable, is of a backbone alone or of another network, or
            has another number of classes.
    """
    tensors = read_tensors(path)
    config = replace(config, reduced_tail=_has_reduced_tail(config, tensors))
    model = build(config)
    found = _classes_of(model, tensors)
    if found is None:
        raise CheckpointCorrupt(
            f"{path}: no class head of an SSD in it; the weights of a whole {config.architecture} "
            "are needed"
        )
    if found != len(config.class_names):
        raise CheckpointCorrupt(
            f"{path}: its head has {found:g} classes, background among them; {found - 1:g} names "
            f"are needed, in the order of training, not {len(config.class_names) - 1}"
        )
    load_state(model, tensors, str(path))
    return SsdDetector(model.eval(), config, device)


def _classes_of(model: SSD, tensors: dict[str, torch.Tensor]) -> float | None:
    """Outputs of the first class head for each of our default boxes, background among them."""
    head = "head.classification_head.module_list.0."
    last = [name for name in model.state_dict() if name.startswith(head)][-1]
    if last not in tensors:
        return None
    shapes: int = model.anchor_generator.num_anchors_per_location()[0]
    return len(tensors[last]) / shapes


def _has_reduced_tail(config: DetectorConfig, tensors: dict[str, torch.Tensor]) -> bool:
    """Whether the second level has the channels of a reduced tail, half of the whole one's."""
    if config.architecture != "ssdlite320_mobilenet_v3_large":
        return False
    depthwise = tensors.get(_SECOND_LEVEL)
    return depthwise is not None and len(depthwise) == REDUCED_CHANNELS

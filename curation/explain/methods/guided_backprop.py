"""Guided backpropagation: the gradient by pixel, without what any rectifier would weaken."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from captum.attr import GuidedBackprop as CaptumGuidedBackprop
from torch import nn

from curation.explain.base import check_segments, end_scores, layers_of, pixel_attributions
from curation.explain.methods.target_score import TargetScore
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray

# bend the signal without being rectifiers: their gradient stays what it is
_UNGUIDED = (nn.Hardswish, nn.Hardsigmoid, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Tanh)


@dataclass(frozen=True, slots=True)
class GuidedBackprop:
    """Gradient of the score by the pixels, cut to its positive part at every rectifier.

    The map is a sensitivity, summed over colours, in units of the score per unit of normalised
    input: it does not add up to the score, and it is known to change little when the weights are
    randomised. ReLU6 is guided at its lower bend and keeps its gradient of zero above six;
    hard-swish and gates are not guided, which ``notes`` then say.

    Args:
        kind: unit of the explained score.

    Source:
        Springenberg et al., 2015, by captum's ``GuidedBackprop``, which knows ``nn.ReLU`` only:
        in a copy of the network ReLU6 becomes a ReLU with a ceiling.
    """

    kind: ScoreKind = ScoreKind.LOG_ODDS

    name: ClassVar[str] = "guided_backprop"

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on."""
        return {"kind": str(self.kind)}

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Maps of all targets; a forward and a backward pass each."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        network = layers_of(detector).copy()
        for part in (network.backbone, network.class_heads):
            make_guidable(part)
        x = detector.preprocess([image])  # [1, 3, h, w]
        found = []
        for target in targets:
            guided = CaptumGuidedBackprop(TargetScore(network, target, self.kind))
            with warnings.catch_warnings():  # it announces its hooks, which sit on our copy
                warnings.filterwarnings("ignore", "Setting backward hooks")
                slope = guided.attribute(x.detach().clone().requires_grad_(True))
            found.append(slope[0].detach().sum(dim=0).float().cpu().numpy())  # [h, w]
        notes = [_notes(network.backbone)] * len(targets)
        scores = end_scores(detector, x, targets, self.kind)
        return pixel_attributions(self, segments, targets, np.stack(found), scores, notes)


class _Ceiling(nn.Module):
    """The upper bend of a ReLU6, which guiding leaves alone."""

    def __init__(self, top: float) -> None:
        super().__init__()
        self.top = top

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.clamp(max=self.top)


def make_guidable(module: nn.Module) -> None:
    """Rewrites every rectifier below a module as ``nn.ReLU`` that keeps its input.

    Values stay the same. In-place layers would overwrite what their hooks need.
    """
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Hardtanh) and child.min_val == 0:  # ReLU6 is one
            setattr(module, name, nn.Sequential(nn.ReLU(), _Ceiling(child.max_val)))
        elif hasattr(child, "inplace"):
            setattr(child, "inplace", False)  # noqa: B010, typed as a tensor or a module
        make_guidable(child)


def _notes(backbone: nn.Module) -> tuple[str, ...]:
    kinds = sorted({type(m).__name__ for m in backbone.modules() if isinstance(m, _UNGUIDED)})
    return (f"not guided: {', '.join(kinds)}; there the plain gradient passes",) if kinds else ()

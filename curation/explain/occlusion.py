"""Occlusion: how the score falls when a square of mean colour slides over the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from captum.attr import Occlusion as CaptumOcclusion

from curation.detector import Detector, ScoreKind
from curation.explain.base import (
    check_segments,
    end_scores,
    pixel_attributions,
    rows_per_pass,
)
from curation.superpixels import SegmentArray
from curation.types import Attribution, ImageArray, ScoreTarget


@dataclass(frozen=True, slots=True)
class Occlusion:
    """Each pixel has the mean fall of the score over the windows that hide it.

    Costs one forward pass for each window, shared by all targets: 540 at 240 x 320 px with the
    defaults. Values grow with the overlap of windows and do not add up to the score.

    Args:
        window_px: side of the square on the network's input; cut to the input's sides.
        stride_px: step; larger than the window would leave gaps, so at most the window.
        kind: unit of the explained score.
        batch_size: hidden images a forward pass; bounds memory, changes no value. None takes
            what suits the device.

    Source:
        Zeiler and Fergus, ECCV 2014, by captum's ``Occlusion``. Their square is grey and so is
        ours: the colour that the network's normalisation calls zero.
    """

    window_px: int = 24
    stride_px: int = 12
    kind: ScoreKind = ScoreKind.LOG_ODDS
    batch_size: int | None = None

    name: ClassVar[str] = "occlusion"

    def __post_init__(self) -> None:
        if not 1 <= self.stride_px <= self.window_px:
            raise ValueError("stride_px must lie in 1..window_px")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError("batch_size must be at least 1")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the batch size is not part of it."""
        return {
            "window_px": self.window_px,
            "stride_px": self.stride_px,
            "kind": str(self.kind),
        }

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Maps of all targets from the same forward passes."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        x = detector.preprocess([image])  # [1, 3, h, w]
        height, width = segments.shape
        rows, columns = min(self.window_px, height), min(self.window_px, width)
        occlusion = CaptumOcclusion(lambda inputs: detector.scores(inputs, targets, self.kind))
        with torch.inference_mode():
            falls = occlusion.attribute(
                x,
                sliding_window_shapes=(3, rows, columns),
                strides=(3, min(self.stride_px, rows), min(self.stride_px, columns)),
                baselines=0,
                perturbations_per_eval=rows_per_pass(x, self.batch_size),
            )  # [1, T, 3, h, w]
        # a window hides all colours at once, so each has the same fall: the mean, not the sum
        maps = falls.view(len(targets), 3, height, width).mean(dim=1).float().cpu().numpy()
        scores = end_scores(detector, x, targets, self.kind)
        return pixel_attributions(self, segments, targets, maps, scores)

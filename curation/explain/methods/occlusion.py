"""Occlusion: how the score falls when a square of mean colour slides over the image."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch

from curation.explain.base import (
    check_segments,
    end_scores,
    pixel_attributions,
    rows_per_pass,
)
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, FloatArray, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray

Window: TypeAlias = tuple[slice, slice]


@dataclass(frozen=True, slots=True)
class Occlusion:
    """Each pixel has the mean fall of the score over the windows that hide it.

    Costs one forward pass for each window, shared by all targets, and two for the ends: 494 + 2
    at 240 x 320 px with the defaults. Values are in units of the score, whatever the overlap of
    windows; they grow with the window and do not add up to the score.

    Args:
        window_px: side of the square on the network's input; cut to the input's sides.
        stride_px: step; larger than the window would leave gaps, so at most the window.
        kind: unit of the explained score.
        batch_size: hidden images a forward pass; bounds memory, changes no value. None takes
            what suits the device.

    Source:
        Zeiler and Fergus, ECCV 2014; windows and means are those of captum's ``Occlusion``,
        which would hold a map for each row and target of a pass. Their square is grey and so is
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
        x = detector.preprocess([image]).detach()  # [1, 3, h, w]
        scores = end_scores(detector, x, targets, self.kind)  # [T], [T]
        windows = _windows(segments.shape, self.window_px, self.stride_px)
        rows = rows_per_pass(x, self.batch_size)
        maps = np.zeros((len(targets), *segments.shape), np.float32)
        count = np.zeros(segments.shape, np.float32)
        for start in range(0, len(windows), rows):
            here = windows[start : start + rows]
            falls = scores[0] - self._hidden(detector, x, targets, here)  # [B, T]
            for window, fall in zip(here, falls, strict=True):
                maps[:, *window] += fall[:, None, None]
                count[window] += 1
        maps /= count
        return pixel_attributions(self, segments, targets, maps, scores)

    def _hidden(
        self,
        detector: Detector,
        x: torch.Tensor,
        targets: Sequence[ScoreTarget],
        windows: Sequence[Window],
    ) -> FloatArray:
        """Scores [B, T] of the image with each of B windows hidden."""
        views = x.repeat(len(windows), 1, 1, 1)
        for view, (rows, columns) in zip(views, windows, strict=True):
            view[:, rows, columns] = 0
        with torch.inference_mode():
            found: FloatArray = detector.scores(views, targets, self.kind).float().cpu().numpy()
        return found


def _windows(size_hw: tuple[int, int], window: int, stride: int) -> list[Window]:
    """From the top left corner on until the far edges are covered, which cut the last ones."""
    steps = [range(0, max(0, size - window) + stride, stride) for size in size_hw]
    parts = [
        [slice(corner, min(corner + window, size)) for corner in corners]
        for corners, size in zip(steps, size_hw, strict=True)
    ]
    return list(itertools.product(*parts))

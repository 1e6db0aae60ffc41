"""Prediction difference analysis: the score without a patch, replaced by what else could be there.

Read :meth:`Pda.explain`, then :func:`window_of` and :func:`spread`. Patches come from
:mod:`curation.explain.methods.patches`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch

from curation.explain.base import (
    check_segments,
    end_scores,
    pixel_attributions,
    rows_per_pass,
)
from curation.explain.methods.patches import PatchSampler, PatchSource
from curation.explain.methods.target_score import target_boxes
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, FloatArray, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray, warp

Mode: TypeAlias = Literal["conditional", "marginal"]
_SHARE = 6  # a window spans a sixth of the image's side, for an object that fills the image
_ANALYSIS = 2  # the analysed rectangle has twice the box's sides, four times its area
Spot: TypeAlias = tuple[int, int]


class Window(NamedTuple):
    """Where one target's windows lie: squares of ``side`` px with corners at rows x columns."""

    side: int
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]

    def spots(self) -> list[Spot]:
        """Corners, row by row."""
        return [(int(row), int(column)) for row in self.rows for column in self.columns]


@dataclass(frozen=True, slots=True)
class Pda:
    """Each pixel has the mean fall of the score over the windows that replace it.

    Windows cover a rectangle of four times the area of the target's box and, since they lie on
    one lattice, up to a stride more on each side; the map is zero where none lies. Costs windows
    times draws forward passes, by far the slowest method here: targets whose windows have the
    same size share the passes where their rectangles overlap.

    Args:
        stride_px: step between windows; the falls between them are interpolated linearly. The
            paper compares 4, 8 and 16; 1 is exact.
        mode: "conditional" draws patches given their surroundings, "marginal" puts the mean
            colour in their place, at a tenth of the cost.
        num_draws: patches drawn for each window.
        kind: unit of the explained score; the draws' scores are averaged in it.
        patches: images that patches are learnt from; None takes the explained image itself,
            which makes patches look like the rest of that image, as ``notes`` then say.
        num_patches: that the sampler is fitted on, where ``patches`` is None.
        pad_px: surroundings that a patch is conditioned on.
        batch_size: replaced images a forward pass; bounds memory, changes no value. None takes
            what suits the device.
        seed: of the draws; those of one window are the same whatever else is explained.

    Source:
        Zintgraf et al., ICLR 2017, as E2X adapts it: window side 50 px times the root of the
        box's share of a 300 px image. That code interpolates the falls over pixels; we
        interpolate them over window positions and average over the windows that cover a pixel,
        so that a stride of 1 gives the original method.
    """

    stride_px: int = 8
    mode: Mode = "conditional"
    num_draws: int = 10
    kind: ScoreKind = ScoreKind.PROBABILITY
    patches: PatchSource | None = None
    num_patches: int = 20_000
    pad_px: int = 1
    batch_size: int | None = None
    seed: int = 0

    name: ClassVar[str] = "pda"

    def __post_init__(self) -> None:
        if min(self.stride_px, self.num_draws, self.pad_px, self.num_patches) < 1:
            raise ValueError("stride_px, num_draws, pad_px, num_patches must be at least 1")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode is {self.mode!r}, expected one of {get_args(Mode)}")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the batch size is not part of it."""
        always = {"stride_px": self.stride_px, "mode": self.mode, "kind": str(self.kind)}
        if self.mode == "marginal":
            return always
        return {
            **always,
            "num_draws": self.num_draws,
            "pad_px": self.pad_px,
            "patches": self.patches.key if self.patches else f"own image, {self.num_patches}",
            "seed": self.seed,
        }

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Maps of all targets, in units of the score."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        x = detector.preprocess([image])  # [1, 3, h, w]
        boxes = target_boxes(detector, warp(image, detector.input_size_hw), targets)  # [T, 4]
        windows = [window_of(box, self.stride_px, self.pad_px, segments.shape) for box in boxes]
        source = self.patches or PatchSource([image], self.num_patches, self.seed)
        score, baseline = end_scores(detector, x, targets, self.kind)  # [T], [T]
        maps = np.zeros((len(targets), *segments.shape), np.float32)
        for side in sorted({window.side for window in windows}):
            members = [t for t, window in enumerate(windows) if window.side == side]
            spots = sorted({spot for t in members for spot in windows[t].spots()})
            sampler = None
            if self.mode == "conditional":
                sampler = source.sampler(detector, side, self.pad_px)
            chosen = [targets[t] for t in members]
            without = self._scores(detector, x, chosen, side, spots, sampler)  # [P, T']
            at = {spot: row for row, spot in enumerate(spots)}
            for column, t in enumerate(members):
                kept = without[[at[spot] for spot in windows[t].spots()], column]
                maps[t] = spread(score[t] - kept, windows[t], segments.shape)
            if self.patches is None:
                source.release()  # nobody else asks for this image's
        own = self.mode == "conditional" and self.patches is None
        note = ("patches are drawn from the explained image itself",) if own else ()
        return pixel_attributions(
            self, segments, targets, maps, (score, baseline), [note] * len(targets)
        )

    def _scores(
        self,
        detector: Detector,
        x: torch.Tensor,
        targets: Sequence[ScoreTarget],
        side: int,
        spots: Sequence[Spot],
        sampler: PatchSampler | None,
    ) -> FloatArray:
        """[P, T]: mean score over the draws, with each window replaced."""
        draws = self.num_draws if sampler else 1
        rows = rows_per_pass(x, self.batch_size)
        at_a_time = -(-rows // draws)
        picture = x[0].float().cpu().numpy()
        result = []
        for start in range(0, len(spots), at_a_time):
            here = spots[start : start + at_a_time]
            views = x.detach().repeat(len(here) * draws, 1, 1, 1)
            for index, (row, column) in enumerate(here):
                hole = views[index * draws : (index + 1) * draws]
                hole = hole[:, :, row : row + side, column : column + side]
                hole.copy_(self._filling(picture, (row, column), sampler).to(hole))
            with torch.inference_mode():
                scores = torch.cat(
                    [detector.scores(part, targets, self.kind) for part in torch.split(views, rows)]
                )  # [P' * draws, T]
            result.append(scores.float().view(len(here), draws, -1).mean(dim=1).cpu().numpy())
        found: FloatArray = np.concatenate(result)
        return found

    def _filling(
        self, picture: FloatArray, spot: Spot, sampler: PatchSampler | None
    ) -> torch.Tensor:
        """What replaces the window at a spot: [draws, 3, side, side], or zero."""
        if sampler is None:
            return torch.zeros(())
        size = sampler.side + 2 * sampler.pad
        # at a border the patch moves into the image, and the hole towards the patch's edge
        top, left = (
            min(max(corner - sampler.pad, 0), limit - size)
            for corner, limit in zip(spot, picture.shape[1:], strict=True)
        )
        patch = picture[:, top : top + size, left : left + size]
        rng = np.random.default_rng([self.seed, sampler.side, *spot])
        hole = (spot[0] - top, spot[1] - left)
        return torch.from_numpy(sampler.draw(patch, hole, self.num_draws, rng))


def window_of(box_xyxy: FloatArray, stride: int, pad: int, size_hw: tuple[int, int]) -> Window:
    """The windows of a target: side from its box [4] px of the grid, corners on one lattice.

    Corners are multiples of the stride over the whole image, so that targets share them, and
    reach over both ends of the analysed rectangle.
    """
    x1, y1, x2, y2 = (float(value) for value in box_xyxy)
    share = max(0.0, (x2 - x1) * (y2 - y1)) / (size_hw[0] * size_hw[1])
    side = max(1, round(math.sqrt(size_hw[0] * size_hw[1]) / _SHARE * math.sqrt(share)))
    side = max(1, min(side, min(size_hw) - 2 * pad))
    rows = _axis((y1, y2), side, stride, size_hw[0])
    return Window(side, rows, _axis((x1, x2), side, stride, size_hw[1]))


def _axis(ends: tuple[float, float], side: int, stride: int, limit: int) -> npt.NDArray[np.int64]:
    centre, half = (ends[0] + ends[1]) / 2, _ANALYSIS * (ends[1] - ends[0]) / 2
    first = math.floor(max(0.0, centre - half) / stride) * stride
    last = max(first, math.ceil(min(limit, centre + half)) - side)
    corners = np.arange(first, last + stride, stride)  # the last one reaches the far end
    return np.unique(np.minimum(corners, limit - side))


def spread(falls: FloatArray, window: Window, size_hw: tuple[int, int]) -> FloatArray:
    """[h, w]: mean over the windows that cover a pixel; 0 where none does.

    Args:
        falls: [rows * columns] of the windows, row by row.
        window: where they lie; falls are interpolated to every position between them.
        size_hw: of the map.
    """
    side, rows, columns = window
    field = falls.reshape(len(rows), len(columns)).astype(np.float64)
    every_row = np.arange(rows[0], rows[-1] + 1)
    every_column = np.arange(columns[0], columns[-1] + 1)
    field = np.stack([np.interp(every_row, rows, line) for line in field.T], axis=1)
    field = np.stack([np.interp(every_column, columns, line) for line in field])
    mean = _cover(field, side) / _cover(np.ones_like(field), side)
    result = np.zeros(size_hw, np.float32)
    top, left = int(rows[0]), int(columns[0])
    result[top : top + mean.shape[0], left : left + mean.shape[1]] = mean
    return result


def _cover(field: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """Each pixel's sum over the windows that cover it; both sides grow by ``side - 1``."""
    for axis in (0, 1):
        edge = [(0, 0), (0, 0)]
        edge[axis] = (side, side - 1)
        running = np.cumsum(np.pad(field, edge), axis=axis)
        length = running.shape[axis] - side
        far = np.take(running, range(side, side + length), axis=axis)
        field = far - np.take(running, range(length), axis=axis)
    return field

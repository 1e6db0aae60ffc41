"""D-RISE: which parts of an image must be seen for a detection to stay; outputs only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from curation.explain.base import check_segments, pixel_attributions
from curation.explain.methods.target_score import target_boxes
from curation.kernel.boxes import pairwise_iou
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, FloatArray, ImageArray, Proposals, ScoreTarget
from curation.superpixels import SegmentArray, warp

Fill: TypeAlias = Literal["mean", "black"]


@dataclass(frozen=True, slots=True)
class DRise:
    """Random masks, each weighed by how well the detection survives under it.

    A detection survives as well as the best proposal does: overlap with the target's box times
    cosine of its class probabilities with the target's class. Probabilities include background,
    which stands in for the objectness that an SSD does not have.

    The published map has a level of its own far from the object, the mean weight, which is most
    of its sum over a superpixel. It is taken off here, so that a map is signed: positive where a
    detection survives better than on average when the pixel is shown. The order of the pixels
    changes too: the published map also holds how often each pixel happened to be shown, times
    that level, which orders pixels more than the detection does where masks are few. The
    proposals under the masks serve all targets of an image.

    Args:
        num_masks: N; the paper takes 5000.
        grid: cells a side of the coarse masks.
        keep: share of the cells that stay visible, in 0..1.
        fill: colour of what is hidden: "mean", the colour that the network's normalisation
            calls zero as for the other methods here, or "black" as published.
        centred: take the mean weight off; False gives the published map, which is not negative
            and exceeds 1 only where a pixel was shown more often than ``keep``.
        kind: unit of ``score`` and ``baseline_score``; the map does not depend on it.
        batch_size: masked images held at a time; bounds memory, changes no value.
        seed: of the masks, which are the same for every image of a size.

    Source:
        Petsiuk et al., "Black-box explanation of object detectors via saliency maps", CVPR 2021.
        The target's class vector is one at its class: a missed object's own probabilities would
        ask for background.
    """

    num_masks: int = 2000
    grid: int = 16
    keep: float = 0.5
    fill: Fill = "mean"
    centred: bool = True
    kind: ScoreKind = ScoreKind.PROBABILITY
    batch_size: int = 16
    seed: int = 0

    name: ClassVar[str] = "d_rise"

    def __post_init__(self) -> None:
        if self.num_masks < 1 or self.grid < 1 or self.batch_size < 1:
            raise ValueError("num_masks, grid and batch_size must be at least 1")
        if not 0 < self.keep < 1:
            raise ValueError(f"keep is {self.keep}, expected a share between 0 and 1")
        if self.fill not in get_args(Fill):
            raise ValueError(f"fill is {self.fill!r}, expected one of {get_args(Fill)}")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the batch size is not part of it."""
        return {
            "num_masks": self.num_masks,
            "grid": self.grid,
            "keep": self.keep,
            "fill": self.fill,
            "centred": self.centred,
            "kind": str(self.kind),
            "seed": self.seed,
        }

    def explain(
        self,
        detector: Detector,
        image: ImageArray,
        targets: Sequence[ScoreTarget],
        segments: SegmentArray,
    ) -> list[Attribution]:
        """Maps of all targets from the same masks: mean of weight times mask, over ``keep``.

        Centred, the covariance of weight and mask takes the place of their mean product.
        """
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        small = warp(image, detector.input_size_hw)  # [h, w, 3]: masks live on the input's grid
        colour = fill_colour(detector, self.fill)
        aims = target_boxes(detector, small, targets)  # [T, 4]
        labels = [target.label for target in targets]
        total = np.zeros((len(targets), *segments.shape))
        shown, survived = np.zeros(segments.shape), np.zeros(len(targets))
        cells, shifts = self.design(segments.shape)
        for start in range(0, self.num_masks, self.batch_size):
            part = slice(start, start + self.batch_size)
            masks = stretch(cells[part], shifts[part], segments.shape)  # [B, h, w]
            views = [hide(small, mask, colour) for mask in masks]
            weights = [survival(seen, aims, labels) for seen in detector.propose(views)]  # B of [T]
            for weight, mask in zip(weights, masks, strict=True):
                total += weight[:, None, None] * mask
                shown += mask
                survived += weight
        if self.centred:
            total -= (survived / self.num_masks)[:, None, None] * shown
        maps = (total / (self.num_masks * self.keep)).astype(np.float32)
        blank = np.broadcast_to(colour, image.shape).astype(np.uint8)
        with torch.no_grad():
            both = torch.cat([detector.preprocess([view]) for view in (image, blank)])
            scores = detector.scores(both, targets, self.kind).float().cpu().numpy()  # [2, T]
        return pixel_attributions(self, segments, targets, maps, (scores[0], scores[1]))

    def design(
        self, size_hw: tuple[int, int]
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
        """Visible cells [N, grid, grid] and shifts [N, 2] (down, right) in px, below one cell."""
        rng = np.random.default_rng(self.seed)
        cells = rng.random((self.num_masks, self.grid, self.grid)) < self.keep
        return cells, rng.integers(0, _cell_px(size_hw, self.grid), (self.num_masks, 2))


def _cell_px(size_hw: tuple[int, int], grid: int) -> tuple[int, int]:
    return -(-size_hw[0] // grid), -(-size_hw[1] // grid)


def stretch(
    cells: npt.NDArray[np.bool_], shifts: npt.NDArray[np.int64], size_hw: tuple[int, int]
) -> FloatArray:
    """Masks [B, h, w] in 0..1: coarse cells drawn one cell larger than the image, cut at shifts."""
    grid = cells.shape[1]
    down, right = _cell_px(size_hw, grid)
    large = functional.interpolate(
        torch.from_numpy(cells[:, None].astype(np.float32)),
        ((grid + 1) * down, (grid + 1) * right),
        mode="bilinear",
        align_corners=False,
    )[:, 0].numpy()  # [B, H, W]
    height, width = size_hw
    return np.stack(
        [
            whole[top : top + height, left : left + width]
            for whole, (top, left) in zip(large, shifts, strict=True)
        ]
    )


def hide(image: ImageArray, mask: FloatArray, colour: FloatArray) -> ImageArray:
    """The image [h, w, 3] where the mask [h, w] is one, the colour [3] where it is zero."""
    blended = colour + mask[:, :, None] * (image.astype(np.float32) - colour)
    hidden: ImageArray = np.round(blended).astype(np.uint8)
    return hidden


def survival(seen: Proposals, aims_xyxy: FloatArray, labels: Sequence[int]) -> FloatArray:
    """[T] in 0..1: the best proposal's overlap with a target times its cosine with the class."""
    probabilities = seen.probabilities
    cosine = probabilities[:, list(labels)] / np.linalg.norm(probabilities, axis=1)[:, None]
    best: FloatArray = (pairwise_iou(seen.boxes_xyxy, aims_xyxy) * cosine).max(axis=0)
    return best


def fill_colour(detector: Detector, fill: Fill) -> FloatArray:
    """[3] in 0..255: black, or the colour that normalisation maps to zero."""
    if fill == "black":
        return np.zeros(3, np.float32)
    ends = [np.full((*detector.input_size_hw, 3), value, np.uint8) for value in (0, 255)]
    black, white = detector.preprocess(ends)[:, :, 0, 0].float().cpu().numpy()  # [3] each
    colour: FloatArray = np.clip(255 * -black / (white - black), 0, 255).astype(np.float32)
    return colour

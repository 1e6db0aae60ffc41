"""D-CLOSE: masks of superpixels of several sizes, one map a size, fused from fine to coarse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import numpy as np
import torch
from torch.nn import functional

from curation import superpixels
from curation.explain.base import check_segments, pixel_attributions
from curation.explain.methods.d_rise import Fill, fill_colour, hide, survival
from curation.explain.methods.target_score import target_boxes
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, FloatArray, ImageArray, ScoreTarget
from curation.superpixels import SegmentArray, warp


@dataclass(frozen=True, slots=True)
class DClose:
    """Random masks whose holes have the shapes of superpixels, at several levels of detail.

    At each level the superpixels are shown or hidden at random, the mask is enlarged and cut out
    at a random place, so that no border stays where it was; weights are those of
    :class:`~curation.explain.methods.d_rise.DRise`. Each pixel has the mean weight of the masks
    that show it: the sum of weights times masks over the density, the sum of the masks. Maps of
    the levels are scaled to 0..1 and fused from fine to coarse: the fused map is the next level's
    plus what is fused so far, times the next level's. Masks serve all targets of an image.

    Args:
        num_masks: N of all levels together.
        num_segments: superpixels asked for at the coarsest level, twice as many at each next.
        num_levels: L.
        keep: share of the superpixels that stay visible, in 0..1.
        stretch: by how much of its size the mask is enlarged.
        fill: colour of what is hidden.
        kind: unit of ``score`` and ``baseline_score``; the map does not depend on it.
        batch_size: masked images held at a time; changes no value.
        seed: of the masks.

    Source:
        Truong et al., "Towards better explanations for object detection", ACML 2023 (D-CLOSE), with
        numbers and the order of the fusion from its published code, where a batch of 32 masks are
        pieces of one enlarged mask; here each has its own. Superpixels are this project's SLIC.
        The target's class vector is one at its class, and all default boxes are compared with it,
        not only those that are detected.
    """

    num_masks: int = 4000
    num_segments: int = 150
    num_levels: int = 5
    keep: float = 0.5
    stretch: float = 2.2
    fill: Fill = "mean"
    kind: ScoreKind = ScoreKind.PROBABILITY
    batch_size: int = 16
    seed: int = 0

    name: ClassVar[str] = "d_close"

    def __post_init__(self) -> None:
        if min(self.num_segments, self.num_levels, self.batch_size) < 1:
            raise ValueError("num_segments, num_levels and batch_size must be at least 1")
        if self.num_masks < self.num_levels:
            raise ValueError(f"num_masks is {self.num_masks}, expected at least one a level")
        if not 0 < self.keep < 1:
            raise ValueError(f"keep is {self.keep}, expected a share between 0 and 1")
        if self.stretch < 0:
            raise ValueError(f"stretch is {self.stretch}, expected 0 or more")
        if self.fill not in get_args(Fill):
            raise ValueError(f"fill is {self.fill!r}, expected one of {get_args(Fill)}")

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that the result depends on; the batch size is not part of it."""
        return {
            "num_masks": self.num_masks,
            "num_segments": self.num_segments,
            "num_levels": self.num_levels,
            "keep": self.keep,
            "stretch": self.stretch,
            "fill": self.fill,
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
        """Maps of all targets from the same masks; never negative, they do not add up."""
        check_segments(segments, detector.input_size_hw)
        if not targets:
            return []
        small = warp(image, detector.input_size_hw)  # [h, w, 3]
        colour = fill_colour(detector, self.fill)
        aims = target_boxes(detector, small, targets)  # [T, 4]
        labels = [target.label for target in targets]
        levels = []
        for masks in self.levels(small):
            total = np.zeros((len(targets), *segments.shape))
            density = np.zeros(segments.shape)
            for batch in masks:  # [B, h, w]
                seen = detector.propose([hide(small, mask, colour) for mask in batch])
                weights = [survival(one, aims, labels) for one in seen]  # B of [T]
                for weight, mask in zip(weights, batch, strict=True):
                    total += weight[:, None, None] * mask
                    density += mask
            levels.append([unit_range(shown_mean(one, density)) for one in total])
        maps = np.stack([fuse(of_target) for of_target in zip(*levels, strict=True)])
        blank = np.broadcast_to(colour, image.shape).astype(np.uint8)
        with torch.no_grad():
            both = torch.cat([detector.preprocess([view]) for view in (image, blank)])
            scores = detector.scores(both, targets, self.kind).float().cpu().numpy()  # [2, T]
        return pixel_attributions(
            self, segments, targets, maps.astype(np.float32), (scores[0], scores[1])
        )

    def levels(self, image: ImageArray) -> Iterator[Iterator[FloatArray]]:
        """The masks of each level, coarse to fine, in batches [B, h, w] in 0..1.

        Args:
            image: [h, w, 3] uint8, on the input's grid.
        """
        size_hw = image.shape[:2]
        for level in range(self.num_levels):
            parts = superpixels.slic(image, size_hw, self.num_segments * 2**level)
            count = self.num_masks // self.num_levels + (level < self.num_masks % self.num_levels)
            yield self._masks(parts, count, np.random.default_rng([self.seed, level]))

    def _masks(
        self, parts: SegmentArray, count: int, rng: np.random.Generator
    ) -> Iterator[FloatArray]:
        """Batches of ``count`` masks: superpixels shown at random, enlarged, cut out."""
        height, width = parts.shape
        more = int(self.stretch * height), int(self.stretch * width)
        for start in range(0, count, self.batch_size):
            masks = []
            for _ in range(min(self.batch_size, count - start)):
                shown = rng.random(superpixels.count(parts)) < self.keep  # [S]
                top, left = rng.integers(0, more[0] + 1), rng.integers(0, more[1] + 1)
                small = torch.from_numpy(shown[parts].astype(np.float32))[None, None]
                large = functional.interpolate(
                    small,
                    (height + more[0], width + more[1]),
                    mode="bilinear",
                    align_corners=False,
                )[0, 0].numpy()
                masks.append(large[top : top + height, left : left + width])
            yield np.stack(masks)


def shown_mean(total: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Mean weight [h, w] of the masks that show a pixel; the least of all where none does."""
    seen = density > 0
    mean = np.divide(total, density, out=np.full(total.shape, np.nan), where=seen)
    return np.where(seen, mean, np.nanmin(mean) if seen.any() else 0.0)


def unit_range(heat: np.ndarray) -> np.ndarray:
    """The map [h, w] scaled to 0..1; 0 where it is the same everywhere."""
    low, high = heat.min(), heat.max()
    # differences of rounding are none
    if high - low <= 1e-9 * max(abs(high), 1e-12):
        return np.zeros_like(heat)
    scaled: np.ndarray = (heat - low) / (high - low)
    return scaled


def fuse(levels: Sequence[np.ndarray]) -> np.ndarray:
    """One map [h, w] of those of the levels, coarse to fine."""
    fused = levels[-1]
    for coarser in levels[-2::-1]:
        fused = (fused + coarser) * coarser
    return fused

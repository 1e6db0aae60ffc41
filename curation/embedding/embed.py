"""Images to region vectors: one backbone pass an image, whatever the number of its regions.

Read after :mod:`curation.embedding.encoder`, in this order: ``pool_regions`` (masked
averages of its map as one matrix product, each region beside its one-ring
neighbourhood), ``RegionEmbedder`` (which regions a pool image and a failure contribute).

A pool image contributes overlapping square cells instead of superpixels: cells cost nothing to
compute, and their averaging matrix is the same for every image. Precision at 40 on the street
world (1000 pool images, each cause in 4 %, noisy regions around the true causes, mean of four
causes): strides 16 + 32 with cells of a third 0.90, with cells of a quarter and a half 0.88, of a
sixth and a third 0.87; strides 8 + 16 with cells of a third 0.85.

Source:
    Masked pooling of a region with its neighbourhood: Garg et al., "Revisit Anything: Visual
    Place Recognition via Image Segment Retrieval" (SegVLAD), ECCV 2024.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional

from curation.kernel.detector import Encoder
from curation.kernel.types import BoolArray, Box, FloatArray, ImageArray, Region

PARTS = 2
"""A region vector is the region itself, then its ring."""


def mask_weights(masks: BoolArray | FloatArray, grid_hw: tuple[int, int]) -> torch.Tensor:
    """Averaging weights [R, fh * fw] of masks [R, h, w]: rows sum to 1, or to 0 where empty."""
    if not len(masks):
        return torch.zeros(0, grid_hw[0] * grid_hw[1])
    covered = functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(masks, np.float32))[None], grid_hw, mode="area"
    )[0].flatten(1)  # [R, fh * fw]
    return covered / covered.sum(1, keepdim=True).clamp_min(1e-12)


def pool_regions(
    features: torch.Tensor, masks: BoolArray | FloatArray, rings: BoolArray | FloatArray
) -> FloatArray:
    """Region vectors: the mean feature of each mask beside that of its ring.

    Args:
        features: [D, fh, fw] of one image.
        masks: [R, h, w] on any grid over the image.
        rings: [R, h, w]; where one is empty its half of the vector is zero.

    Returns:
        [R, 2 D] float32 of unit length; each half has the same length.
    """
    grid = (features.shape[1], features.shape[2])
    weights = torch.cat([mask_weights(masks, grid), mask_weights(rings, grid)])
    return _pool(features, weights)


def _pool(features: torch.Tensor, weights: torch.Tensor) -> FloatArray:
    """[R, 2 D] from weights [2 R, fh * fw], masks first, then rings."""
    pooled = weights.to(features.device) @ features.flatten(1).T  # [2 R, D]
    halves = functional.normalize(pooled, dim=1).view(PARTS, len(weights) // PARTS, -1)
    joined = functional.normalize(torch.cat([halves[0], halves[1]], 1), dim=1)
    vectors: FloatArray = joined.cpu().numpy().astype(np.float32)
    return vectors


@dataclass(frozen=True, slots=True)
class CellScheme:
    """Which squares of a pool image become regions, in shares of the image's shorter side.

    Attributes:
        sizes: side of a cell, one for each scale.
        strides: the same for the distance between neighbours.
        ring: width of the neighbourhood; about one superpixel of 200.
    """

    sizes: tuple[float, ...] = (1 / 3,)
    strides: tuple[float, ...] = (1 / 6,)
    ring: float = 1 / 12


@lru_cache(maxsize=8)
def cells(size_hw: tuple[int, int], scheme: CellScheme) -> tuple[BoolArray, BoolArray, FloatArray]:
    """Masks and rings [R, h, w] bool of the cells of a grid, and their boxes.

    Returns:
        masks, rings and boxes [R, 4] float32 xyxy as shares of width and height.
    """
    short = min(size_hw)
    squares = [
        (top, left, top + side, left + side)
        for size, stride in zip(scheme.sizes, scheme.strides, strict=True)
        for side in [max(1, round(size * short))]
        for top in _starts(size_hw[0], side, max(1, round(stride * short)))
        for left in _starts(size_hw[1], side, max(1, round(stride * short)))
    ]
    ring_px = max(1, round(scheme.ring * short))
    masks = np.zeros((len(squares), *size_hw), np.bool_)
    rings = np.zeros_like(masks)
    for row, (top, left, bottom, right) in enumerate(squares):
        masks[row, top:bottom, left:right] = True
        rings[row] = _around(size_hw, (left, top, right, bottom), ring_px)
    height, width = size_hw
    boxes = np.array(
        [(x1 / width, y1 / height, x2 / width, y2 / height) for y1, x1, y2, x2 in squares],
        np.float32,
    ).reshape(-1, 4)
    return masks, rings, boxes


def _starts(length: int, side: int, stride: int) -> list[int]:
    """Even starts from border to border, at most ``stride`` apart."""
    count = max(1, int(np.ceil((length - side) / stride)) + 1)
    return [round(start) for start in np.linspace(0, max(0, length - side), count)]


def _around(
    size_hw: tuple[int, int], box_xyxy: tuple[int, int, int, int], ring_px: int
) -> BoolArray:
    """[h, w] bool: the band of ``ring_px`` around a box on the grid, without the box."""
    x1, y1, x2, y2 = box_xyxy
    band = np.zeros(size_hw, np.bool_)
    band[max(0, y1 - ring_px) : y2 + ring_px, max(0, x1 - ring_px) : x2 + ring_px] = True
    band[y1:y2, x1:x2] = False
    return band


@dataclass(frozen=True, slots=True, eq=False)
class ImageEmbedding:
    """What one pool image puts into the index.

    Attributes:
        vectors: [R, 2 D] float32 of unit length.
        boxes_xyxy: [R, 4] float32 px of the original image.
        whole: [D] float32 of unit length, the mean feature of the image.
    """

    vectors: FloatArray
    boxes_xyxy: FloatArray
    whole: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class FailureEmbedding:
    """What one failure asks for.

    Attributes:
        vectors: [R, 2 D] float32 of unit length, one for each region.
        weights: [R] float32, the regions' shares of the harm.
        object_vector: [2 D] float32 of unit length, of the missed or falsely found object's box.
        whole: [D] float32 of unit length.
    """

    vectors: FloatArray
    weights: FloatArray
    object_vector: FloatArray
    whole: FloatArray


class RegionEmbedder:
    """Pool images and failures in one space.

    Args:
        encoder: the backbone.
        scheme: the cells of a pool image.
        mask_size_hw: the grid that cells and boxes are drawn on.
    """

    def __init__(
        self,
        encoder: Encoder,
        scheme: CellScheme | None = None,
        mask_size_hw: tuple[int, int] = (192, 256),
    ) -> None:
        self._encoder = encoder
        self._scheme = scheme or CellScheme()
        self._size_hw = mask_size_hw
        self._cell_weights: dict[tuple[int, int], torch.Tensor] = {}

    @property
    def version(self) -> str:
        """Hash of the encoder's version and of how regions are pooled: the index's key."""
        text = f"{self._encoder.version}|{self._scheme}|{self._size_hw}|ring{PARTS}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def width(self) -> int:
        """Length of a region vector."""
        return PARTS * self._encoder.width

    @property
    def whole_width(self) -> int:
        """Length of a whole-image vector."""
        return self._encoder.width

    def embed_pool(self, images: Sequence[ImageArray]) -> list[ImageEmbedding]:
        """Cell vectors and the whole-image vector of each image, in one pass each."""
        maps = self._encoder.encode(images)
        _, _, shares = cells(self._size_hw, self._scheme)
        return [
            ImageEmbedding(
                _pool(features, self._weights(features)),
                shares * np.array([image.shape[1], image.shape[0]] * 2, np.float32),
                _whole(features),
            )
            for image, features in zip(images, maps, strict=True)
        ]

    def embed_failures(
        self,
        image: ImageArray,
        boxes_xyxy: Sequence[Box],
        regions: Sequence[Sequence[Region]],
    ) -> list[FailureEmbedding]:
        """All failures of one image from one pass.

        Args:
            image: RGB uint8 [H, W, 3].
            boxes_xyxy: each failure's object, px of the original image.
            regions: each failure's harmful regions, masks on the network-input grid.
        """
        if not boxes_xyxy:
            return []
        features = self._encoder.encode([image])[0]
        whole = _whole(features)
        objects = self._objects(features, image.shape[:2], boxes_xyxy)
        return [
            self._embed_failure(features, own, vector, whole)
            for own, vector in zip(regions, objects, strict=True)
        ]

    def embed_objects(
        self, images: Sequence[ImageArray], boxes_xyxy: Sequence[Sequence[Box]]
    ) -> list[FloatArray]:
        """Vectors of boxes in images that are encoded together; none without a box is encoded.

        Args:
            images: RGB uint8 [H, W, 3] each.
            boxes_xyxy: of each image, px of the original image.

        Returns:
            [N, 2 D] float32 of unit length for the N boxes of each image.
        """
        found = [np.zeros((0, self.width), np.float32) for _ in images]
        rows = [row for row, boxes in enumerate(boxes_xyxy) if boxes]
        maps = self._encoder.encode([images[row] for row in rows]) if rows else ()
        for row, features in zip(rows, maps, strict=True):
            found[row] = self._objects(features, images[row].shape[:2], boxes_xyxy[row])
        return found

    def _objects(
        self, features: torch.Tensor, image_hw: tuple[int, ...], boxes_xyxy: Sequence[Box]
    ) -> FloatArray:
        """[N, 2 D] of boxes, all at once: an image of the pool has twenty."""
        drawn = [box_mask(box, image_hw, self._size_hw, self._scheme.ring) for box in boxes_xyxy]
        masks, rings = np.stack([one for one, _ in drawn]), np.stack([ring for _, ring in drawn])
        return pool_regions(features, masks, rings)

    def _embed_failure(
        self,
        features: torch.Tensor,
        regions: Sequence[Region],
        object_vector: FloatArray,
        whole: FloatArray,
    ) -> FailureEmbedding:
        vectors = np.zeros((0, self.width), np.float32)
        if regions:
            vectors = pool_regions(
                features, np.stack([r.mask for r in regions]), np.stack([r.ring for r in regions])
            )
        weights = np.array([region.weight for region in regions], np.float32)
        return FailureEmbedding(vectors, weights, object_vector, whole)

    def _weights(self, features: torch.Tensor) -> torch.Tensor:
        grid = (features.shape[1], features.shape[2])
        if grid not in self._cell_weights:
            masks, rings, _ = cells(self._size_hw, self._scheme)
            self._cell_weights[grid] = torch.cat(
                [mask_weights(masks, grid), mask_weights(rings, grid)]
            ).to(features.device)
        return self._cell_weights[grid]


def box_mask(
    box_xyxy: Box, image_hw: tuple[int, ...], size_hw: tuple[int, int], ring: float
) -> tuple[BoolArray, BoolArray]:
    """A box of the original image and the band around it, each [h, w] bool of ``size_hw``.

    Args:
        box_xyxy: px of the original image.
        image_hw: its height and width.
        size_hw: the grid to draw on.
        ring: width of the band as a share of the grid's shorter side.
    """
    down, across = size_hw[0] / image_hw[0], size_hw[1] / image_hw[1]
    x1 = min(max(0, int(box_xyxy[0] * across)), size_hw[1] - 1)
    y1 = min(max(0, int(box_xyxy[1] * down)), size_hw[0] - 1)
    x2 = min(size_hw[1], max(x1 + 1, round(box_xyxy[2] * across)))
    y2 = min(size_hw[0], max(y1 + 1, round(box_xyxy[3] * down)))
    mask = np.zeros(size_hw, np.bool_)
    mask[y1:y2, x1:x2] = True
    return mask, _around(size_hw, (x1, y1, x2, y2), max(1, round(ring * min(size_hw))))


def _whole(features: torch.Tensor) -> FloatArray:
    mean: FloatArray = functional.normalize(features.mean((1, 2)), dim=0).cpu().numpy()
    return mean

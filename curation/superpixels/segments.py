"""Superpixels: a partition of the network input into segments, and who touches whom.

Only a partition is needed, on the grid of the network input, numbered 0..S-1 without gaps.
:func:`segment` makes one by the name of its method. Nothing is cached here: the caller keeps a
partition by image hash and parameters, so that two model versions are explained on the same
segments and their maps can be compared.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage.color import rgb2lab
from skimage.segmentation import felzenszwalb as skimage_felzenszwalb
from skimage.segmentation import quickshift as skimage_quickshift

from curation.kernel.types import BoolArray, ImageArray
from curation.superpixels import slic_grids as slic_on

SegmentArray: TypeAlias = npt.NDArray[np.int32]
"""[h, w] int32 in 0..S-1."""
Segmentation: TypeAlias = Literal["slic", "slic_half", "quickshift", "felzenszwalb", "grid"]
"""How an image is parted."""

_QUICKSHIFT = {"kernel_size": 4, "max_dist": 200, "ratio": 0.2}


def warp(image: ImageArray, size_hw: tuple[int, int]) -> ImageArray:
    """The image [H, W, 3] resized to [h, w, 3] without letterbox, as a detector sees it."""
    height, width = size_hw
    if image.shape[:2] == (height, width):
        return image
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def segment(
    image: ImageArray,
    size_hw: tuple[int, int],
    num_segments: int = 200,
    method: Segmentation = "slic",
) -> SegmentArray:
    """The superpixels of an image by a named method, on the grid of the network input.

    Args:
        image: [H, W, 3] uint8.
        size_hw: (h, w) of the network input, to which the image is warped first.
        num_segments: how many are asked for. Quickshift and Felzenszwalb's method find their
            number themselves and do not look at it.
        method: "slic"; "slic_half", the same found at half the size and four times as fast, see
            :func:`~curation.superpixels.slic_grids.half`; "quickshift", about ten times slower,
            tens of segments; "felzenszwalb", hundreds to thousands of segments of very different
            sizes; "grid" of equal cells.

    Returns:
        [h, w] int32 in 0..S-1; equal inputs give equal segments. Those of "quickshift" and
        "felzenszwalb" need not be connected.

    Raises:
        ValueError: no method has this name, or no segment is asked for.

    Source:
        The four that the published E2X code offers, with its parameters: SLIC as :func:`slic`;
        quickshift (Vedaldi and Soatto, 2008) with kernel 4, distance 200, ratio 0.2;
        Felzenszwalb and Huttenlocher, 2004, with scale 1, smoothing 0.8, 20 px at least.
    """
    if method == "slic":
        return slic(image, size_hw, num_segments)
    if method == "slic_half":
        _require_some(num_segments)
        return relabel(slic_on.half(warp(image, size_hw), num_segments))
    if method == "grid":
        return grid(size_hw, num_segments)
    if method not in get_args(Segmentation):
        raise ValueError(
            f"no segmentation {method!r}; there are {', '.join(get_args(Segmentation))}"
        )
    _require_some(num_segments)
    pixels = warp(image, size_hw).astype(np.float64) / 255
    if method == "quickshift":
        return relabel(
            skimage_quickshift(pixels, rng=0, **_QUICKSHIFT)  # type: ignore[no-untyped-call]
        )
    return relabel(skimage_felzenszwalb(pixels))


def slic(image: ImageArray, size_hw: tuple[int, int], num_segments: int = 200) -> SegmentArray:
    """SLIC superpixels of an image, on the grid of the network input.

    Args:
        image: [H, W, 3] uint8.
        size_hw: (h, w) of the network input, to which the image is warped first.
        num_segments: how many are asked for; SLIC yields fewer, 138 to 167 of 200 on
            photographs of 300 px.

    Returns:
        [h, w] int32 in 0..S-1, each segment connected; equal inputs give equal segments.

    Source:
        Achanta et al., 2012, with the parameters of the published E2X code: compactness 10, no
        smoothing, 10 iterations, Lab colours.
    """
    _require_some(num_segments)
    return relabel(slic_on.whole(warp(image, size_hw), num_segments))


def grid(size_hw: tuple[int, int], num_segments: int = 200) -> SegmentArray:
    """A grid of nearly square cells, the partition that knows nothing of the image.

    Args:
        size_hw: (h, w) of the network input.
        num_segments: how many are asked for; the nearest number of rows times columns is given.

    Returns:
        [h, w] int32 in 0..S-1, numbered row by row.
    """
    _require_some(num_segments)
    height, width = size_hw
    rows = max(1, round(math.sqrt(num_segments * height / width)))
    rows = min(height, num_segments, rows)
    columns = min(width, max(1, round(num_segments / rows)))
    row = np.arange(height) * rows // height  # [h]
    column = np.arange(width) * columns // width  # [w]
    return (row[:, None] * columns + column[None, :]).astype(np.int32)  # [h, w]


def _require_some(num_segments: int) -> None:
    if num_segments < 1:
        raise ValueError(f"num_segments is {num_segments}, expected at least 1")


def relabel(segments: npt.NDArray[np.integer]) -> SegmentArray:
    """The same partition [h, w], numbered 0..S-1 without gaps and in the same order."""
    if not segments.size or segments.min() < 0 or segments.max() >= segments.size:
        _, dense = np.unique(segments, return_inverse=True)
        numbered: SegmentArray = dense.reshape(segments.shape).astype(np.int32)
        return numbered
    # labels are few and small here: counting them is ten times as fast as sorting the pixels
    present = np.bincount(segments.ravel()) > 0
    number: npt.NDArray[np.int32] = np.cumsum(present, dtype=np.int32) - 1
    numbered = number[segments]
    return numbered


def count(segments: SegmentArray) -> int:
    """S, the number of segments of a dense partition."""
    return int(segments.max()) + 1


def areas(segments: SegmentArray) -> npt.NDArray[np.int64]:
    """[S] int64, pixels of each segment."""
    return np.bincount(segments.ravel(), minlength=count(segments)).astype(np.int64)


def centroids_xy(segments: SegmentArray) -> npt.NDArray[np.float64]:
    """[S, 2] float64, mean x and y of each segment's pixel centres, in px of the grid."""
    height, width = segments.shape
    labels, area = segments.ravel(), areas(segments)
    x = np.bincount(labels, np.tile(np.arange(width) + 0.5, height), len(area)) / area
    y = np.bincount(labels, np.repeat(np.arange(height) + 0.5, width), len(area)) / area
    return np.stack([x, y], axis=1)


def mean_colours_lab(image: ImageArray, segments: SegmentArray) -> npt.NDArray[np.float64]:
    """[S, 3] float64, the mean CIELAB colour (L 0..100) of each segment of an image [H, W, 3]."""
    height, width = segments.shape
    pixels = rgb2lab(warp(image, (height, width))).reshape(-1, 3)  # [h w, 3]
    labels, area = segments.ravel(), areas(segments)
    sums = [np.bincount(labels, channel, len(area)) for channel in pixels.T]
    found: npt.NDArray[np.float64] = np.stack(sums, axis=1) / area[:, None]
    return found


def neighbours(segments: SegmentArray) -> BoolArray:
    """Which segments share an edge.

    Args:
        segments: [h, w] in 0..S-1.

    Returns:
        [S, S] bool, symmetric, False on the diagonal.
    """
    touching = np.zeros((count(segments), count(segments)), np.bool_)
    touching[segments[:, :-1], segments[:, 1:]] = True
    touching[segments[:-1], segments[1:]] = True
    touching |= touching.T
    np.fill_diagonal(touching, False)
    return touching


def ring(members: BoolArray, touching: BoolArray) -> BoolArray:
    """The segments around a group, one step out.

    Args:
        members: [S] bool, the group.
        touching: [S, S] bool from :func:`neighbours`.

    Returns:
        [S] bool: those that share an edge with the group and are not in it.
    """
    around: BoolArray = touching[members].any(axis=0) & ~members
    return around

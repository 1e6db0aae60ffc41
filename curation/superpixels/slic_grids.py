"""SLIC on half of the grid: four times as fast, since every second pixel places its borders.

A network's finest map has a cell for 8 px, so borders true to 2 px are finer than anything that
it tells apart. The partition is another than that of the whole grid: which one is asked for is
part of every key.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage.segmentation import slic as skimage_slic

from curation.kernel.types import ImageArray

COMPACTNESS = 10.0
MAX_ITERATIONS = 10

_LEAST_PX = 32  # of a segment on the half grid: with fewer, borders are as coarse as segments


def whole(pixels: ImageArray, num_segments: int) -> npt.NDArray[np.integer]:
    """Labels [h, w] from 0, each connected, of an image [h, w, 3] uint8.

    Source:
        Achanta et al., 2012, with the parameters of the published E2X code: compactness 10, no
        smoothing, 10 iterations, Lab colours.
    """
    return _labels(pixels.astype(np.float64) / 255, num_segments)


def half(pixels: ImageArray, num_segments: int) -> npt.NDArray[np.integer]:
    """As :func:`whole`, found on the image at half its size; each label is then 2 by 2 px.

    SLIC measures distance in shares of the spacing of its centres, so its parameters mean the
    same at either size. Where segments would have under 32 px of the half grid, or a side is a
    single pixel, the answer is that of :func:`whole`.
    """
    height, width = pixels.shape[:2]
    if min(height, width) < 2 or height * width < 4 * _LEAST_PX * num_segments:
        return whole(pixels, num_segments)
    small = np.asarray(Image.fromarray(pixels).reduce(2))  # means of 2 by 2, [ceil(h / 2), ...]
    # float32 is exact enough for colours of 8 bits and halves the time of their conversion
    labels = _labels(small.astype(np.float32) / 255, num_segments)
    return labels.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]


def _labels(pixels: npt.NDArray[np.floating], num_segments: int) -> npt.NDArray[np.integer]:
    found: npt.NDArray[np.integer] = skimage_slic(
        pixels,
        n_segments=num_segments,
        compactness=COMPACTNESS,
        max_num_iter=MAX_ITERATIONS,
        sigma=0,
        start_label=0,
        channel_axis=-1,
    )
    return found

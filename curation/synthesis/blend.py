"""How one picture passes into another, and how colours are moved."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import cv2
import numpy as np
import numpy.typing as npt

from curation.kernel.types import BoolArray, FloatArray, ImageArray

Blending: TypeAlias = Literal["hard", "feather", "pyramid"]
BLENDINGS: tuple[Blending, ...] = get_args(Blending)
FEATHER_PX = 2.0
LEVELS = 2
SPREAD = (0.3, 1.6)
"""Bounds of how much the spread of colours is stretched."""


def named(how: str) -> Blending:
    """The blending of this name.

    Raises:
        ValueError: none has it.
    """
    if how not in BLENDINGS:
        raise ValueError(f"no blending {how!r}; there are {', '.join(BLENDINGS)}")
    return next(one for one in BLENDINGS if one == how)


def blend(
    below: ImageArray, above: ImageArray, hole: BoolArray, how: Blending
) -> tuple[FloatArray, FloatArray]:
    """Put one picture into a hole of another.

    Args:
        below: [H, W, 3] uint8.
        above: [H, W, 3] uint8.
        hole: [H, W] bool, where the second is to be seen.
        how: "hard": no seam is softened; "feather": a Gaussian seam; "pyramid": every frequency
            has a seam of its own width (Burt and Adelson, 1983).

    Returns:
        [H, W, 3] float32 in 0..255, and [H, W] float32 in 0..1, how much of each pixel changed.

    Raises:
        ValueError: no blending has this name.
    """
    if how not in BLENDINGS:
        raise ValueError(f"no blending {how!r}; there are {', '.join(BLENDINGS)}")
    weight = hole.astype(np.float32)
    if how == "hard" or not hole.any():
        return np.where(hole[..., None], above, below).astype(np.float32), weight
    if how == "pyramid":
        return _pyramid(below, above, weight)
    # within the hole: what lies beside the source's own mask is not asked for
    soft = np.clip(2 * _float(cv2.GaussianBlur(weight, (0, 0), FEATHER_PX)) - 1, 0, 1) * weight
    return _float(below + soft[..., None] * (above.astype(np.float32) - below)), soft


def _pyramid(
    below: ImageArray, above: ImageArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    difference = _float(above) - below  # blended bands of a difference: one pyramid
    levels = min(LEVELS, int(np.log2(max(2, min(weight.shape)))) - 1)
    bands, masks = [difference], [weight]
    for _ in range(levels):
        bands.append(_float(cv2.pyrDown(bands[-1])))
        masks.append(_float(cv2.pyrDown(masks[-1])))
    change = bands[-1] * masks[-1][..., None]
    for level in range(levels - 1, -1, -1):
        size = bands[level].shape[1::-1]
        detail = bands[level] - cv2.pyrUp(bands[level + 1], dstsize=size)
        change = cv2.pyrUp(change, dstsize=size) + detail * masks[level][..., None]
    near = cv2.dilate(weight, np.ones((3, 3), np.uint8), iterations=2 ** (levels - 1))
    reach = np.minimum(1, cv2.GaussianBlur(near, (0, 0), 2.0)) * (near > 0)
    change = change * reach[..., None]  # no pixel far from the hole changes at all
    mixed = np.clip(below + change, 0, 255).astype(np.float32)
    return mixed, reach.astype(np.float32)


def _float(array: npt.ArrayLike) -> FloatArray:
    return np.asarray(array, np.float32)


def colours(image: ImageArray, alpha: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean [3] and standard deviation [3] float32 of the Lab colours of an object.

    Args:
        image: [H, W, 3] uint8.
        alpha: [H, W] float32 in 0..1 of the object; all zero counts as everything.
    """
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    weight = alpha.reshape(-1, 1).astype(np.float64)
    if weight.sum() <= 0:
        weight = np.ones_like(weight)
    mean = (lab * weight).sum(0) / weight.sum()
    variance = ((lab - mean) ** 2 * weight).sum(0) / weight.sum()
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def move_colours(
    image: ImageArray, alpha: FloatArray, mean: FloatArray, deviation: FloatArray
) -> ImageArray:
    """An object in the colours of another: the light that falls on it is part of what hurt.

    Args:
        image: [H, W, 3] uint8.
        alpha: [H, W] float32 in 0..1 of the object; other pixels stay.
        mean: [3] of Lab, see :func:`colours`.
        deviation: [3] likewise.

    Source:
        Reinhard et al., "Color transfer between images", 2001.
    """
    own_mean, own_deviation = colours(image, alpha)
    stretch = np.clip(deviation / np.maximum(own_deviation, 1e-3), *SPREAD)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    moved = (lab - own_mean) * stretch.astype(np.float32) + mean
    rgb = np.clip(cv2.cvtColor(moved.astype(np.float32), cv2.COLOR_LAB2RGB), 0, 1) * 255
    weight = alpha[..., None]
    return np.asarray(np.rint(image * (1 - weight) + rgb * weight), np.uint8)

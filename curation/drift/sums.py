"""What is compared of frames, summed up by group.

Frames of one drive are alike: a hundred of them say little more than ten. So whole groups are
compared, and all that is needed of one are sums, which any choice of groups adds up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curation.kernel.types import FloatArray

SIZE_BINS = 24
SMALLEST = 2.0**-10
"""Side of a box as a share of the image's: a pixel of a thousand. Bins are even in the log."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What is known of one frame.

    Attributes:
        group: such as its drive; "": it is a group by itself.
        vector: [D] float32 embedding of the whole image.
        labels: classes of what the model shows in it.
        sides: [N] square roots of the boxes' shares of the image, in 0..1.
    """

    group: str
    vector: FloatArray
    labels: tuple[str, ...]
    sides: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums over the frames of each of G groups.

    Attributes:
        frames: [G] how many.
        empty: [G] frames in which nothing is shown.
        classes: [G, C] detections by class.
        sizes: [G, SIZE_BINS] detections by size.
        kernel: [G, G] similarities of all pairs of frames.
        class_names: C names.
    """

    frames: Floats
    empty: Floats
    classes: Floats
    sizes: Floats
    kernel: Floats
    class_names: tuple[str, ...]


def sums_of(groups: Sequence[Sequence[Frame]]) -> Sums:
    """Sums over the frames of each group, in the order of the groups.

    The kernel is a Gaussian of the distance of unit vectors; its width is the median distance of
    all frames, whichever side they are of, so that it says nothing about the sides.

    Args:
        groups: G groups of at least a frame each, all vectors of one width D.

    Source:
        Gretton et al., "A Kernel Two-Sample Test", JMLR 13, 2012, for kernel and width.
    """
    flat = [frame for group in groups for frame in group]
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    names = tuple(sorted({label for frame in flat for label in frame.labels}))
    column = {name: number for number, name in enumerate(names)}
    classes = np.zeros((len(groups), len(names)))
    sizes = np.zeros((len(groups), SIZE_BINS))
    for group, frame in zip(owner, flat, strict=True):
        for label in frame.labels:
            classes[group, column[label]] += 1
        np.add.at(sizes[group], size_bins(frame.sides), 1)
    empty = np.array([not frame.labels for frame in flat], np.float64)
    return Sums(
        frames=np.bincount(owner, minlength=len(groups)).astype(np.float64),
        empty=np.bincount(owner, empty, minlength=len(groups)).astype(np.float64),
        classes=classes,
        sizes=sizes,
        kernel=_by_group(_kernel(np.stack([frame.vector for frame in flat])), owner),
        class_names=names,
    )


def size_bins(sides: FloatArray) -> npt.NDArray[np.int64]:
    """Bin of each box [N] by the logarithm of its side; what is smaller is in the first."""
    share = 1 - np.log2(np.clip(sides, SMALLEST, 1.0)) / np.log2(SMALLEST)  # 0 small .. 1 whole
    bins: npt.NDArray[np.int64] = np.minimum((share * SIZE_BINS).astype(np.int64), SIZE_BINS - 1)
    return bins


def _kernel(vectors: FloatArray) -> Floats:
    """[N, N] similarities in 0..1."""
    wide = vectors.astype(np.float64)
    unit = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    squared = np.maximum(0.0, 2 - 2 * (unit @ unit.T))
    apart = squared[np.triu_indices(len(unit), 1)]
    width = float(np.median(apart)) if len(apart) else 1.0
    similar: Floats = np.exp(-squared / max(width, 1e-12))
    return similar


def _by_group(matrix: Floats, owner: npt.NDArray[np.int64]) -> Floats:
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    by_row = np.add.reduceat(matrix, starts, axis=0)
    summed: Floats = np.add.reduceat(by_row, starts, axis=1)
    return summed

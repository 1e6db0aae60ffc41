"""Masks as they are stored: run lengths, the uncompressed form of COCO."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from curation.kernel.types import BoolArray


def run_lengths(mask: BoolArray) -> dict[str, Any]:
    """A mask [H, W] as ``{"size": [H, W], "counts": [...]}``, JSON-serialisable.

    Source:
        COCO's uncompressed run lengths: columns first, and the first run is of what is not set.
    """
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    ends = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], ends, [mask.size]]))
    if mask.size and mask[-1, -1]:  # the run that ends with the mask ends at its end
        counts = counts[:-1]
    return {"size": [int(side) for side in mask.shape], "counts": counts.astype(int).tolist()}


def mask_of(told: Mapping[str, Any]) -> BoolArray:
    """The mask [H, W] that :func:`run_lengths` described.

    Raises:
        ValueError: the runs do not fill the size.
    """
    height, width = (int(side) for side in told["size"])
    counts = np.asarray(told["counts"], np.int64)
    if int(counts.sum()) != height * width:
        raise ValueError(f"runs of {int(counts.sum())} pixels do not fill {height} x {width}")
    flags = np.arange(len(counts)) % 2 == 1
    mask: BoolArray = np.repeat(flags, counts).reshape((height, width), order="F")
    return mask

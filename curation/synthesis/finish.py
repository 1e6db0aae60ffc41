"""The last step of every generator that draws: what had to stay is put back, or why it failed."""

from __future__ import annotations

import numpy as np
import torch

from curation.kernel.errors import DrawingFailed
from curation.kernel.types import FloatArray, ImageArray
from curation.synthesis.base import Staged

DARK = 1.0
"""Level up to which a picture is black."""


def finished(staged: Staged, drawn: FloatArray) -> ImageArray:
    """[H, W, 3] uint8: what was drawn where it may be seen, and the base everywhere else.

    Args:
        staged: where it started from; where ``keep`` is between 0 and 1 both are mixed.
        drawn: [H, W, 3] in 0..255.

    Raises:
        DrawingFailed: not a number, not a colour picture of this size, black, or a pixel that had
            to stay did not.
    """
    base = staged.base
    if drawn.shape != base.shape:
        raise DrawingFailed(f"a picture of {drawn.shape} was drawn instead of {base.shape}")
    weight = (1 - staged.keep)[..., None]
    free = weight[..., 0] > 0
    if not np.isfinite(drawn[free]).all():
        raise DrawingFailed(
            "what was drawn is not a number: half precision overflowed, or the weights are broken"
        )
    if free.any() and drawn[free].max() <= DARK and staged.composite[free].max() > DARK:
        raise DrawingFailed(
            "a black picture was drawn: a safety checker refused it, or half precision overflowed"
        )
    mixed = np.rint(np.clip(drawn * weight + base * (1 - weight), 0, 255))
    image = np.where(free[..., None], mixed, base).astype(np.uint8)
    stays = staged.keep >= 1
    if not np.array_equal(image[stays], base[stays]):
        raise DrawingFailed("pixels that had to stay changed")
    return image


def why_failed(problem: Exception) -> str:
    """One sentence about what a network raised; memory that could not be had is given back."""
    said = first_line(problem)
    cpu = isinstance(problem, RuntimeError) and "can't allocate memory" in str(problem)
    if cpu or isinstance(problem, MemoryError | torch.OutOfMemoryError):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return f"out of memory: lower `resolution`, or set `offload` on a GPU ({said})"
    return f"drawing failed: {type(problem).__name__}: {said}"


def first_line(problem: BaseException) -> str:
    """The first line of what an error of another library says, 300 characters at most."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return (lines[0] if lines else type(problem).__name__)[:300]

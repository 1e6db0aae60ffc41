"""Intervals over seeds, and within each over the groups of its test images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Counts: TypeAlias = npt.NDArray[np.float64]
Interval: TypeAlias = tuple[float, float, float]
"""Value, and the ends of its 95 % interval."""
REPEATS = 4000


def interval(seeds: Sequence[Counts], shared: bool = False) -> Interval:
    """A share in points: seeds drawn with replacement, and the groups of each.

    Args:
        seeds: of each, [G, 2] by group a count and what it is a share of.
        shared: whether row g is the same group for all seeds: then one draw serves them all.
    """
    count, of = (sum(float(c[:, column].sum()) for c in seeds) for column in (0, 1))
    sums = _drawn(seeds, shared).sum(axis=1)  # [R, 2]
    low, high = np.quantile(100 * sums[:, 0] / np.maximum(1, sums[:, 1]), [0.025, 0.975])
    return 100 * count / max(1.0, of), float(low), float(high)


def count_a_seed(seeds: Sequence[Counts], shared: bool = False) -> Interval:
    """What the first column of :func:`interval` counts, mean over seeds."""
    value = float(np.mean([counts[:, 0].sum() for counts in seeds]))
    low, high = np.quantile(_drawn(seeds, shared)[..., 0].mean(axis=1), [0.025, 0.975])
    return value, float(low), float(high)


def bootstrapped(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of single values, and its 95 % interval."""
    rows = np.asarray(values, np.float64)
    draws = np.random.default_rng(0).integers(0, len(rows), (REPEATS, len(rows)))
    low, high = np.quantile(rows[draws].mean(axis=1), [0.025, 0.975])
    return float(rows.mean()), float(low), float(high)


def _drawn(seeds: Sequence[Counts], shared: bool) -> npt.NDArray[np.float64]:
    """[R, S, 2] sums of drawn groups, of drawn seeds."""
    rng = np.random.default_rng(0)
    if shared:
        chosen = rng.integers(0, len(seeds[0]), (REPEATS, len(seeds[0])))
        drawn = np.stack([c[chosen].sum(axis=1) for c in seeds])  # [S, R, 2]
    else:
        drawn = np.stack([c[rng.integers(0, len(c), (REPEATS, len(c)))].sum(axis=1) for c in seeds])
    rows = rng.integers(0, len(seeds), (REPEATS, len(seeds)))
    return drawn[rows, np.arange(REPEATS)[:, None]]

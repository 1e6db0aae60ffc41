"""Whether a day's groups differ from the reference's by more than chance.

The test deals all groups, the day's and the reference's, anew into two heaps of the same numbers,
and asks how often a day that chance has made differs as much as the real one. Where groups are
exchangeable, as on days on which nothing has changed, a level of α is exceeded on at most a share α
of days, however alike the frames within a group are and whatever their distribution is. Frames by
themselves give no such promise: neighbours in a film repeat each other.

Four figures are tested, each at a quarter of the day's level (Bonferroni).

Source:
    Phipson and Smyth, "Permutation P-values Should Never Be Zero", 2010, for the p-value;
    Gretton et al., "A Kernel Two-Sample Test", 2012, for the distance of embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from curation.drift.sums import Floats, Frame, Sums, sums_of

FIGURES = ("embedding", "classes", "sizes", "empty")
LEVEL = 0.0025
"""Of a day: one false alarm in 400 days of still data at most. Days that share a reference alarm
together, so that some hundred days have more than their share: hence not 1 in 100, nor in 200."""
DEALS = 4999
"""Smallest p-value 1 in 5000, well below a quarter of the level."""
RESAMPLES = 500
COVERAGE = 0.95


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the four.

    Attributes:
        name: of :data:`FIGURES`.
        distance: between day and reference, 0 for none: of embeddings the kernel mean distance; of
            classes the total variation; of sizes the largest difference of the cumulative
            distributions; of empty frames the difference of the shares.
        low: 95 % interval of the distance by resampling groups.
        high: its upper end.
        p_value: how often chance does as much.
        drifted: whether that is less than a quarter of the level.
    """

    name: str
    distance: float
    low: float
    high: float
    p_value: float
    drifted: bool


@dataclass(frozen=True, slots=True)
class Drift:
    """What a day came to.

    Attributes:
        frames: of the day.
        groups: of the day.
        reference_groups: of the reference.
        empty_share: of the day's frames, those in which the model shows nothing.
        reference_empty_share: the same of the reference.
        figures: by name, in the order of :data:`FIGURES`.
        can_tell: False where there are too few groups for chance ever to be ruled out.
    """

    frames: int
    groups: int
    reference_groups: int
    empty_share: float
    reference_empty_share: float
    figures: tuple[Figure, ...]
    can_tell: bool

    @property
    def drifted(self) -> bool:
        """Whether any of the figures is more than chance."""
        return any(figure.drifted for figure in self.figures)


def compare(
    day: Sequence[Frame],
    reference: Sequence[Frame],
    rng: np.random.Generator,
    *,
    level: float = LEVEL,
    deals: int = DEALS,
    resamples: int = RESAMPLES,
    frames_per_group: int = 10,
) -> Drift:
    """Compare a day with a reference.

    Of a group so many frames are taken at most, spread over it: a long drive is one drive.

    Args:
        day: its frames, in order of time within a group; at least one.
        reference: such as a sample of the pool; at least one.
        rng: of the deals.
        level: of the whole day, in (0, 1).
        deals: how often groups are dealt anew.
        resamples: for the intervals.
        frames_per_group: at most; >= 1.

    Raises:
        ValueError: a side has no frame.
    """
    if not day or not reference:
        raise ValueError("a day and a reference need a frame each at least")
    days, references = (_grouped(side, frames_per_group) for side in (day, reference))
    sums = sums_of([*days, *references])
    real = np.zeros(len(days) + len(references))
    real[: len(days)] = 1
    anew = rng.permuted(np.tile(real, (deals, 1)), axis=1)
    dealt = np.vstack([real, anew])  # [1 + deals, G]
    quarter = level / len(FIGURES)
    drawn_days = _resampled(len(days), resamples, rng)
    drawn_references = _resampled(len(references), resamples, rng)
    blank_day, blank_reference = np.zeros_like(drawn_days), np.zeros_like(drawn_references)
    weights_day = np.hstack([drawn_days, blank_reference])
    weights_reference = np.hstack([blank_day, drawn_references])
    figures = []
    for name in FIGURES:
        distance = _DISTANCES[name]
        found = distance(sums, dealt, 1 - dealt)
        p_value = float((found >= found[0] - 1e-12).mean())  # the real one is among them
        spread = distance(sums, weights_day, weights_reference)
        low, high = np.quantile(spread, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
        figures.append(
            Figure(name, float(found[0]), float(low), float(high), p_value, p_value <= quarter)
        )
    shares = [_share(sums.empty, sums.frames, side)[0] for side in (real[None], 1 - real[None])]
    ways = math.comb(len(real), len(days))
    return Drift(
        frames=sum(map(len, days)),
        groups=len(days),
        reference_groups=len(references),
        empty_share=float(shares[0]),
        reference_empty_share=float(shares[1]),
        figures=tuple(figures),
        can_tell=1 / ways <= quarter and 1 / (deals + 1) <= quarter,
    )


def _grouped(frames: Sequence[Frame], most: int) -> list[list[Frame]]:
    alone = [[frame] for frame in frames if not frame.group]
    named = sorted((frame for frame in frames if frame.group), key=lambda frame: frame.group)
    together = [list(some) for _, some in groupby(named, key=lambda frame: frame.group)]
    return alone + [_spread(some, most) for some in together]


def _spread(frames: list[Frame], most: int) -> list[Frame]:
    if len(frames) <= most:
        return frames
    return [frames[place] for place in np.linspace(0, len(frames) - 1, most).round().astype(int)]


def _resampled(count: int, times: int, rng: np.random.Generator) -> Floats:
    """[times, count] how often each group is drawn, with replacement."""
    drawn: Floats = rng.multinomial(count, np.full(count, 1 / count), times).astype(np.float64)
    return drawn


def _embedding(sums: Sums, day: Floats, reference: Floats) -> Floats:
    """Distance of the kernel means of two heaps; [R] for weights [R, G] each."""
    of_day, of_reference = day @ sums.kernel, reference @ sums.kernel
    frames_day, frames_reference = day @ sums.frames, reference @ sums.frames
    squared = (
        (of_day * day).sum(1) / frames_day**2
        + (of_reference * reference).sum(1) / frames_reference**2
        - 2 * (of_day * reference).sum(1) / (frames_day * frames_reference)
    )
    distance: Floats = np.sqrt(np.maximum(0.0, squared))
    return distance


def _classes(sums: Sums, day: Floats, reference: Floats) -> Floats:
    found: Floats = np.abs(_shares(sums.classes, day) - _shares(sums.classes, reference)).sum(1) / 2
    return found


def _sizes(sums: Sums, day: Floats, reference: Floats) -> Floats:
    apart = _shares(sums.sizes, day).cumsum(1) - _shares(sums.sizes, reference).cumsum(1)
    found: Floats = np.abs(apart).max(1)
    return found


def _empty(sums: Sums, day: Floats, reference: Floats) -> Floats:
    apart = _share(sums.empty, sums.frames, day) - _share(sums.empty, sums.frames, reference)
    return np.abs(apart)


def _shares(counts: Floats, weights: Floats) -> Floats:
    """Each heap's counts as shares of its own; all 0 where it has none. [R, C]."""
    summed = weights @ counts
    shares: Floats = summed / np.maximum(summed.sum(1, keepdims=True), 1.0)
    return shares


def _share(part: Floats, whole: Floats, weights: Floats) -> Floats:
    share: Floats = (weights @ part) / (weights @ whole)
    return share


_DISTANCES: dict[str, Callable[[Sums, Floats, Floats], Floats]] = {
    "embedding": _embedding,
    "classes": _classes,
    "sizes": _sizes,
    "empty": _empty,
}

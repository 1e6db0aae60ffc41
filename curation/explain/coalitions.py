"""Coalitions of superpixels in pairs, and the regression that turns their scores into values.

A coalition z keeps its segments and sets the others to the mean colour. Every coalition is
scored together with its complement. Read :func:`paired_design` for which are drawn and
:func:`fit` for the regression. Everything here is float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from curation.explain.base import Explainer, end_scores, masked_scores
from curation.kernel.detector import Detector, ScoreKind
from curation.kernel.types import Attribution, BoolArray, ScoreTarget
from curation.superpixels import SegmentArray

DoubleArray: TypeAlias = npt.NDArray[np.float64]
Sampling: TypeAlias = Literal["kernel", "leverage"]

_CHUNK = 2048  # pairs turned to float64 at a time: 3 MB at 200 segments
_RANK = 1e-10  # eigenvalues below this share of the largest count as zero


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Pairs of a coalition and its complement.

    Attributes:
        masks: [N, S] bool, one coalition of each pair; no pair twice.
        weights: [N] positive. Sums with them estimate sums over all pairs with the Shapley
            kernel, scaled to 1.
        unseen: [N] in 0..1, the share of the pair's size class that was not drawn; 0 where the
            class is complete, which then carries no sampling error.
    """

    masks: BoolArray
    weights: DoubleArray
    unseen: DoubleArray

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def complete(self) -> bool:
        """Whether all pairs are in it: the regression is then exact."""
        return not self.unseen.any()

    def halves(self, rng: np.random.Generator) -> tuple[Part, Part]:
        """Two designs that share the complete size classes and part the drawn pairs at random."""
        drawn = self.unseen > 0
        rows = rng.permutation(np.flatnonzero(drawn))
        first = np.zeros(len(self), np.bool_)
        first[rows[: len(rows) // 2]] = True
        weights = np.where(drawn, 2 * self.weights, self.weights)

        def part(kept: BoolArray) -> Part:
            return Part(Design(self.masks[kept], weights[kept], self.unseen[kept]), kept)

        return part(~drawn | first), part(~drawn | ~first)


class Part(NamedTuple):
    """A part of a design and where its pairs are in the whole."""

    design: Design
    rows: BoolArray
    """[N] bool."""


class Scores(NamedTuple):
    """Scores of a design for T targets."""

    kept: DoubleArray
    """[N, T] of the coalitions."""
    removed: DoubleArray
    """[N, T] of their complements."""
    full: DoubleArray
    """[T] of the image."""
    empty: DoubleArray
    """[T] of the image of mean colour."""

    def of(self, rows: BoolArray) -> Scores:
        """Those of some pairs."""
        return self._replace(kept=self.kept[rows], removed=self.removed[rows])


class Fit(NamedTuple):
    """Values and their standard errors, [T, S] each."""

    values: DoubleArray
    standard_errors: DoubleArray


def paired_design(
    num_pairs: int, num_segments: int, sampling: Sampling, rng: np.random.Generator
) -> Design:
    """Draws pairs without replacement, size class by size class.

    Class k holds the pairs of k segments with the S - k others. Its expected number of draws is
    proportional to its share of the Shapley kernel, 1 / (k (S - k)), for "kernel", and the same
    for all classes for "leverage", but never more than the class holds: what is left over goes
    to the other classes, so that small classes are complete. Numbers are rounded at random.

    Args:
        num_pairs: how many at most; fewer are returned where fewer exist.
        num_segments: S; of one segment there is no pair.
        sampling: see above.
        rng: source of all draws.

    Source:
        KernelSHAP (Lundberg and Lee, 2017) with the pairs of Covert and Lee, 2021; Leverage SHAP
        (Musco and Witter, 2025), whose leverage scores 1 / C(S, k) make the sizes uniform. There
        the number of draws of a size is binomial; ours is rounded, so that the cost is known.
    """
    if num_segments < 2:
        return Design(np.zeros((0, num_segments), np.bool_), np.zeros(0), np.zeros(0))
    sizes = np.arange(1, num_segments // 2 + 1)
    twice = 2 * sizes == num_segments  # pairs of two halves are met from both sides
    held = [math.comb(num_segments, k) // (2 if both else 1) for k, both in _zip(sizes, twice)]
    share = np.where(twice, 1.0, 2.0) / (sizes * (num_segments - sizes))
    share /= share.sum()
    wanted = share if sampling == "kernel" else np.ones(len(sizes))
    expected = _fill(min(num_pairs, sum(held)), wanted, held)
    # systematic rounding: floor or ceil of each, right on average, sum kept
    edges = np.floor(np.concatenate([[0], np.cumsum(expected)]) + rng.random() + 1e-9)
    edges[-1] = edges[0] + round(expected.sum())
    masks, weights, unseen = [], [], []
    for k, total, count, mean, mass in zip(
        sizes, held, np.diff(edges).astype(int), expected, share, strict=True
    ):
        rows = _subsets(int(k), num_segments, min(int(count), total), total, rng)
        masks.append(rows)
        weights.append(np.full(len(rows), mass / max(mean, 1e-300)))
        unseen.append(np.full(len(rows), max(0.0, 1 - mean / total)))
    return Design(np.concatenate(masks), np.concatenate(weights), np.concatenate(unseen))


def _zip(sizes: npt.NDArray[np.int64], twice: BoolArray) -> Iterator[tuple[int, bool]]:
    return zip(sizes.tolist(), twice.tolist(), strict=True)


def _fill(total: int, wanted: DoubleArray, held: list[int]) -> DoubleArray:
    """Parts a total in proportion to ``wanted``, no part above what is held."""
    capacity = np.array(held, np.float64)
    parts, full = np.zeros(len(held)), np.zeros(len(held), np.bool_)
    while not full.all():
        free = wanted * ~full
        parts = np.where(full, capacity, (total - capacity[full].sum()) * free / free.sum())
        over = ~full & (parts >= capacity)
        if not over.any():
            break
        full |= over
        parts = np.where(full, capacity, parts)
    return parts


def _subsets(
    size: int, num_segments: int, count: int, held: int, rng: np.random.Generator
) -> BoolArray:
    """[count, S] different coalitions of one size, no two of them complements."""
    if 2 * count > held:  # so many that few are left: name all, drop some
        halves = 2 * size == num_segments
        members = itertools.combinations(range(halves, num_segments), size - halves)
        every = np.zeros((held, num_segments), np.bool_)
        for row, chosen in enumerate(members):
            every[row, list(chosen)] = True
        every[:, 0] |= halves
        return every if count == held else every[rng.permutation(held)[:count]]
    found = np.zeros((0, num_segments), np.bool_)
    while len(found) < count:
        order = rng.random((count, num_segments)).argsort(axis=1)
        rows = order < size
        if 2 * size == num_segments:
            rows ^= ~rows[:, :1]  # of two complements the one with segment 0
        found = np.concatenate([found, rows])
        _, first = np.unique(np.packbits(found, axis=1), axis=0, return_index=True)
        found = found[np.sort(first)]
    return found[:count]


def score(
    detector: Detector,
    inputs: torch.Tensor,
    segments: SegmentArray,
    design: Design,
    targets: Sequence[ScoreTarget],
    kind: ScoreKind,
    batch_size: int | None = None,
) -> Scores:
    """Scores a design with 2 N + 2 forward rows, shared by all targets.

    Raises:
        ExplanationFailed: a score is not finite.
    """
    full, empty = end_scores(detector, inputs, targets, kind)
    sides = []
    for masks in (design.masks, ~design.masks):
        rows = [
            masked_scores(
                detector,
                inputs,
                segments,
                masks[start : start + _CHUNK].astype(np.float32),
                targets,
                kind,
                batch_size,
            )
            for start in range(0, len(masks), _CHUNK)
        ]
        sides.append(np.concatenate([np.zeros((0, len(targets))), *rows]))
    return Scores(sides[0], sides[1], full.astype(np.float64), empty.astype(np.float64))


def fit(design: Design, scores: Scores, ridge: float = 0.0) -> Fit:
    """Weighted least squares of the scores on the coalitions, the sum of the values fixed.

    With d = full - empty, values are d / S + P b, where P = I - 11'/S takes the mean out, and b
    solves the regression of y = (kept - removed - (2 |z| - S) d / S) / 2 on the rows z P: the
    difference of a pair holds all that the pair says about the values, since its sum does not
    depend on them.

    Args:
        design: N pairs of S segments.
        scores: of its coalitions.
        ridge: added, times min(1, S / N), to the eigenvalues of the weighted covariance of the
            rows, which are 1 / (2 H) with H the sum of 1/k up to S - 1 (0.09 at 165 segments)
            once all pairs are in. So it fades as pairs are added and is nothing to a complete
            design, whose answer is exact. Without it, and with fewer pairs than segments, the
            values are those of least norm.

    Returns:
        Values, exact Shapley values for a complete design, and standard errors from the
        residuals over one minus their leverage (the jackknife over pairs to first order). Size
        classes drawn in part count by the part not drawn; the ridge's bias does not count.
        NaN where the pairs do not span all S - 1 directions of mean zero.
    """
    total = scores.full - scores.empty  # [T]
    num_segments = design.masks.shape[1]
    gram = np.zeros((num_segments, num_segments))
    moment = np.zeros((num_segments, len(total)))
    weight_sum = design.weights.sum() if len(design) else 1.0
    for rows, weights, y, _ in _chunks(design, scores):
        gram += (rows * weights[:, None]).T @ rows / weight_sum
        moment += (rows * weights[:, None]).T @ y / weight_sum
    fading = 0.0 if design.complete else ridge * min(1.0, num_segments / len(design))
    inverse, regular = _inverse(gram, fading)
    slopes = inverse @ moment  # [S, T]
    variance = np.zeros((len(total), num_segments))
    for rows, weights, y, unseen in _chunks(design, scores):
        influence = rows @ inverse * (weights / weight_sum)[:, None]  # [n, S]
        leverage = (influence * rows).sum(axis=1)
        # a leverage of one: the pair fits itself and says nothing of its error
        left = np.where(1 - leverage > _RANK, 1 - leverage, np.nan)
        left = np.where(unseen > 0, left, 1)
        residual = (y - rows @ slopes) / left[:, None]  # [n, T]
        variance += (residual**2 * unseen[:, None]).T @ influence**2
    errors = np.sqrt(variance)
    if not regular and not design.complete:
        errors[:] = np.nan
    return Fit(slopes.T + total[:, None] / num_segments, errors)


def _chunks(
    design: Design, scores: Scores
) -> Iterator[tuple[DoubleArray, DoubleArray, DoubleArray, DoubleArray]]:
    """Centred rows [n, S], weights [n], half differences [n, T] and unseen shares [n]."""
    total = scores.full - scores.empty
    for start in range(0, len(design), _CHUNK):
        part = slice(start, start + _CHUNK)
        rows = design.masks[part].astype(np.float64)
        share = rows.mean(axis=1, keepdims=True)  # |z| / S
        half = (scores.kept[part] - scores.removed[part]) / 2 - (share - 0.5) * total
        yield rows - share, design.weights[part], half, design.unseen[part]


def _inverse(gram: DoubleArray, ridge: float) -> tuple[DoubleArray, bool]:
    """Inverse with the ridge on what the rows span, and whether that is all of mean zero."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > _RANK * max(values[-1], 1e-300)
    scale = np.zeros_like(values)
    scale[kept] = 1 / (values[kept] + ridge)
    inverse: DoubleArray = (vectors * scale) @ vectors.T
    return inverse, int(kept.sum()) == len(values) - 1


def attributions(
    explainer: Explainer,
    segments: SegmentArray,
    targets: Sequence[ScoreTarget],
    found: Fit,
    full: DoubleArray,
    empty: DoubleArray,
) -> list[Attribution]:
    """One attribution for each of T targets; ``full`` and ``empty`` are the scores [T]."""
    return [
        Attribution(
            target=target,
            segments=segments,
            values=found.values[t].astype(np.float32),
            standard_errors=found.standard_errors[t].astype(np.float32),
            score=float(full[t]),
            baseline_score=float(empty[t]),
            method=explainer.name,
            parameters=explainer.parameters,
        )
        for t, target in enumerate(targets)
    ]

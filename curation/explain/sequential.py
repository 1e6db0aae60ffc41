"""Which images to mask next: those whose scores tell most of what is not decided yet.

After a first block of masks the process of :mod:`~curation.explain.coalition_gp` says of every
superpixel what it does and how far that is known. What a further mask would tell is known before it
is scored, since the variance of a Gaussian process does not depend on the scores. So masks are
chosen, out of many, by how much they make certain *which superpixels hurt and which support*: a
superpixel far from either decision, or known well, asks for nothing. The detections of an image
share its masks; what they gain is added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from curation.explain import coalition_gp
from curation.explain.coalition_gp import Float64Array
from curation.kernel.types import FloatArray, IntArray

CUT = 0.1
"""Of the strongest value, from which a superpixel is in a region (``RegionRules``)."""
_FAINT = 1e-12


class Question(NamedTuple):
    """What is open about one detection."""

    weights: Float64Array
    """[S] what a unit less of each superpixel's variance is worth, see :func:`worth`."""
    untried: coalition_gp.Untried
    """Of the candidates."""


def worth(values: Float64Array, errors: Float64Array) -> Float64Array:
    """[S] how much less is decided wrongly for each unit less of the variance of a value.

    Decided is whether a value lies below, between or above the cuts at plus and minus ``CUT`` of
    the strongest. A decision by the mean costs as much as the value lies on the other side; of a
    normal belief with deviation e, u deviations from a cut, that is e L(u) with L the unit normal
    loss, and its derivative by the variance is pdf(u) / 2 e.

    Source:
        The first order of the expected value of information (Raiffa and Schlaifer, 1961), as
        level sets of processes are sought (Bryan et al., 2005).
    """
    cut = CUT * float(np.abs(values).max())
    safe = np.maximum(errors, _FAINT)
    density = sum(np.exp(-0.5 * ((values - level) / safe) ** 2) for level in (-cut, cut))
    found: Float64Array = np.where(errors > _FAINT, density / (2 * safe), 0.0)
    return found


def choose(questions: Sequence[Question], count: int) -> IntArray:
    """Candidates whose scores together answer most, one after the other; see the module.

    Args:
        questions: of every detection, about the same M candidates.
        count: at most M.

    Returns:
        [count] int64, the most telling first; of two that tell the same the first.
    """
    number = questions[0].untried.between.shape[0]
    with_values = [question.untried.with_values.copy() for question in questions]  # [S, M] each
    between = [question.untried.between.copy() for question in questions]  # [M, M] each
    free = np.ones(number, np.bool_)
    chosen = []
    for _ in range(min(count, number)):
        gain = np.zeros(number)
        for question, with_scores, among in zip(questions, with_values, between, strict=True):
            variance = np.maximum(np.diag(among), _FAINT)
            gain += (question.weights @ with_scores**2) / variance
        best = int(np.where(free, gain, -1.0).argmax())
        chosen.append(best)
        free[best] = False
        for with_scores, among in zip(with_values, between, strict=True):
            column = among[:, best] / max(among[best, best], _FAINT)
            with_scores -= np.outer(with_scores[:, best], column)
            among -= np.outer(among[:, best], column)
    return np.array(chosen, np.int64)


def candidates(
    num_segments: int, count: int, shown: float, seen: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Masks to choose from: half of uniform sizes, as Shapley values weigh them, half of one share.

    Args:
        num_segments: S.
        count: how many are drawn; fewer are given where some are alike.
        shown: the share of the second half.
        seen: [N, S] masks that are known already.
        rng: source.

    Returns:
        [M, S] float32 of zeros and ones, distinct, none of them seen.
    """
    sizes = np.where(
        np.arange(count) % 2 == 0,
        rng.integers(1, max(2, num_segments), count),
        rng.binomial(num_segments, shown, count),
    )
    ranks = rng.random((count, num_segments)).argsort(axis=1)
    drawn = ranks < sizes[:, None]  # [count, S]
    known = {row.tobytes() for row in np.packbits(seen > 0, axis=1)}
    kept = []
    for row, bits in zip(drawn, np.packbits(drawn, axis=1), strict=True):
        if bits.tobytes() not in known:
            known.add(bits.tobytes())
            kept.append(row)
    return np.array(kept, np.float32).reshape(-1, num_segments)


def undecided(values: Float64Array, errors: Float64Array) -> float:
    """How much of the total size of the values lies on the wrong side of a cut, as believed.

    The expected loss of :func:`worth` over the sum of the absolute values: 0 where all is decided.
    """
    cut = CUT * float(np.abs(values).max())
    size = float(np.abs(values).sum())
    if size <= 0:
        return 0.0
    loss = 0.0
    for level in (-cut, cut):
        u = np.abs(values - level) / np.maximum(errors, _FAINT)
        density = np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi)
        loss += float((errors * (density - u * ndtr(-u))).sum())
    return loss / size

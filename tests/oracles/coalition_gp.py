"""Values of a Gaussian process over coalitions by enumeration: all masks, plain loops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np


def covariance(first, second, rates, linear=None) -> float:
    """exp of minus the rates of what two masks disagree on, and what superpixels do alone."""
    alone = math.exp(-sum(r for r, a, b in zip(rates, first, second, strict=True) if a != b))
    if linear is None:
        return alone
    signs = [[1 if shown else -1 for shown in mask] for mask in (first, second)]
    return alone + sum(
        linear[i][j] * a * b for i, a in enumerate(signs[0]) for j, b in enumerate(signs[1])
    )


def exact_shapley(values: dict[tuple[int, ...], float], num_segments: int) -> list[float]:
    """From the values of all masks, by the sum over coalitions without the superpixel."""

    def weight(size: int) -> float:
        rest = math.factorial(num_segments - size - 1)
        return math.factorial(size) * rest / math.factorial(num_segments)

    return _differences(values, num_segments, weight)


def exact_banzhaf(
    values: dict[tuple[int, ...], float], num_segments: int, shown: float
) -> list[float]:
    """The same with every other superpixel shown with one probability."""
    rest = num_segments - 1
    return _differences(values, num_segments, lambda n: shown**n * (1 - shown) ** (rest - n))


def _differences(
    values: dict[tuple[int, ...], float], num_segments: int, weight: Callable[[int], float]
) -> list[float]:
    """Weighted sums of what each superpixel adds to coalitions of so many others."""
    result = []
    for segment in range(num_segments):
        total = 0.0
        for mask in itertools.product((0, 1), repeat=num_segments):
            if mask[segment]:
                continue
            with_it = (*mask[:segment], 1, *mask[segment + 1 :])
            total += weight(sum(mask)) * (values[with_it] - values[mask])
        result.append(total)
    return result


def posterior(
    masks, scores, rates, noises, exact=exact_shapley, linear=None
) -> tuple[list[float], list[float]]:
    """Values of the posterior mean over all 2^S masks, and their standard deviations.

    Universal kriging with an unknown constant mean; the scale is set to its most probable value.
    """
    num_segments = masks.shape[1]
    every = list(itertools.product((0, 1), repeat=num_segments))
    known = np.array([[covariance(a, b, rates, linear) for b in masks] for a in masks]) + np.diag(
        noises
    )
    cross = np.array([[covariance(a, b, rates, linear) for b in masks] for a in every])
    among = np.array([[covariance(a, b, rates, linear) for b in every] for a in every])
    inverse = np.linalg.inv(known)
    one = np.ones(len(masks))
    mean = one @ inverse @ scores / (one @ inverse @ one)
    centred = scores - mean
    scale = centred @ inverse @ centred / (len(masks) - 1)
    guess = mean + cross @ inverse @ centred
    values = exact(dict(zip(every, guess, strict=True)), num_segments)
    off = 1 - cross @ inverse @ one
    spread = among - cross @ inverse @ cross.T + np.outer(off, off) / (one @ inverse @ one)
    # the same linear map on the covariance: one column for each mask
    linear = np.array(
        [exact({other: float(other == mask) for other in every}, num_segments) for mask in every]
    )  # [2^S, S]
    variances = np.diag(linear.T @ spread @ linear) * scale
    return values, [math.sqrt(max(0.0, variance)) for variance in variances]

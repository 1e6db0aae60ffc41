"""Shapley values by plain loops: from the definition, and by KernelSHAP's regression as stated."""

from __future__ import annotations

import itertools
import math

import numpy as np


def exact(game, num_players: int) -> list[float]:
    """Values [S] of a game, a function of a tuple of zeros and ones."""
    values = [0.0] * num_players
    for order in itertools.permutations(range(num_players)):
        present = [0] * num_players
        before = game(tuple(present))
        for player in order:
            present[player] = 1
            after = game(tuple(present))
            values[player] += (after - before) / math.factorial(num_players)
            before = after
    return values


def constrained_regression(
    masks: np.ndarray, weights: np.ndarray, scores: np.ndarray, full: float, empty: float
) -> np.ndarray:
    """Values [S] that minimise the weighted squares of score - empty - sum of the members' values,
    over coalitions [N, S] that need not be pairs, their sum fixed by a Lagrange multiplier."""
    size = masks.shape[1]
    system, right = np.zeros((size + 1, size + 1)), np.zeros(size + 1)
    for mask, weight, score in zip(masks, weights, scores, strict=True):
        row = mask.astype(np.float64)
        for i in range(size):
            right[i] += weight * row[i] * (score - empty)
            for j in range(size):
                system[i, j] += weight * row[i] * row[j]
    system[:size, size] = system[size, :size] = 1
    right[size] = full - empty
    return np.linalg.solve(system, right)[:size]

"""FGVis's deletion game on a network of 1 x 1 convolutions, pixel by pixel in plain Python."""

from __future__ import annotations

import math


def deletion(
    x: list[float],
    first: list[list[float]],
    second: list[list[float]],
    label: int,
    num_steps: int,
    rate: float,
    stop_ratio: float,
    defence: bool,
) -> list[float]:
    """The mask of the one pixel that the default box sees.

    Args:
        x: the pixel's three values.
        first: [C][3] weights into ReLU.
        second: [K][C] weights into logits.
        label: class whose log-odds fall.
    """
    limit = [max(0.0, sum(w * v for w, v in zip(row, x, strict=True))) for row in first]
    mask, start = [1.0, 1.0, 1.0], None
    for _ in range(num_steps):
        before = [sum(w * m * v for w, m, v in zip(row, mask, x, strict=True)) for row in first]
        hidden = [max(0.0, value) for value in before]
        logits = [sum(w * h for w, h in zip(row, hidden, strict=True)) for row in second]
        others = [logit for k, logit in enumerate(logits) if k != label]
        total = sum(math.exp(logit) for logit in others)
        log_odds = logits[label] - math.log(total)
        probability = 1 / (1 + math.exp(-log_odds))
        start = probability if start is None else start
        by_logit = [
            1.0 if k == label else -math.exp(logit) / total for k, logit in enumerate(logits)
        ]
        slope = [0.0, 0.0, 0.0]
        for c, row in enumerate(first):
            by_hidden = sum(g * second[k][c] for k, g in enumerate(by_logit))
            if defence and not 0.0 <= hidden[c] <= limit[c]:
                by_hidden = 0.0
            if before[c] <= 0:
                by_hidden = 0.0
            for colour in range(3):
                slope[colour] += by_hidden * row[colour] * x[colour]
        if probability <= stop_ratio * start:
            break
        largest = max(1e-30, *(abs(value) for value in slope))
        mask = [
            min(1.0, max(0.0, m - rate * g / largest)) for m, g in zip(mask, slope, strict=True)
        ]
    return mask

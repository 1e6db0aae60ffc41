"""Two people's boxes of one image, compared: which objects are the same, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from curation.kernel.boxes import pairwise_iou
from curation.kernel.types import FloatArray

Verdict: TypeAlias = Literal["same", "box", "class", "first", "second"]
"""The same object; with another box; with another class or flag; only of the first; of the second.
"""
VERDICTS: tuple[Verdict, ...] = ("same", "box", "class", "first", "second")
LEAST_OVERLAP = 0.3
"""IoU from which two boxes are of one object: below it, a person has boxed another thing. Half of
the objects' side off in one direction is 0.33."""
CLASS_BONUS = 0.1
"""Of two boxes that overlap a third about as much, the one of the same class is its partner."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One object of either or both.

    Attributes:
        verdict: see there.
        first: row of the first person's boxes; None: only the second has it.
        second: row of the second person's.
        iou: of both boxes, in 0..1; 0 where only one has it.
    """

    verdict: Verdict
    first: int | None
    second: int | None
    iou: float


def compare(
    first_xyxy: FloatArray,
    first_labels: Sequence[str],
    second_xyxy: FloatArray,
    second_labels: Sequence[str],
    min_iou: float,
) -> list[Pair]:
    """Pair the boxes of two people, and judge each pair.

    Args:
        first_xyxy: [N, 4] px.
        first_labels: N classes, with whatever else must be equal.
        second_xyxy: [M, 4] px of the same image.
        second_labels: M classes.
        min_iou: from which two boxes of one class are the same, in (0, 1].

    Returns:
        Every box once, those of the first in their order, then those that only the second has.

    Source:
        The assignment of greatest total overlap: H. W. Kuhn, The Hungarian Method for the
        Assignment Problem, 1955.
    """
    from scipy.optimize import linear_sum_assignment

    partner: dict[int, int] = {}
    overlap: FloatArray = np.zeros((len(first_labels), len(second_labels)), np.float32)
    if overlap.size:
        overlap = pairwise_iou(first_xyxy, second_xyxy)
        alike = np.array([[a == b for b in second_labels] for a in first_labels])
        possible = overlap >= LEAST_OVERLAP
        worth = np.where(possible, overlap + CLASS_BONUS * alike, 0)
        rows, columns = linear_sum_assignment(worth, maximize=True)
        partner = {
            int(row): int(column)
            for row, column in zip(rows, columns, strict=True)
            if possible[row, column]
        }
    pairs = []
    for row, label in enumerate(first_labels):
        column = partner.get(row)
        if column is None:
            pairs.append(Pair("first", row, None, 0.0))
            continue
        iou = float(overlap[row, column])
        if label != second_labels[column]:
            pairs.append(Pair("class", row, column, iou))
        else:
            pairs.append(Pair("same" if iou >= min_iou else "box", row, column, iou))
    taken = set(partner.values())
    alone = [column for column in range(len(second_labels)) if column not in taken]
    return pairs + [Pair("second", None, column, 0.0) for column in alone]

"""Failures and words of one frame by their places: which of them are about the same thing.

A frame with thousands of objects has thousands of failures of each model, and all are compared
while others wait to write. One comparison of arrays for each failure keeps that to a part of a
second; one Python call for each pair took minutes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from curation.kernel.boxes import overlaps
from curation.kernel.types import FailureKind
from services.db.tables import FailureRow, FailureState

SAME_IOU = 0.5
"""Two failures are the same one if class and family agree and their boxes overlap so much."""
SAME_OBJECT_IOU = 0.99
"""Two boxes of truth are the same box, but for what rounding to hundredths of a pixel leaves."""
NO_OBJECT = -1
"""In the place of a truth index where there is none."""

_Key: TypeAlias = tuple[str, bool, bool]
_Mask: TypeAlias = npt.NDArray[np.bool_]


def is_false(row: FailureRow) -> bool:
    """Whether it is a detection of nothing, rather than an object that was not found."""
    return row.kind == FailureKind.FALSE_POSITIVE


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Failures that only their places tell apart.

    Attributes:
        rows: the failures.
        boxes: [N, 4] px.
        objects: [N] truth indices.
        dismissed: [N] flags.
    """

    rows: list[FailureRow]
    boxes: npt.NDArray[np.float64]
    objects: npt.NDArray[np.int64]
    dismissed: _Mask

    @staticmethod
    def of(rows: list[FailureRow]) -> _Group:
        """Some failures as arrays."""
        return _Group(
            rows,
            _boxes([row.box for row in rows]),
            np.array([_object(row) for row in rows], np.int64),
            np.array([row.state == FailureState.DISMISSED for row in rows], np.bool_),
        )


class Places:
    """Failures of one frame, to be asked which are the same as another.

    The same means: about the same object, or the same false detection. Class and family agree, and
    the boxes overlap by half; where the truth was corrected in between, so that an object has
    another number, only the same box is the same object.

    Args:
        rows: failures, the oldest first; their states are read now.
    """

    def __init__(self, rows: Iterable[FailureRow]) -> None:
        members: dict[_Key, list[FailureRow]] = defaultdict(list)
        for row in rows:
            members[_key(row)].append(row)
        self._groups = {key: _Group.of(some) for key, some in members.items()}

    def first(self, row: FailureRow) -> FailureRow | None:
        """The first failure that is the same as this; None where there is none."""
        group, same, _ = self._look(row)
        return group.rows[int(same.argmax())] if group is not None and same.any() else None

    def has(self, row: FailureRow) -> bool:
        """Whether any is the same."""
        return bool(self._look(row)[1].any())

    def is_dismissed(self, row: FailureRow) -> bool:
        """Whether what was dismissed is this; an object whose box was corrected since is not."""
        group, same, overlap = self._look(row)
        if group is None:
            return False
        meant = same & group.dismissed
        return bool(meant.any() if is_false(row) else (meant & (overlap >= SAME_OBJECT_IOU)).any())

    def _look(self, row: FailureRow) -> tuple[_Group | None, _Mask, npt.NDArray[np.float64]]:
        group = self._groups.get(_key(row))
        if group is None:
            return None, np.zeros(0, np.bool_), np.zeros(0)
        overlap = overlaps(row.box, group.boxes)
        least = np.where(group.objects == _object(row), SAME_IOU, SAME_OBJECT_IOU)
        return group, overlap >= least, overlap


class Spots:
    """Objects or reports of one frame, to be asked whether one of a class is at a place."""

    def __init__(self, entries: Iterable[Mapping[str, Any]]) -> None:
        boxes: dict[str, list[Sequence[float]]] = defaultdict(list)
        for entry in entries:
            boxes[str(entry["label"])].append(entry["box"])
        self._boxes = {label: _boxes(some) for label, some in boxes.items()}

    def has(self, row: FailureRow) -> bool:
        """Whether one of its class is where a failure is."""
        boxes = self._boxes.get(row.label)
        return boxes is not None and bool((overlaps(row.box, boxes) >= SAME_IOU).any())


def _key(row: FailureRow) -> _Key:
    return row.label, is_false(row), row.truth_index is None


def _object(row: FailureRow) -> int:
    return NO_OBJECT if row.truth_index is None else row.truth_index


def _boxes(boxes: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
    return np.array(boxes, np.float64).reshape(-1, 4)

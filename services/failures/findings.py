"""What a scan changes among the stored failures of its frame.

A scan knows the failures of one model under what is said about the frame at this moment. From that
follow, in this order: what is new, what of this model's is no failure any more and what is one
again (:func:`keep_own`), and, if the model is the champion, what earlier models got wrong that is
right now (:func:`settle_earlier`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from services.db.convert import latest_annotations
from services.db.tables import (
    Explanation,
    FailureRow,
    FailureState,
    Observation,
)
from services.failures.places import Places, Spots, is_false

OPERATOR = "operator"
"""Source of a failure that a person reported."""
DISMISSED_FLAG = "dismissed"
"""Key of a report that a person has taken back."""


@dataclass(frozen=True, slots=True)
class Words:
    """What is said about a frame: what every failure in it must follow from.

    Attributes:
        objects: its truth; None: nobody has said what is there.
        reports: an operator's words, without those that were taken back.
        said_at: when the truth came in, or was corrected last.
    """

    objects: list[dict[str, Any]] | None
    reports: list[dict[str, Any]]
    said_at: datetime | None

    def labels(self) -> list[str]:
        """Class of each object and report."""
        return [str(entry["label"]) for entry in (*(self.objects or ()), *self.reports)]


def words_of(session: Session, image_id: str) -> Words:
    """What is said about a frame now."""
    annotation = latest_annotations(session, [image_id]).get(image_id)
    observation = session.scalar(select(Observation).where(Observation.image_id == image_id))
    reports = observation.reports if observation is not None else []
    return Words(
        objects=None if annotation is None else list(annotation.objects),
        reports=[report for report in reports if not report.get(DISMISSED_FLAG)],
        said_at=None if annotation is None else annotation.created_at,
    )


def keep_own(
    session: Session, image_id: str, model_id: str, found: Sequence[FailureRow]
) -> dict[str, int]:
    """Store what a model gets wrong in a frame; nothing else of it there is a failure any more.

    Args:
        session: the caller's transaction.
        image_id: the frame.
        model_id: the model.
        found: all its failures there, not in the session; those that are known stay as they are.

    Returns:
        How many are ``new``, ``withdrawn`` and ``returned``.
    """
    fresh = insert(session, image_id, found)
    now = {row.id: row for row in found}
    mine = (FailureRow.image_id == image_id, FailureRow.model_id == model_id)
    withdrawn = returned = 0
    for row in session.scalars(select(FailureRow).where(*mine)):
        again = now.get(row.id)
        if again is None and row.state in (FailureState.FOUND, FailureState.EXPLAINED):
            row.state = FailureState.WITHDRAWN
            withdrawn += 1
        elif again is not None and row.id not in fresh and _comes_back(row, again):
            row.state = _open_state(session, row)
            returned += 1
    return {"new": len(fresh), "withdrawn": withdrawn, "returned": returned}


def insert(session: Session, image_id: str, found: Sequence[FailureRow]) -> set[str]:
    """Add what is new, each at the place of the first failure that was the same.

    What a person has dismissed there stays dismissed, whichever model makes it, unless it is
    reported anew.

    Returns:
        Ids of what is new.
    """
    earlier = session.scalars(
        select(FailureRow)
        .where(FailureRow.image_id == image_id)
        .order_by(FailureRow.created_at, FailureRow.id)
    ).all()
    known = {row.id for row in earlier}
    fresh = {row.id: row for row in found if row.id not in known}
    places = Places(earlier)
    for row in fresh.values():
        same = places.first(row)
        row.place = row.id if same is None else same.place
        if row.source != OPERATOR and places.is_dismissed(row):
            row.state = FailureState.DISMISSED
    session.add_all(fresh.values())
    session.flush()
    return set(fresh)


def settle_earlier(
    session: Session,
    image_id: str,
    model_id: str,
    found: Sequence[FailureRow],
    words: Words,
    names: Sequence[str],
) -> dict[str, int]:
    """Compare what earlier models got wrong in a frame with what the champion gets wrong.

    Failures that do not follow from what is said now are withdrawn, not fixed: the gate would ask
    of every challenger that it finds what is not there. Where the truth is put back, so are they.

    Args:
        session: the caller's transaction.
        image_id: the frame.
        model_id: the champion.
        found: all its failures there.
        words: what is said about the frame.
        names: classes of the champion; it cannot have fixed an object of any other.

    Returns:
        How many are ``fixed``, ``reopened`` and ``withdrawn``.
    """
    # Its own may have been fixed by a model that it took the place of again.
    earlier = or_(FailureRow.model_id != model_id, FailureRow.state == FailureState.FIXED)
    kept = FailureRow.state != FailureState.DISMISSED
    counted = {"fixed": 0, "reopened": 0, "withdrawn": 0}
    wanted = select(FailureRow).where(FailureRow.image_id == image_id, kept, earlier)
    now, said = Places(found), _Said.of(words)
    for row in session.scalars(wanted):
        still = now.has(row)
        if not said.gives(row):
            counted["withdrawn"] += row.state != FailureState.WITHDRAWN
            row.state, row.fixed_by = FailureState.WITHDRAWN, None
            continue
        if row.state == FailureState.WITHDRAWN:  # the truth was put back
            row.state = _open_state(session, row)
        if row.label not in names and not is_false(row):
            continue
        if not still and row.state != FailureState.FIXED:
            row.state, row.fixed_by = FailureState.FIXED, model_id
            counted["fixed"] += 1
        elif still and row.state == FailureState.FIXED:
            row.state, row.fixed_by = _open_state(session, row), None
            counted["reopened"] += 1
    return counted


def overlap_of(first: Sequence[float], second: Sequence[float]) -> float:
    """Jaccard overlap of two boxes, by plain arithmetic: this runs while others wait to write."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    union = _area(first) + _area(second) - shared
    return shared / union if union > 0 else 0.0


def _area(box: Sequence[float]) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _comes_back(row: FailureRow, again: FailureRow) -> bool:
    """A dismissed one only by a report: the one behind it was taken back, so this is another."""
    return row.state == FailureState.WITHDRAWN or (
        row.state == FailureState.DISMISSED and again.source == OPERATOR
    )


def _open_state(session: Session, row: FailureRow) -> FailureState:
    explained = select(Explanation.id).where(Explanation.failure_id == row.id).limit(1)
    known = session.scalar(explained) is not None
    return FailureState.EXPLAINED if known else FailureState.FOUND


@dataclass(frozen=True, slots=True, eq=False)
class _Said:
    """What is said about a frame, by its places.

    Attributes:
        missed: reports of objects that were not found.
        false: reports of detections of nothing.
        objects: the truth.
        counted: the truth, without what is to be ignored.
        said_at: when the truth came in, or was corrected last.
    """

    missed: Spots
    false: Spots
    objects: Spots
    counted: Spots
    said_at: datetime | None

    @staticmethod
    def of(words: Words) -> _Said:
        """Words about a frame."""
        objects = words.objects or []
        return _Said(
            missed=Spots(entry for entry in words.reports if entry["kind"] != "false"),
            false=Spots(entry for entry in words.reports if entry["kind"] == "false"),
            objects=Spots(objects),
            counted=Spots(entry for entry in objects if not entry.get("ignore")),
            said_at=words.said_at,
        )

    def gives(self, row: FailureRow) -> bool:
        """Whether another model's failure would be one under what is said now."""
        if (self.false if is_false(row) else self.missed).has(row):
            return True
        if not is_false(row):
            return self.counted.has(row)
        # A second detection of one object is false as well: only corrected truth can excuse it.
        corrected = self.said_at is not None and self.said_at > row.created_at
        return not (corrected and self.objects.has(row))

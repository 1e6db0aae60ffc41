"""What a list of failures is filtered by: the same words at the page, the API and the command."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from services.db.tables import TAKEN_BACK, FailureRow, Image, Model, Role

NO_MODE = 0
LOOKED_AT = 2000
"""Failures whose drives are offered, the newest: what there is to choose from stays as cheap
whatever there ever was."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filters of a list; None and empty ones take everything, but what was taken back.

    Attributes:
        state: the only way to what was dismissed or withdrawn.
        mode: number; 0: those in no mode.
        model: number.
        drive: the group that their frames came in with.
        since: first day on which they came in, UTC.
        until: last day, UTC.
    """

    state: str = ""
    kind: str = ""
    label: str = ""
    mechanism: str = ""
    mode: int | None = None
    model: int | None = None
    drive: str = ""
    since: date | None = None
    until: date | None = None

    def to_dict(self) -> dict[str, Any]:
        """As an address has them."""
        return asdict(self)


def conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    """What a failure must fulfil."""
    found: list[ColumnElement[bool]] = [
        FailureRow.state == wanted.state if wanted.state else FailureRow.state.not_in(TAKEN_BACK)
    ]
    for column, value in (
        (FailureRow.kind, wanted.kind),
        (FailureRow.label, wanted.label),
        (FailureRow.mechanism, wanted.mechanism),
    ):
        if value:
            found.append(column == value)
    if wanted.mode is not None:
        none = wanted.mode == NO_MODE
        found.append(FailureRow.mode_id.is_(None) if none else FailureRow.mode_id == wanted.mode)
    if wanted.model is not None:
        of_number = select(Model.id).where(Model.number == wanted.model).scalar_subquery()
        found.append(FailureRow.model_id == of_number)
    if wanted.drive:
        # The role too: the index over groups begins with it.
        frames = select(Image.id).where(Image.role == Role.FIELD, Image.group == wanted.drive)
        found.append(FailureRow.image_id.in_(frames))
    if wanted.since is not None:
        found.append(FailureRow.created_at >= _midnight(wanted.since))
    if wanted.until is not None and wanted.until < date.max:
        found.append(FailureRow.created_at < _midnight(wanted.until + timedelta(days=1)))
    return found


def drives(session: Session, most: int) -> list[str]:
    """Drives of the failures that came in last, by name."""
    newest = (
        select(FailureRow.image_id)
        .order_by(FailureRow.created_at.desc(), FailureRow.id.desc())
        .limit(LOOKED_AT)
        .subquery()
    )
    names = (
        select(Image.group)
        .join(newest, newest.c.image_id == Image.id)
        .where(Image.group != "")
        .distinct()
        .order_by(Image.group)
        .limit(most)
    )
    return list(session.scalars(names))


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)

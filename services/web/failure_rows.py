"""What the list of failures reads: a page by filters, and what there is to filter by."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from services.db.tables import (
    TAKEN_BACK,
    FailureRow,
    Image,
    Model,
    ModeRow,
)
from services.models.classes import class_names
from services.web import cursors

PAGE = 24
CHOICES = 200
"""Of modes and models to filter by: the newest."""
NO_MODE = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filters of the list; None and empty ones take everything.

    Attributes:
        mode: number; 0: those in no mode.
        model: number.
        since: first day, UTC.
        until: last day, UTC.
    """

    state: str = ""
    kind: str = ""
    label: str = ""
    mechanism: str = ""
    mode: int | None = None
    model: int | None = None
    since: date | None = None
    until: date | None = None

    def to_dict(self) -> dict[str, Any]:
        """As an address has them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Line:
    """A failure with the names that people know."""

    row: FailureRow
    frame: str
    model: int


def listed(session: Session, wanted: Wanted, before: str) -> tuple[list[Line], str]:
    """A page of failures, the newest first, and the cursor of the next one or nothing.

    Those that were taken back are there only where the state names them.
    """
    query = (
        select(FailureRow, Image.name, Model.number)
        .join(Image, Image.id == FailureRow.image_id)
        .join(Model, Model.id == FailureRow.model_id)
        .order_by(FailureRow.created_at.desc(), FailureRow.id.desc())
        .limit(PAGE + 1)
    )
    query = query.where(*_conditions(wanted))
    if before:
        at, identity = cursors.read_time(before)
        older = and_(FailureRow.created_at == at, FailureRow.id < identity)
        query = query.where(or_(FailureRow.created_at < at, older))
    lines = [Line(row, name, number) for row, name, number in session.execute(query)]
    shown = lines[:PAGE]
    last = shown[-1].row if len(lines) > PAGE else None
    return shown, "" if last is None else cursors.by_time(last.created_at, last.id)


def _conditions(wanted: Wanted) -> list[Any]:
    found: list[Any] = []
    if wanted.state:
        found.append(FailureRow.state == wanted.state)
    else:
        found.append(FailureRow.state.not_in(TAKEN_BACK))
    for column, value in (
        (FailureRow.kind, wanted.kind),
        (FailureRow.label, wanted.label),
        (FailureRow.mechanism, wanted.mechanism),
    ):
        if value:
            found.append(column == value)
    if wanted.mode is not None:
        of_mode = wanted.mode if wanted.mode != NO_MODE else None
        found.append(FailureRow.mode_id == of_mode)
    if wanted.model is not None:
        found.append(Model.number == wanted.model)
    if wanted.since is not None:
        found.append(FailureRow.created_at >= _midnight(wanted.since))
    if wanted.until is not None:
        found.append(FailureRow.created_at < _midnight(wanted.until) + timedelta(days=1))
    return found


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Choices:
    """What the list can be filtered by."""

    labels: list[str]
    modes: list[tuple[int, str]]
    models: list[int]


def choices(session: Session) -> Choices:
    """Classes, and the newest modes and models."""
    modes = select(ModeRow.id, ModeRow.name).order_by(ModeRow.id.desc()).limit(CHOICES)
    models = select(Model.number).order_by(Model.number.desc()).limit(CHOICES)
    return Choices(
        list(class_names(session)[1:]),
        [(number, name) for number, name in session.execute(modes)],
        list(session.scalars(models)),
    )

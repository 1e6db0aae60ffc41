"""What the list of failures reads: a page by filters, and what there is to filter by."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from services.db.tables import FailureRow, Image, Model, ModeRow
from services.failures import listing
from services.models.classes import class_names
from services.web import cursors

PAGE = 24
CHOICES = 200
"""Of modes and models to filter by: the newest."""


@dataclass(frozen=True, slots=True)
class Line:
    """A failure with the names that people know."""

    row: FailureRow
    frame: str
    drive: str
    model: int


def listed(session: Session, wanted: listing.Wanted, before: str) -> tuple[list[Line], str]:
    """A page of failures, the newest first, and the cursor of the next one or nothing.

    Those that were taken back are there only where the state names them.
    """
    query = (
        select(FailureRow, Image.name, Image.group, Model.number)
        .join(Image, Image.id == FailureRow.image_id)
        .join(Model, Model.id == FailureRow.model_id)
        .order_by(FailureRow.created_at.desc(), FailureRow.id.desc())
        .limit(PAGE + 1)
    )
    query = query.where(*listing.conditions(wanted))
    if before:
        at, identity = cursors.read_time(before)
        older = and_(FailureRow.created_at == at, FailureRow.id < identity)
        query = query.where(or_(FailureRow.created_at < at, older))
    lines = [Line(*found) for found in session.execute(query)]
    shown = lines[:PAGE]
    last = shown[-1].row if len(lines) > PAGE else None
    return shown, "" if last is None else cursors.by_time(last.created_at, last.id)


@dataclass(frozen=True, slots=True)
class Choices:
    """What the list can be filtered by."""

    labels: list[str]
    modes: list[tuple[int, str]]
    models: list[int]
    drives: list[str]


def choices(session: Session) -> Choices:
    """Classes, the newest modes and models, and the drives of the newest failures."""
    modes = select(ModeRow.id, ModeRow.name).order_by(ModeRow.id.desc()).limit(CHOICES)
    models = select(Model.number).order_by(Model.number.desc()).limit(CHOICES)
    return Choices(
        list(class_names(session)[1:]),
        [(number, name) for number, name in session.execute(modes)],
        list(session.scalars(models)),
        listing.drives(session, CHOICES),
    )

"""What the pages of failures read: lists by filters, and the lineage of one both ways."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session, aliased

from services.db.tables import (
    TAKEN_BACK,
    Annotation,
    Audit,
    CandidateRow,
    Cycle,
    DatasetVersion,
    Explanation,
    FailureRow,
    Image,
    LabelTask,
    Model,
    ModeRow,
    Observation,
)
from services.errors import NotFound
from services.models.classes import class_names
from services.web import cursors

PAGE = 24
CHOICES = 200
"""Of modes and models to filter by: the newest."""
LINES = 50
"""Of a lineage: the first."""
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


@dataclass(frozen=True, slots=True)
class Asked:
    """An image that was asked for on account of a failure, and what came of it."""

    candidate: CandidateRow
    image: str
    cycle: Cycle
    state: str | None
    boxes: int | None
    author: str | None
    dataset: str | None
    challenger: int | None


@dataclass(frozen=True, slots=True)
class Whole:
    """One failure with everything that it came from, and that came of it."""

    row: FailureRow
    image: Image
    model: Model
    mode: ModeRow | None
    fixed_by: int | None
    observation: Observation | None
    truth: Annotation | None
    explanations: list[Explanation]
    same_place: list[tuple[FailureRow, int]]
    asked: list[Asked]
    audit: list[Audit]


def whole(session: Session, failure_id: str) -> Whole:
    """One failure; as many statements whatever hangs on it.

    Raises:
        NotFound: there is none.
    """
    fixer = aliased(Model)
    found = session.execute(
        select(FailureRow, Image, Model, ModeRow, fixer.number, Observation)
        .join(Image, Image.id == FailureRow.image_id)
        .join(Model, Model.id == FailureRow.model_id)
        .outerjoin(ModeRow, ModeRow.id == FailureRow.mode_id)
        .outerjoin(fixer, fixer.id == FailureRow.fixed_by)
        .outerjoin(Observation, Observation.image_id == FailureRow.image_id)
        .where(FailureRow.id == failure_id)
    ).first()
    if found is None:
        raise NotFound(f"no failure {failure_id}")
    row, image, model, mode, fixed_by, observation = found
    return Whole(
        row=row,
        image=image,
        model=model,
        mode=mode,
        fixed_by=fixed_by,
        observation=observation,
        truth=session.scalar(
            select(Annotation)
            .where(Annotation.image_id == image.id)
            .order_by(Annotation.revision.desc())
            .limit(1)
        ),
        explanations=list(
            session.scalars(
                select(Explanation)
                .where(Explanation.failure_id == row.id)
                .order_by(Explanation.created_at.desc())
                .limit(LINES)
            )
        ),
        same_place=_same_place(session, row),
        asked=_asked(session, row.id),
        audit=list(
            session.scalars(
                select(Audit)
                .where(Audit.subject == f"failure:{row.id}")
                .order_by(Audit.id)
                .limit(LINES)
            )
        ),
    )


def _same_place(session: Session, row: FailureRow) -> list[tuple[FailureRow, int]]:
    query = (
        select(FailureRow, Model.number)
        .join(Model, Model.id == FailureRow.model_id)
        .where(FailureRow.place == row.place, FailureRow.id != row.id)
        .order_by(Model.number)
        .limit(LINES)
    )
    return [(other, number) for other, number in session.execute(query)]


def _asked(session: Session, failure_id: str) -> list[Asked]:
    query = (
        select(
            CandidateRow,
            Image.name,
            Cycle,
            LabelTask.state,
            Annotation,
            DatasetVersion.id,
            Model.number,
        )
        .join(Image, Image.id == CandidateRow.image_id)
        .join(Cycle, Cycle.id == CandidateRow.cycle_id)
        .outerjoin(
            LabelTask,
            and_(
                LabelTask.cycle_id == CandidateRow.cycle_id,
                LabelTask.image_id == CandidateRow.image_id,
            ),
        )
        .outerjoin(Annotation, Annotation.id == LabelTask.annotation_id)
        .outerjoin(DatasetVersion, DatasetVersion.id == Cycle.dataset_version_id)
        .outerjoin(Model, Model.id == Cycle.challenger_id)
        .where(CandidateRow.failure_id == failure_id)
        .order_by(CandidateRow.cycle_id, CandidateRow.rank)
        .limit(LINES)
    )
    return [
        Asked(
            candidate,
            name,
            cycle,
            state,
            None if answer is None else len(answer.objects),
            None if answer is None else answer.author,
            dataset,
            number,
        )
        for candidate, name, cycle, state, answer, dataset, number in session.execute(query)
    ]

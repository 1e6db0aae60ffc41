"""One failure with its lineage both ways: what it came from, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, select
from sqlalchemy.orm import Session, aliased

from services.db.tables import (
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
    SecondLook,
)
from services.errors import NotFound
from services.labeling import outcomes

LINES = 50
"""Of each list: the first."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An image that was asked for on account of a failure, and what came of it."""

    candidate: CandidateRow
    image: str
    cycle: Cycle
    state: str
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
            SecondLook.state,
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
        .outerjoin(SecondLook, SecondLook.task_id == LabelTask.id)
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
            outcomes.words_of(state, look),
            None if answer is None else len(answer.objects),
            None if answer is None else answer.author,
            dataset,
            number,
        )
        for candidate, name, cycle, state, look, answer, dataset, number in session.execute(query)
    ]

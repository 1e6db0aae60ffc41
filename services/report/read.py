"""Reads the rows that the page is about."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.db.tables import (
    Annotation,
    CandidateRow,
    Cycle,
    DatasetVersion,
    Explanation,
    FailureRow,
    FailureState,
    Image,
    LabelTask,
    Model,
    ModeRow,
)
from services.errors import NotFound

BATCH = 500
"""Databases bound the number of parameters of a query."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A pool image that was asked for, and what people said about it."""

    candidate: CandidateRow
    image: Image
    task: LabelTask | None
    annotation: Annotation | None


@dataclass(frozen=True, slots=True)
class ModeRows:
    """A failure mode with its failures, the most typical first, and the samples it led to."""

    mode: ModeRow
    failures: list[FailureRow]
    samples: list[Sample]


@dataclass(frozen=True, slots=True)
class CycleRows:
    """A cycle with its modes, the largest first, and the samples that belong to none."""

    cycle: Cycle
    modes: list[ModeRows]
    other_samples: list[Sample]

    @property
    def samples(self) -> list[Sample]:
        """All that was asked for."""
        return [sample for mode in self.modes for sample in mode.samples] + self.other_samples


@dataclass(frozen=True, slots=True)
class ReportRows:
    """Everything that the page shows, read at one moment."""

    cycles: list[CycleRows]
    models: list[Model]
    datasets: dict[str, DatasetVersion]
    images: dict[str, Image]
    explanations: dict[str, Explanation]
    failures_by_model: dict[str, int]
    failure_states: dict[str, int]

    def model(self, model_id: str | None) -> Model | None:
        """A model by id."""
        return next((model for model in self.models if model.id == model_id), None)

    def number(self, model_id: str | None) -> str:
        """What people call a model."""
        found = self.model(model_id)
        return f"model {found.number}" if found else "no model"


def read_rows(session: Session, cycle_ids: Sequence[int] | None) -> ReportRows:
    """Read the cycles that are named, or all.

    Raises:
        NotFound: there is no such cycle.
    """
    query = select(Cycle).order_by(Cycle.id)
    if cycle_ids is not None:
        query = query.where(Cycle.id.in_(cycle_ids))
    cycles = session.scalars(query).all()
    missing = set(cycle_ids or ()) - {cycle.id for cycle in cycles}
    if missing:
        raise NotFound(f"no cycle {min(missing)}: see `e2x cycle list`")
    found = [_read_cycle(session, cycle) for cycle in cycles]
    failures = [row for cycle in found for mode in cycle.modes for row in mode.failures]
    return ReportRows(
        cycles=found,
        models=list(session.scalars(select(Model).order_by(Model.number))),
        datasets={row.id: row for row in session.scalars(select(DatasetVersion))},
        images=_images(session, {row.image_id for row in failures}),
        explanations=_explanations(session, [row.id for row in failures]),
        failures_by_model=_counts(session, FailureRow.model_id),
        failure_states=_counts(session, FailureRow.state),
    )


def _read_cycle(session: Session, cycle: Cycle) -> CycleRows:
    samples = _samples(session, cycle.id)
    modes = session.scalars(
        select(ModeRow)
        .where(ModeRow.cycle_id == cycle.id)
        .order_by(ModeRow.size.desc(), ModeRow.id)
    ).all()
    members = _members(session, modes)
    return CycleRows(
        cycle=cycle,
        modes=[
            ModeRows(mode, _typical_first(members[mode.id], mode), samples[mode.id])
            for mode in modes
        ],
        other_samples=samples[None],
    )


def _members(session: Session, modes: Sequence[ModeRow]) -> dict[int, list[FailureRow]]:
    """Failures by mode: those that are in it, and the exemplars that a later cycle took over."""
    exemplars = {name for mode in modes for name in mode.exemplars}
    rows = session.scalars(
        select(FailureRow).where(FailureRow.mode_id.in_([mode.id for mode in modes]))
    ).all()
    by_id = {row.id: row for row in rows}
    by_id |= {row.id: row for row in _failures(session, sorted(exemplars - set(by_id)))}
    found: dict[int, dict[str, FailureRow]] = {mode.id: {} for mode in modes}
    for row in rows:
        if row.mode_id is not None:
            found[row.mode_id][row.id] = row
    for mode in modes:
        found[mode.id] |= {name: by_id[name] for name in mode.exemplars if name in by_id}
    return {number: list(members.values()) for number, members in found.items()}


def _failures(session: Session, ids: Sequence[str]) -> list[FailureRow]:
    found: list[FailureRow] = []
    for start in range(0, len(ids), BATCH):
        rows = select(FailureRow).where(FailureRow.id.in_(ids[start : start + BATCH]))
        found += session.scalars(rows)
    return found


def _typical_first(failures: list[FailureRow], mode: ModeRow) -> list[FailureRow]:
    rank = {name: number for number, name in enumerate(mode.exemplars)}
    return sorted(failures, key=lambda row: (rank.get(row.id, len(rank)), row.id))


def _samples(session: Session, cycle_id: int) -> dict[int | None, list[Sample]]:
    found: dict[int | None, list[Sample]] = defaultdict(list)
    rows = session.execute(
        select(CandidateRow, Image, LabelTask, Annotation)
        .join(Image, Image.id == CandidateRow.image_id)
        .outerjoin(
            LabelTask,
            (LabelTask.image_id == CandidateRow.image_id)
            & (LabelTask.cycle_id == CandidateRow.cycle_id),
        )
        .outerjoin(Annotation, Annotation.id == LabelTask.annotation_id)
        .where(CandidateRow.cycle_id == cycle_id)
        .order_by(CandidateRow.rank)
    )
    for candidate, image, task, annotation in rows:
        found[candidate.mode_id].append(Sample(candidate, image, task, annotation))
    return found


def _images(session: Session, ids: set[str]) -> dict[str, Image]:
    ordered = sorted(ids)
    found: dict[str, Image] = {}
    for start in range(0, len(ordered), BATCH):
        rows = session.scalars(select(Image).where(Image.id.in_(ordered[start : start + BATCH])))
        found.update({row.id: row for row in rows})
    return found


def _explanations(session: Session, failure_ids: Sequence[str]) -> dict[str, Explanation]:
    """The newest of each failure."""
    found: dict[str, Explanation] = {}
    for start in range(0, len(failure_ids), BATCH):
        rows = session.scalars(
            select(Explanation)
            .where(Explanation.failure_id.in_(failure_ids[start : start + BATCH]))
            .order_by(Explanation.created_at)
        )
        found.update({row.failure_id: row for row in rows})
    return found


def _counts(session: Session, column: object) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for value, count in session.execute(
        select(column, func.count()).select_from(FailureRow).group_by(column)  # type: ignore[call-overload]
    ):
        counted[value] = count
    for state in FailureState if column is FailureRow.state else ():
        counted.setdefault(state.value, 0)
    return dict(counted)

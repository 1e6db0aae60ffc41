"""Reads the rows that the page is about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from curation.modes.variety import distinct_first
from services.cycle.unreadable import Unreadable, of_cycles
from services.db import sides
from services.db.parts import in_parts
from services.db.tables import (
    TAKEN_BACK,
    Annotation,
    CandidateRow,
    Cycle,
    DatasetVersion,
    Explanation,
    FailureRow,
    FailureState,
    GeneratedRow,
    HarmRow,
    Image,
    LabelTask,
    Model,
    ModeMember,
    ModeRow,
    ModeSighting,
    SecondLook,
)
from services.errors import NotFound
from services.modes import trends as mode_trends
from services.modes.trends import ModeChange, ModeTrend
from services.report.field import FieldCounts, read_field

MOST_SHOWN = 8
"""Failures of a mode that are chosen to differ; a page shows fewer."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A pool image that was asked for, and what people said about it."""

    candidate: CandidateRow
    image: Image
    task: LabelTask | None
    look: str | None
    annotation: Annotation | None


@dataclass(frozen=True, slots=True)
class DrawnSample:
    """A drawn sample that has a picture, with the pictures that it was made of.

    Attributes:
        row: see there.
        image: its picture.
        donor: of the known object.
        harm: what hurt there.
        frame: of what hurt.
    """

    row: GeneratedRow
    image: Image
    donor: Image
    harm: HarmRow
    frame: Image


@dataclass(frozen=True, slots=True)
class ModeRows:
    """What a cycle saw of a mode, and the samples it led to.

    Attributes:
        mode: over all cycles.
        sighting: what the cycle saw.
        failures: the most typical first, without those taken back since.
        samples: pool images that were asked for.
        taken_back: failures that it saw and that are none any more.
        drawn: samples that were drawn for it and have a picture.
    """

    mode: ModeRow
    sighting: ModeSighting
    failures: list[FailureRow]
    samples: list[Sample]
    taken_back: list[FailureRow]
    drawn: list[DrawnSample] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CycleRows:
    """A cycle with its modes, the largest first, and the samples that belong to none.

    Attributes:
        unreadable: images that it has gone on without.
    """

    cycle: Cycle
    modes: list[ModeRows]
    other_samples: list[Sample]
    unreadable: Unreadable

    @property
    def samples(self) -> list[Sample]:
        """All that was asked for."""
        return [sample for mode in self.modes for sample in mode.samples] + self.other_samples


@dataclass(frozen=True, slots=True)
class TrendRows:
    """A failure mode over the cycles, with the failures that show it and the steps of its state."""

    trend: ModeTrend
    exemplars: list[FailureRow]
    changes: list[ModeChange]


@dataclass(frozen=True, slots=True)
class ReportRows:
    """Everything that the page shows, read at one moment."""

    cycles: list[CycleRows]
    trends: list[TrendRows]
    models: list[Model]
    datasets: dict[str, DatasetVersion]
    images: dict[str, Image]
    explanations: dict[str, Explanation]
    field: FieldCounts
    failure_states: dict[str, int]
    frames: sides.FrameCounts

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
    lost = of_cycles(session, cycles)
    found = [_read_cycle(session, cycle, lost[cycle.id]) for cycle in cycles]
    trends = _trends(session, found)
    modes = [mode for cycle in found for mode in cycle.modes]
    failures = [row for mode in modes for row in (*mode.failures, *mode.taken_back)]
    failures += [row for one in trends for row in one.exemplars]
    models = list(session.scalars(select(Model).order_by(Model.number)))
    return ReportRows(
        cycles=found,
        trends=trends,
        models=models,
        datasets={row.id: row for row in session.scalars(select(DatasetVersion))},
        images=_images(session, {row.image_id for row in failures}),
        explanations=_explanations(session, [row.id for row in failures]),
        field=read_field(session, models),
        failure_states=_states(session),
        frames=sides.count_frames(session),
    )


def _read_cycle(session: Session, cycle: Cycle, lost: Unreadable) -> CycleRows:
    samples = _samples(session, cycle.id)
    modes = session.execute(
        select(ModeRow, ModeSighting)
        .join(ModeSighting, ModeSighting.mode_id == ModeRow.id)
        .where(ModeSighting.cycle_id == cycle.id)
        .order_by(ModeSighting.size.desc(), ModeSighting.id)
    ).all()
    members, drawn = _members(session, cycle.id), _drawn(session, cycle.id)
    return CycleRows(
        cycle=cycle,
        modes=[
            _mode_rows(mode, seen, members[seen.id], samples[mode.id], drawn[mode.id])
            for mode, seen in modes
        ],
        other_samples=samples[None],
        unreadable=lost,
    )


def _mode_rows(
    mode: ModeRow,
    seen: ModeSighting,
    members: list[FailureRow],
    samples: list[Sample],
    drawn: list[DrawnSample],
) -> ModeRows:
    kept = _typical_first([row for row in members if row.state not in TAKEN_BACK], seen)
    gone = _typical_first([row for row in members if row.state in TAKEN_BACK], seen)
    return ModeRows(mode, seen, kept, samples, gone, drawn)


def _trends(session: Session, cycles: Sequence[CycleRows]) -> list[TrendRows]:
    """The modes that these cycles saw, what needs work first."""
    seen = {mode.mode.id: mode.mode for cycle in cycles for mode in cycle.modes}
    found = mode_trends.trends(session, list(seen.values()))
    return [
        TrendRows(
            one,
            mode_trends.exemplars(session, one.last),
            mode_trends.changes(session, one.mode.id),
        )
        for one in mode_trends.worst_first(found)
    ]


def _members(session: Session, cycle_id: int) -> dict[int, list[FailureRow]]:
    """Failures by sighting."""
    rows = session.execute(
        select(ModeMember.sighting_id, FailureRow)
        .join(FailureRow, FailureRow.id == ModeMember.failure_id)
        .join(ModeSighting, ModeSighting.id == ModeMember.sighting_id)
        .where(ModeSighting.cycle_id == cycle_id)
    )
    found: dict[int, list[FailureRow]] = defaultdict(list)
    for sighting_id, row in rows:
        found[sighting_id].append(row)
    return found


def _typical_first(failures: list[FailureRow], seen: ModeSighting) -> list[FailureRow]:
    """The exemplars of a mode before its other failures, each of another frame if there are.

    Exemplars that were taken back since leave room for others.
    """
    rank = {name: number for number, name in enumerate(seen.exemplars)}
    ordered = sorted(failures, key=lambda row: (rank.get(row.id, len(rank)), row.id))
    frames = [(row.image_id, "") for row in ordered]
    return [ordered[row] for row in distinct_first(frames, MOST_SHOWN)]


def _samples(session: Session, cycle_id: int) -> dict[int | None, list[Sample]]:
    found: dict[int | None, list[Sample]] = defaultdict(list)
    rows = session.execute(
        select(CandidateRow, Image, LabelTask, SecondLook.state, Annotation)
        .join(Image, Image.id == CandidateRow.image_id)
        .outerjoin(
            LabelTask,
            (LabelTask.image_id == CandidateRow.image_id)
            & (LabelTask.cycle_id == CandidateRow.cycle_id),
        )
        .outerjoin(SecondLook, SecondLook.task_id == LabelTask.id)
        .outerjoin(Annotation, Annotation.id == LabelTask.annotation_id)
        .where(CandidateRow.cycle_id == cycle_id)
        .order_by(CandidateRow.rank)
    )
    for candidate, image, task, look, annotation in rows:
        found[candidate.mode_id].append(Sample(candidate, image, task, look, annotation))
    return found


def _drawn(session: Session, cycle_id: int) -> dict[int, list[DrawnSample]]:
    """Drawn samples that have a picture, by mode; those that show what hurt come first."""
    donor, frame = aliased(Image), aliased(Image)
    rows = session.execute(
        select(GeneratedRow, Image, donor, HarmRow, frame)
        .join(Image, Image.id == GeneratedRow.image_id)
        .join(donor, donor.id == GeneratedRow.donor_id)
        .join(HarmRow, HarmRow.id == GeneratedRow.harm_id)
        .join(frame, frame.id == HarmRow.image_id)
        .where(GeneratedRow.cycle_id == cycle_id)
        .order_by(GeneratedRow.failure_id.is_(None), GeneratedRow.id)
    )
    found: dict[int, list[DrawnSample]] = defaultdict(list)
    for row, image, known, harm, other in rows:
        found[row.mode_id].append(DrawnSample(row, image, known, harm, other))
    return found


def _images(session: Session, ids: set[str]) -> dict[str, Image]:
    ordered = sorted(ids)
    found: dict[str, Image] = {}
    for part in in_parts(ordered):
        rows = session.scalars(select(Image).where(Image.id.in_(part)))
        found.update({row.id: row for row in rows})
    return found


def _explanations(session: Session, failure_ids: Sequence[str]) -> dict[str, Explanation]:
    """The newest of each failure."""
    found: dict[str, Explanation] = {}
    for part in in_parts(failure_ids):
        rows = session.scalars(
            select(Explanation)
            .where(Explanation.failure_id.in_(part))
            .order_by(Explanation.created_at)
        )
        found.update({row.failure_id: row for row in rows})
    return found


def _states(session: Session) -> dict[str, int]:
    """Failures by state, of frames that judge, without those taken back; 0 where there is none."""
    query = (
        select(FailureRow.state, func.count())
        .join(Image, Image.id == FailureRow.image_id)
        .where(sides.is_judged())
        .group_by(FailureRow.state)
    )
    counted = {row[0]: row[1] for row in session.execute(query)}
    return {
        state.value: counted.get(state.value, 0)
        for state in FailureState
        if state not in TAKEN_BACK
    }

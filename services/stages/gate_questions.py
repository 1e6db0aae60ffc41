"""What the gate asks of each model beside the evaluation splits: modes, and what was fixed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.db import sides
from services.db.tables import (
    TAKEN_BACK,
    Annotation,
    CandidateRow,
    FailureRow,
    FailureState,
    GeneratedRow,
    Image,
    ModeMember,
    ModeRow,
    ModeSighting,
    SampleState,
)
from services.db.tables import Model as ModelRow
from services.failures.check import words_about
from services.failures.findings import Words

MISSED = "missed"
"""Family of the modes whose failures are objects that were not found."""


@dataclass(frozen=True, slots=True)
class Questions:
    """What both sides are asked beside the evaluation splits, of frames that judge.

    Read once for both: scans go on meanwhile, and settle which failures are fixed.

    Attributes:
        fixed: failures that earlier cycles fixed.
        modes: failures of every mode that the cycle saw and that has a judge.
        unjudged: the class that is missed, of modes all of whose frames teach; None: of a false
            detection, which no sibling can show.
        targeted: the modes that it brought images for; no other is expected to improve.
        said: about the frames of these failures.
        class_names: that both know: a challenger is compared on what the champion was taught.
    """

    fixed: list[FailureRow]
    modes: dict[str, list[FailureRow]]
    unjudged: dict[str, str | None]
    targeted: set[str]
    said: dict[str, Words]
    class_names: list[str]

    @staticmethod
    def read(session: Session, cycle_id: int, model_ids: Sequence[str]) -> Questions:
        """Those of a cycle about these models."""
        fixed = _fixed(session)
        modes = _mode_members(session, cycle_id)
        unjudged = _seen(session, cycle_id, without=modes)
        said = words_about(session, _all_rows(fixed, modes))
        names = min((session.get_one(ModelRow, m).class_names for m in model_ids), key=len)
        return Questions(fixed, modes, unjudged, _targeted(session, cycle_id), said, names)

    def rows(self) -> list[FailureRow]:
        """All failures."""
        return _all_rows(self.fixed, self.modes)


def _all_rows(fixed: list[FailureRow], modes: dict[str, list[FailureRow]]) -> list[FailureRow]:
    return fixed + [row for members in modes.values() for row in members]


def _fixed(session: Session) -> list[FailureRow]:
    """What earlier cycles fixed, but not where the model was told the answer."""
    query = (
        select(FailureRow)
        .join(Image, Image.id == FailureRow.image_id)
        .where(FailureRow.state == FailureState.FIXED, sides.is_judged())
    )
    return list(session.scalars(query.order_by(FailureRow.id)))


def _seen(
    session: Session, cycle_id: int, without: Mapping[str, list[FailureRow]]
) -> dict[str, str | None]:
    """The modes of a cycle that have frames but no judge, with what siblings could judge."""
    query = (
        select(ModeRow)
        .join(ModeSighting, ModeSighting.mode_id == ModeRow.id)
        .join(ModeMember, ModeMember.sighting_id == ModeSighting.id)
        .join(FailureRow, FailureRow.id == ModeMember.failure_id)
        .where(ModeSighting.cycle_id == cycle_id, FailureRow.state.not_in(TAKEN_BACK))
        .order_by(ModeRow.id)
    )
    return {
        row.name: row.label if row.family == MISSED else None
        for row in session.scalars(query).unique()
        if row.name not in without
    }


def _mode_members(session: Session, cycle_id: int) -> dict[str, list[FailureRow]]:
    members: dict[str, list[FailureRow]] = defaultdict(list)
    query = (
        select(ModeRow.name, FailureRow)
        .join(ModeSighting, ModeSighting.mode_id == ModeRow.id)
        .join(ModeMember, ModeMember.sighting_id == ModeSighting.id)
        .join(FailureRow, FailureRow.id == ModeMember.failure_id)
        .join(Image, Image.id == FailureRow.image_id)
        .where(
            ModeSighting.cycle_id == cycle_id,
            FailureRow.state.not_in(TAKEN_BACK),
            sides.is_judged(),
        )
        .order_by(ModeRow.id, FailureRow.id)
    )
    for name, row in session.execute(query):
        members[name].append(row)
    return dict(members)


def _targeted(session: Session, cycle_id: int) -> set[str]:
    query = (
        select(ModeRow.name)
        .join(CandidateRow, CandidateRow.mode_id == ModeRow.id)
        .where(CandidateRow.cycle_id == cycle_id)
    )
    taught = (
        select(ModeRow.name)
        .join(ModeSighting, ModeSighting.mode_id == ModeRow.id)
        .join(ModeMember, ModeMember.sighting_id == ModeSighting.id)
        .join(FailureRow, FailureRow.id == ModeMember.failure_id)
        .join(Image, Image.id == FailureRow.image_id)
        .join(Annotation, Annotation.image_id == Image.id)
        .where(ModeSighting.cycle_id == cycle_id, sides.is_taught())
    )
    drawn = (
        select(ModeRow.name)
        .join(GeneratedRow, GeneratedRow.mode_id == ModeRow.id)
        .where(GeneratedRow.cycle_id == cycle_id, GeneratedRow.state == SampleState.KEPT)
    )
    return {*session.scalars(query), *session.scalars(taught), *session.scalars(drawn)}

"""What is stored about failure modes, counted: places, failures of the champion, images asked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from curation.modes.states import ModeState, Progress
from services.db import sides
from services.db.parts import PARAMETERS
from services.db.tables import (
    OPEN_TASKS,
    TAKEN_BACK,
    CandidateRow,
    Cycle,
    FailureRow,
    FailureState,
    LabelTask,
    Model,
    ModeMember,
    ModeRow,
    ModeSighting,
    TaskState,
)
from services.models import registry
from services.modes.decision_rows import merged_into

COUNTED_TASKS = (*OPEN_TASKS, TaskState.SUBMITTED)
"""Tasks that may still bring a label, or have."""


@dataclass(frozen=True, slots=True)
class ModeCounts:
    """Counts of all modes at one moment, by number of the mode.

    Attributes:
        champion: the model in use; None before the first.
        places: where its failures lie, of all cycles, without those taken back.
        failing: places where the champion fails now, of whatever mode.
        asked: pool images asked for since it was opened, without those that came back unlabelled.
        seen_with: id of the champion when a cycle saw it last.
        taught: places in frames that teach: what a model knows there proves nothing.
    """

    champion: Model | None
    places: Mapping[int, frozenset[str]]
    failing: frozenset[str]
    asked: Mapping[int, int]
    seen_with: Mapping[int, str | None]
    taught: frozenset[str] = frozenset()

    def progress(self, mode_id: int, now: frozenset[str] = frozenset()) -> Progress:
        """What a judgement goes by: the places that may judge.

        Args:
            mode_id: which mode.
            now: places where a cycle sees it at this moment.
        """
        before, now = self.places[mode_id] - self.taught, now - self.taught
        champion = None if self.champion is None else self.champion.id
        return Progress(
            places=len(before | now),
            failing=len((before | now) & self.failing),
            joined=len(now - before),
            asked=self.asked.get(mode_id, 0),
            new_champion=champion != self.seen_with.get(mode_id),
        )

    def teaching(self, mode_id: int) -> int:
        """How many places of a mode lie in frames that teach."""
        return len(self.places[mode_id] & self.taught)

    def words(self, mode_id: int, state: ModeState, now: frozenset[str] = frozenset()) -> str:
        """What a state follows from, for people."""
        known = self.progress(mode_id, now)
        model = "the champion" if self.champion is None else f"model {self.champion.number}"
        fails = f"{model} fails {known.failing} of {known.places}"
        if self.teaching(mode_id):
            fails += " that judge" if known.places else ": all of its frames teach, none judges"
        match state:
            case ModeState.BEING_FIXED:
                return f"{known.asked} image{'s' if known.asked != 1 else ''} asked for"
            case ModeState.REOPENED:
                return f"{known.joined} new; {fails}"
            case ModeState.FIXED:
                return fails
            case _:
                return "no image that was asked for was labelled"


def read_counts(session: Session, mode_ids: Sequence[int] | None = None) -> ModeCounts:
    """Count what is stored about modes.

    Args:
        session: only read from.
        mode_ids: of these alone, so that a page of a list costs what it shows and not what there
            is; None: of all.
    """
    if mode_ids is not None and len(mode_ids) > PARAMETERS:
        mode_ids = None
    champion = registry.champion(session)
    places: dict[int, set[str]] = defaultdict(set)
    members = (
        select(ModeSighting.mode_id, FailureRow.place)
        .join(ModeMember, ModeMember.sighting_id == ModeSighting.id)
        .join(FailureRow, FailureRow.id == ModeMember.failure_id)
        .where(FailureRow.state.not_in(TAKEN_BACK))
        .distinct()
    )
    roots = merged_into(session)
    wanted = _with_parts(mode_ids, roots)
    of_these = [] if wanted is None else [ModeSighting.mode_id.in_(wanted)]
    for mode_id, place in session.execute(members.where(*of_these)):
        places[mode_id].add(place)
        if mode_id in roots:
            places[roots[mode_id]].add(place)
    return ModeCounts(
        champion=champion,
        places=defaultdict(frozenset, {key: frozenset(own) for key, own in places.items()}),
        failing=frozenset() if champion is None else _failing(session, champion.id),
        asked=_asked(session, roots, wanted),
        seen_with=_seen_with(session, mode_ids),
        taught=sides.places_taught(session),
    )


def last_sightings(session: Session) -> dict[int, ModeSighting]:
    """How each mode was seen last, by number of the mode."""
    newest = select(func.max(ModeSighting.id)).group_by(ModeSighting.mode_id)
    rows = session.scalars(
        select(ModeSighting).where(ModeSighting.id.in_(newest)).order_by(ModeSighting.mode_id)
    )
    return {row.mode_id: row for row in rows}


def _failing(session: Session, model_id: str) -> frozenset[str]:
    query = select(FailureRow.place).where(
        FailureRow.model_id == model_id,
        FailureRow.state.not_in((FailureState.FIXED, *TAKEN_BACK)),
    )
    return frozenset(session.scalars(query))


def _with_parts(mode_ids: Sequence[int] | None, roots: Mapping[int, int]) -> list[int] | None:
    """These modes and those that are part of one of them; None for all."""
    if mode_ids is None:
        return None
    return [*mode_ids, *(part for part, root in roots.items() if root in set(mode_ids))]


def _asked(
    session: Session, roots: Mapping[int, int], mode_ids: Sequence[int] | None
) -> dict[int, int]:
    """By mode; what was asked for a mode that is part of another counts there too."""
    query = (
        select(ModeRow.id, func.count())
        .join(CandidateRow, CandidateRow.mode_id == ModeRow.id)
        .join(
            LabelTask,
            (LabelTask.cycle_id == CandidateRow.cycle_id)
            & (LabelTask.image_id == CandidateRow.image_id),
        )
        .where(CandidateRow.cycle_id >= ModeRow.opened_cycle_id, LabelTask.state.in_(COUNTED_TASKS))
        .group_by(ModeRow.id)
    )
    if mode_ids is not None:
        query = query.where(ModeRow.id.in_(mode_ids))
    found = Counter({row[0]: row[1] for row in session.execute(query)})
    for mode_id, count in list(found.items()):
        if mode_id in roots:
            found[roots[mode_id]] += count
    return found


def _seen_with(session: Session, mode_ids: Sequence[int] | None) -> dict[int, str | None]:
    newest = select(func.max(ModeSighting.id)).group_by(ModeSighting.mode_id)
    if mode_ids is not None:
        newest = newest.where(ModeSighting.mode_id.in_(mode_ids))
    query = (
        select(ModeSighting.mode_id, Cycle.champion_id)
        .join(Cycle, Cycle.id == ModeSighting.cycle_id)
        .where(ModeSighting.id.in_(newest))
    )
    return {row[0]: row[1] for row in session.execute(query)}

"""Failure modes for people: size by cycle, state, how it came to that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from curation.modes.states import ModeState
from services.db.parts import in_parts
from services.db.tables import (
    TAKEN_BACK,
    Audit,
    Cycle,
    CycleState,
    FailureRow,
    ModeRow,
    ModeSighting,
)
from services.errors import NotFound
from services.modes.counts import ModeCounts, read_counts

ACTION = "mode"
"""Of the audit rows that tell how a mode came to its state; their subject is ``mode:<id>``."""
UNSEEING = (
    CycleState.EXPLAINING,
    CycleState.SELECTING,
    CycleState.FAILED,
    CycleState.CANCELLED,
)
"""A cycle in such a state may have looked at no mode: it counts only where it saw one."""
STATE_WORDS = {
    ModeState.OPEN: "open",
    ModeState.BEING_FIXED: "being fixed",
    ModeState.FIXED: "fixed",
    ModeState.REOPENED: "re-opened",
}
FAMILY_KINDS = {"missed": "false_negative", "false": "false_positive"}
"""The kind that a family's name already says."""


@dataclass(frozen=True, slots=True)
class ModeTrend:
    """A failure mode over the cycles.

    Attributes:
        mode: its row.
        last: as it was seen last.
        places: where its failures lie, of all cycles, without those taken back and those in
            frames that teach: these judge.
        teaching: places in frames that teach.
        failing: of these, where the champion fails now.
        asked: pool images asked for since it was opened or re-opened.
        exemplars: failures that show it best, the most typical first, without those taken back.
        sizes: cycle and number of failures that it saw, from the first that saw the mode on.
    """

    mode: ModeRow
    last: ModeSighting
    places: int
    failing: int
    teaching: int
    asked: int
    exemplars: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...]

    @property
    def size(self) -> int:
        """Failures that the newest cycle saw."""
        return self.sizes[-1][1]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "id": self.mode.id,
            "name": self.mode.name,
            "state": self.mode.state,
            "family": self.mode.family,
            "kind": self.last.kind,
            "label": self.mode.label,
            "size": self.size,
            "places": self.places,
            "failing": self.failing,
            "teaching": self.teaching,
            "asked": self.asked,
            "trend": [{"cycle": cycle, "size": size} for cycle, size in self.sizes],
            "exemplars": list(self.exemplars),
            "created_at": self.mode.created_at,
        }


@dataclass(frozen=True, slots=True)
class ModeChange:
    """One step of a mode's state, and what it followed from."""

    at: datetime
    cycle: int
    state: str
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"at": self.at, "cycle": self.cycle, "state": self.state, "why": self.why}


def state_in_words(state: str) -> str:
    """A state as people read it."""
    return STATE_WORDS[ModeState(state)]


def find(session: Session, mode_id: int) -> ModeRow:
    """A mode by number.

    Raises:
        NotFound: there is none.
    """
    row = session.get(ModeRow, mode_id)
    if row is None:
        raise NotFound(f"no failure mode {mode_id}: see `e2x modes`")
    return row


def trends(session: Session, rows: Sequence[ModeRow]) -> list[ModeTrend]:
    """Sizes and counts of some modes, in their order; it costs what they have, not what all do."""
    ids = [row.id for row in rows]
    sizes = _sizes(session, ids)
    last = _last(session, [own[-1].sighting_id for own in sizes.values()])
    cycles = _seeing(session)
    counts = read_counts(session, ids)
    shown = [name for sighting in last.values() for name in sighting.exemplars]
    gone: set[str] = set()
    for names in in_parts(shown):
        taken_back = select(FailureRow.id).where(FailureRow.state.in_(TAKEN_BACK))
        gone |= set(session.scalars(taken_back.where(FailureRow.id.in_(names))))
    return [
        _trend(row, sizes[row.id], last[row.id], cycles, counts, gone)
        for row in rows
        if row.id in last
    ]


class _Size(NamedTuple):
    """How many failures a cycle saw of a mode."""

    sighting_id: int
    cycle: int
    size: int


def _sizes(session: Session, ids: Sequence[int]) -> dict[int, list[_Size]]:
    """Sizes by mode and cycle, the oldest first: three numbers a cycle, not its whole sighting."""
    found: dict[int, list[_Size]] = defaultdict(list)
    for part in in_parts(ids):
        query = (
            select(ModeSighting.mode_id, ModeSighting.id, ModeSighting.cycle_id, ModeSighting.size)
            .where(ModeSighting.mode_id.in_(part))
            .order_by(ModeSighting.cycle_id)
        )
        for mode_id, *size in session.execute(query):
            found[mode_id].append(_Size(*size))
    return found


def _last(session: Session, ids: Sequence[int]) -> dict[int, ModeSighting]:
    """Sightings of these numbers, by mode."""
    found: dict[int, ModeSighting] = {}
    for part in in_parts(ids):
        for sighting in session.scalars(select(ModeSighting).where(ModeSighting.id.in_(part))):
            found[sighting.mode_id] = sighting
    return found


def worst_first(found: Sequence[ModeTrend]) -> list[ModeTrend]:
    """What needs work before what is fixed, the largest first."""
    return sorted(
        found, key=lambda one: (one.mode.state == ModeState.FIXED, -one.size, one.mode.id)
    )


def changes(session: Session, mode_id: int) -> list[ModeChange]:
    """How a mode came to its state, the first step first."""
    rows = session.scalars(
        select(Audit)
        .where(Audit.action == ACTION, Audit.subject == f"mode:{mode_id}")
        .order_by(Audit.id)
    )
    return [ModeChange(r.at, r.detail["cycle"], r.detail["to"], r.detail["why"]) for r in rows]


def exemplars(session: Session, sighting: ModeSighting) -> list[FailureRow]:
    """The failures that show a mode best, the most typical first, without those taken back."""
    found = [session.get(FailureRow, name) for name in sighting.exemplars]
    return [row for row in found if row is not None and row.state not in TAKEN_BACK]


def _trend(
    row: ModeRow,
    seen: Sequence[_Size],
    last: ModeSighting,
    cycles: Sequence[int],
    counts: ModeCounts,
    gone: Collection[str],
) -> ModeTrend:
    sizes = {one.cycle: one.size for one in seen}
    first = min(sizes)
    progress = counts.progress(row.id)
    return ModeTrend(
        mode=row,
        last=last,
        places=progress.places,
        failing=progress.failing,
        teaching=counts.teaching(row.id),
        asked=progress.asked,
        exemplars=tuple(name for name in last.exemplars if name not in gone),
        sizes=tuple((cycle, sizes.get(cycle, 0)) for cycle in cycles if cycle >= first),
    )


def _seeing(session: Session) -> list[int]:
    """Cycles that looked at modes, those that saw none included."""
    looked = session.scalars(
        select(Cycle.id).where(Cycle.kind == "full", Cycle.state.not_in(UNSEEING))
    )
    seen_in = session.scalars(select(ModeSighting.cycle_id).distinct())
    return sorted({*looked, *seen_in})

"""Decisions as they are stored: which hold, what they are about, what they change now."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.db.tables import Decision, DecisionKind, FailureRow, ModeMember, ModeSighting
from services.errors import NotFound

IN_WORDS: Mapping[str, str] = {
    DecisionKind.STRIKE_IMAGE: "image struck",
    DecisionKind.STRIKE_MODE: "mode struck",
    DecisionKind.MERGE: "modes merged",
    DecisionKind.SPLIT: "mode split",
    DecisionKind.RENAME: "mode renamed",
}


def active(session: Session, *kinds: DecisionKind) -> list[Decision]:
    """Decisions that hold, the oldest first."""
    query = select(Decision).where(Decision.undone_at.is_(None), Decision.kind.in_(kinds))
    return list(session.scalars(query.order_by(Decision.id)))


def merged_into(session: Session) -> dict[int, int]:
    """Modes that are part of another, and of which in the end; one statement."""
    direct = _part_of(session)
    return {one: _root(one, direct) for one in direct}


def is_knotted(session: Session) -> bool:
    """Whether a mode would be part of itself, by way of others; such rows must not be committed."""
    direct = _part_of(session)
    for one in direct:
        seen = {one}
        while (one := direct.get(one, 0)) and one not in seen:
            seen.add(one)
        if one:
            return True
    return False


def _part_of(session: Session) -> dict[int, int]:
    """Of which mode each is a part, one step up."""
    query = select(Decision).where(
        Decision.kind.in_((DecisionKind.MERGE, DecisionKind.SPLIT)), Decision.mode_id.is_not(None)
    )
    direct: dict[int, int] = {}
    for row in session.scalars(query.order_by(Decision.id)):
        parts: list[int] = []
        if row.kind == DecisionKind.MERGE and row.undone_at is None:
            parts = row.detail["modes"]
        elif row.kind == DecisionKind.SPLIT and row.undone_at is not None and row.detail["made"]:
            parts = [row.detail["made"]]  # known since the split, and part of the mode again
        direct |= {part: row.mode_id for part in parts if row.mode_id is not None}
    return direct


def _root(one: int, direct: Mapping[int, int]) -> int:
    while one in direct:
        one = direct[one]
    return one


def find(session: Session, number: int, hold: bool = False) -> Decision:
    """A decision by number.

    Raises:
        NotFound: there is none.
    """
    row = session.get(Decision, number, with_for_update=hold or None, populate_existing=hold)
    if row is None:
        raise NotFound(f"no decision {number}: see `e2x decisions list`")
    return row


def about(session: Session, mode_id: int) -> list[Decision]:
    """Decisions about a mode, those that were undone included, the newest first."""
    rows = session.scalars(
        select(Decision)
        .where(Decision.kind.in_(tuple(DecisionKind)), Decision.mode_id.is_not(None))
        .order_by(Decision.id.desc())
    )
    return [row for row in rows if mode_id in modes_of(row)]


def modes_of(row: Decision) -> set[int]:
    """Numbers of the modes that a decision is about."""
    told = {row.mode_id, row.detail.get("made"), *row.detail.get("modes", ())}
    return {one for one in told if one is not None}


def struck_images(session: Session) -> frozenset[str]:
    """Images that nothing may propose."""
    query = select(Decision.image_id).where(
        Decision.kind == DecisionKind.STRIKE_IMAGE, Decision.undone_at.is_(None)
    )
    return frozenset(filter(None, session.scalars(query)))


def told(session: Session, rows: Iterable[Decision]) -> dict[int, str]:
    """What decisions that hold change now, where that is not what one expects; by number.

    A decision about modes takes effect at the next recognition, and one whose modes no cycle sees
    any more changes nothing.
    """
    newest = session.scalar(select(func.max(ModeSighting.cycle_id)))
    seen = set(session.scalars(select(ModeSighting.mode_id).where(ModeSighting.cycle_id == newest)))
    said = {}
    for row in rows:
        about_modes = row.kind in (DecisionKind.MERGE, DecisionKind.SPLIT)
        if row.undone_at is not None or not about_modes:
            continue
        if newest is None or row.cycle_id == newest:
            said[row.id] = "takes effect in the next plan and the next cycle"
        elif not modes_of(row) & seen:
            said[row.id] = f"changes nothing now: cycle {newest} saw none of its modes"
    return said


def listed(
    session: Session,
    limit: int,
    before: int | None = None,
    holding: bool = False,
    kinds: Sequence[DecisionKind] = (),
) -> list[Decision]:
    """Decisions, the newest first.

    Args:
        session: to read in.
        limit: rows at most.
        before: only with a lower number: the last one of the page before.
        holding: without those that were undone.
        kinds: only of these; none: of all.
    """
    query = select(Decision).order_by(Decision.id.desc()).limit(limit)
    if kinds:
        query = query.where(Decision.kind.in_(kinds))
    if before is not None:
        query = query.where(Decision.id < before)
    if holding:
        query = query.where(Decision.undone_at.is_(None))
    return list(session.scalars(query))


def places_of(session: Session, mode_ids: Collection[int], until: int | None = None) -> set[str]:
    """Where the failures of modes lie.

    Args:
        session: to read in.
        mode_ids: of the modes.
        until: as seen by this cycle and those before; None: by all.
    """
    query = (
        select(FailureRow.place)
        .join(ModeMember, ModeMember.failure_id == FailureRow.id)
        .join(ModeSighting, ModeSighting.id == ModeMember.sighting_id)
        .where(ModeSighting.mode_id.in_(mode_ids))
        .distinct()
    )
    if until is not None:
        query = query.where(ModeSighting.cycle_id <= until)
    return set(session.scalars(query))

"""What people decide about modes and images: made, undone, told; every step in the audit trail.

How a decision about modes changes what a selection recognises is in :mod:`services.modes.decided`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.accounts import audit
from services.db import actors
from services.db.base import utc_now
from services.db.parts import in_parts
from services.db.tables import (
    Decision,
    DecisionKind,
    FailureRow,
    Image,
    ModeRow,
    ModeSighting,
)
from services.errors import Conflict, InvalidRequest, NotFound
from services.modes.decision_rows import active, find, is_knotted, merged_into, modes_of, places_of
from services.modes.trends import find as find_mode
from services.plain import plain_text

MAX_NAME, MAX_NOTE = 160, 2000


def strike_image(session: Session, image_id: str, note: str) -> Decision:
    """Never propose an image again; striking it twice is striking it once.

    Raises:
        NotFound: there is no such image.
    """
    if session.get(Image, image_id, with_for_update=True) is None:
        raise NotFound(f"no image {image_id}")
    held = select(Decision).where(
        Decision.kind == DecisionKind.STRIKE_IMAGE,
        Decision.image_id == image_id,
        Decision.undone_at.is_(None),
    )
    known = session.scalar(held)
    return known or _keep(session, DecisionKind.STRIKE_IMAGE, note, image_id=image_id)


def strike_mode(
    session: Session, note: str, mode_id: int | None = None, failures: Collection[str] = ()
) -> Decision:
    """Spend nothing on a mode; striking it twice is striking it once.

    A mode that no cycle has seen has no number: it is struck by its failures, and the decision
    holds for whatever mode has most of their places later.

    Args:
        session: the caller's transaction.
        note: why.
        mode_id: its number; None where no cycle has seen it yet.
        failures: its failures, where it has no number.

    Raises:
        NotFound: there is no such mode or failure.
        InvalidRequest: neither a number nor failures say which.
    """
    if mode_id is None:
        places = _places(session, failures)
        if not places:
            raise InvalidRequest("name the mode by its number, or by its failures")
        return _keep(session, DecisionKind.STRIKE_MODE, note, detail={"places": places})
    _hold_modes(session, [mode_id])
    for row in active(session, DecisionKind.STRIKE_MODE):
        if row.mode_id == mode_id:
            return row
    return _keep(session, DecisionKind.STRIKE_MODE, note, mode_id=mode_id)


def merge(session: Session, mode_id: int, others: Sequence[int], note: str = "") -> Decision:
    """Make several modes one, from the next recognition on.

    Args:
        session: the caller's transaction.
        mode_id: the one that stays.
        others: those that become part of it.
        note: why.

    Raises:
        NotFound: there is no such mode.
        InvalidRequest: there is nothing to merge, or they are of different classes or kinds.
        Conflict: one is part of another already, or was split from it.
    """
    parts = sorted(set(others) - {mode_id})
    if not parts:
        raise InvalidRequest("name another mode to merge into this one")
    rows = _hold_modes(session, [mode_id, *parts])
    kept = rows[mode_id]
    merged = merged_into(session)
    for number in (mode_id, *parts):
        if number in merged:
            raise Conflict(f"mode {number} is part of mode {merged[number]} already")
        if (rows[number].family, rows[number].label) != (kept.family, kept.label):
            raise InvalidRequest(
                f"mode {number} is about {rows[number].family} {rows[number].label}, mode "
                f"{mode_id} about {kept.family} {kept.label}: one kind and class are merged"
            )
    for row in active(session, DecisionKind.SPLIT):
        if modes_of(row) <= {mode_id, *parts}:
            raise Conflict(
                f"mode {row.detail.get('made')} was split from mode {row.mode_id}: undo decision "
                f"{row.id} instead"
            )
    return _keep(session, DecisionKind.MERGE, note, mode_id=mode_id, detail={"modes": parts})


def split(
    session: Session, mode_id: int, failures: Collection[str], name: str = "", note: str = ""
) -> Decision:
    """Make some failures of a mode another mode, from the next recognition on.

    Args:
        session: the caller's transaction.
        mode_id: the mode that they leave.
        failures: ids; the others of the mode stay. Failures that come later go to the part that
            they are more alike.
        name: of the new mode; "": as others are named.
        note: why.

    Raises:
        NotFound: there is no such mode or failure.
        InvalidRequest: a failure is not of the mode, none leaves, or none stays; or the name is
            taken.
        Conflict: the mode is part of another.
    """
    _hold_modes(session, [mode_id])
    merged = merged_into(session)
    if mode_id in merged:
        raise Conflict(f"mode {mode_id} is part of mode {merged[mode_id]}: split that")
    leaving = _places(session, failures)
    own = {number for number, root in merged.items() if root == mode_id} | {mode_id}
    all_places = places_of(session, own)
    if not leaving:
        raise InvalidRequest("choose the failures that shall be a mode of their own")
    strange = set(leaving) - all_places
    if strange:
        raise InvalidRequest(f"{len(strange)} of the failures are not of mode {mode_id}")
    if not all_places - set(leaving):
        raise InvalidRequest(f"all failures of mode {mode_id} would leave it: rename it instead")
    detail = {"places": leaving, "made": None, "name": _name(session, name)}
    return _keep(session, DecisionKind.SPLIT, note, mode_id=mode_id, detail=detail)


def rename(session: Session, mode_id: int, name: str, note: str = "") -> Decision:
    """Call a mode otherwise, at once.

    Raises:
        NotFound: there is no such mode.
        InvalidRequest: the name is empty or taken.
    """
    row = _hold_modes(session, [mode_id])[mode_id]
    clean = _name(session, name)
    if not clean:
        raise InvalidRequest("a mode needs a name")
    detail = {"name": clean, "before": row.name}
    row.name = clean
    return _keep(session, DecisionKind.RENAME, note, mode_id=mode_id, detail=detail)


def undo(session: Session, number: int) -> Decision:
    """Take a decision back; taking it back twice changes nothing more.

    Raises:
        NotFound: there is no such decision.
        Conflict: a later one stands on it, or a name is taken by now.
    """
    row = find(session, number, hold=True)
    if row.undone_at is not None:
        return row
    if row.mode_id is not None:
        modes = _hold_modes(session, [row.mode_id])
        _refuse_knots(session, row)
        if row.kind == DecisionKind.RENAME:
            before = str(row.detail["before"])
            if session.scalar(select(ModeRow.id).where(ModeRow.name == before)):
                raise Conflict(f"another mode is called {before!r} by now: rename that first")
            modes[row.mode_id].name = before
    row.undone_at, row.undone_by = utc_now(), actors.current().name
    session.flush()
    if is_knotted(session):
        raise Conflict(
            f"without decision {number} a mode would be part of itself, by later merges: undo the "
            "newest of these first"
        )
    audit.record(session, "decision.undo", _subject(row), kind=row.kind, decision=row.id)
    session.flush()
    return row


def made_by_split(session: Session, number: int, mode_id: int) -> None:
    """Note which mode a split has made (called as a cycle stores its modes)."""
    row = find(session, number)
    row.detail = {**row.detail, "made": mode_id}


def _refuse_knots(session: Session, row: Decision) -> None:
    """Refuse to take back what a later decision stands on.

    Raises:
        Conflict: names the decision to undo first.
    """
    if row.kind == DecisionKind.RENAME:
        for later in active(session, DecisionKind.RENAME):
            if later.id > row.id and later.mode_id == row.mode_id:
                raise Conflict(f"decision {later.id} came after it: undo that first")
    made = row.detail.get("made") if row.kind == DecisionKind.SPLIT else None
    # Undone, what the split has made is part of the mode again, which must not be part of it.
    if made is not None and merged_into(session).get(row.mode_id or 0) == made:
        raise Conflict(f"mode {row.mode_id} was merged into mode {made} since: undo that first")


def _keep(session: Session, kind: DecisionKind, note: str, **values: Any) -> Decision:
    row = Decision(
        kind=kind,
        note=plain_text(note, MAX_NOTE, lines=True),
        cycle_id=session.scalar(select(func.max(ModeSighting.cycle_id))),
        **values,
    )
    session.add(row)
    session.flush()
    shown = {key: value for key, value in row.detail.items() if key != "places"}
    action, subject = f"decision.{kind.value}", _subject(row)
    audit.record(session, action, subject, decision=row.id, note=row.note, **shown)
    return row


def _subject(row: Decision) -> str:
    if row.image_id is not None:
        return f"image:{row.image_id}"
    return f"decision:{row.id}" if row.mode_id is None else f"mode:{row.mode_id}"


def _hold_modes(session: Session, numbers: Iterable[int]) -> dict[int, ModeRow]:
    """Modes, locked in the order of their numbers: two who decide about one follow each other."""
    session.flush()
    rows = {}
    for number in sorted(set(numbers)):
        find_mode(session, number)
        rows[number] = session.get_one(
            ModeRow, number, with_for_update=True, populate_existing=True
        )
    return rows


def _name(session: Session, name: str) -> str:
    clean = plain_text(name, MAX_NAME).strip()
    if clean and session.scalar(select(ModeRow.id).where(ModeRow.name == clean)):
        raise InvalidRequest(f"name: another mode is called {clean!r}")
    return clean


def _places(session: Session, failures: Collection[str]) -> list[str]:
    """Where failures lie: the same for every model, so that it holds for the next one too."""
    found: dict[str, str] = {}
    for part in in_parts(sorted(set(failures))):
        query = select(FailureRow.id, FailureRow.place).where(FailureRow.id.in_(part))
        found.update({row[0]: row[1] for row in session.execute(query)})
    unknown = set(failures) - found.keys()
    if unknown:
        raise NotFound(f"no failure {min(unknown)}")
    return sorted(set(found.values()))


def make(
    session: Session,
    kind: DecisionKind,
    *,
    image_id: str | None = None,
    mode_id: int | None = None,
    modes: Sequence[int] = (),
    failures: Collection[str] = (),
    name: str = "",
    note: str = "",
) -> Decision:
    """Decide something of a kind; the doors call this.

    Raises:
        NotFound: there is no such image, mode or failure.
        InvalidRequest: what the kind needs is missing, or it cannot be.
        Conflict: it contradicts another decision.
    """
    if kind is DecisionKind.STRIKE_IMAGE:
        if image_id is None:
            raise InvalidRequest("image_id: name the image")
        return strike_image(session, image_id, note)
    if kind is DecisionKind.STRIKE_MODE:
        return strike_mode(session, note, mode_id, failures)
    if mode_id is None:
        raise InvalidRequest("mode_id: name the mode by its number")
    if kind is DecisionKind.MERGE:
        return merge(session, mode_id, modes, note)
    if kind is DecisionKind.SPLIT:
        return split(session, mode_id, failures, name, note)
    return rename(session, mode_id, name, note)

"""Rows of the pages of drawn samples: each with its mode, in words, and what may be decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.db.tables import Cycle, GeneratedRow, HarmRow, ModeRow, ModeSighting, SampleState
from services.errors import InvalidRequest
from services.report import drawn
from services.synthesis import samples

ON_A_MODE = 8
OFFERED = 200
"""Modes and cycles to filter by, the newest."""
BADGES = {SampleState.KEPT: "good", SampleState.REFUSED: "bad"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Filters of the list; what is empty or None filters nothing."""

    state: str = ""
    mode: int | None = None
    cycle: int | None = None
    generator: str = ""

    def to_dict(self) -> dict[str, Any]:
        """By name, as an address has them."""
        return {
            "state": self.state,
            "mode": self.mode,
            "cycle": self.cycle,
            "generator": self.generator,
        }


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample as pages show it.

    Attributes:
        row: see there.
        harm: what hurt there.
        mode: name of its mode.
        words: what it shows.
        parts: its pictures, with their titles.
        actions: what a person may decide now.
        badge: of its state.
    """

    row: GeneratedRow
    harm: HarmRow
    mode: str
    words: str
    parts: tuple[drawn.Part, ...]
    actions: tuple[str, ...]
    badge: str


def number(name: str, text: str) -> int | None:
    """A number of a form; None where it was left empty.

    Raises:
        InvalidRequest: it is none.
    """
    if not text:
        return None
    if not text.isdecimal() or len(text) > 15:
        raise InvalidRequest(f"{name}: a number, or nothing")
    return int(text)


def listed(opened: Session, wanted: Wanted, limit: int, before: int = 0) -> list[Shown]:
    """Samples, the newest first, by one statement."""
    query = (
        select(GeneratedRow, HarmRow, ModeRow.name)
        .join(HarmRow, HarmRow.id == GeneratedRow.harm_id)
        .join(ModeRow, ModeRow.id == GeneratedRow.mode_id)
        .order_by(GeneratedRow.id.desc())
        .limit(limit)
    )
    for column, value in (
        (GeneratedRow.state, wanted.state),
        (GeneratedRow.mode_id, wanted.mode),
        (GeneratedRow.cycle_id, wanted.cycle),
        (GeneratedRow.generator, wanted.generator),
    ):
        if value not in (None, ""):
            query = query.where(column == value)
    if before:
        query = query.where(GeneratedRow.id < before)
    return [_shown(row, harm, name) for row, harm, name in opened.execute(query)]


def of_mode(opened: Session, mode_id: int) -> tuple[list[Shown], dict[str, Any] | None]:
    """The newest samples of a mode that have a picture, and what came of drawing for it.

    Those that show what hurt come first; what came of it is of the newest cycle that saw the mode,
    which may not have drawn. One statement.
    """
    newest = (
        select(Cycle.drawing)
        .join(ModeSighting, ModeSighting.cycle_id == Cycle.id)
        .where(ModeSighting.mode_id == mode_id)
        .order_by(Cycle.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    of_it = (GeneratedRow.mode_id == ModeRow.id) & GeneratedRow.image_id.is_not(None)
    query = (
        select(GeneratedRow, HarmRow, ModeRow.name, newest)
        .select_from(ModeRow)
        .outerjoin(GeneratedRow, of_it)
        .outerjoin(HarmRow, HarmRow.id == GeneratedRow.harm_id)
        .where(ModeRow.id == mode_id)
        .order_by(GeneratedRow.failure_id.is_(None), GeneratedRow.id.desc())
        .limit(ON_A_MODE)
    )
    rows = opened.execute(query).all()
    found = [_shown(row, harm, name) for row, harm, name, _ in rows if row is not None]
    return found, (rows[0][3] if rows else None)


def shown(opened: Session, sample_id: int) -> Shown:
    """One sample.

    Raises:
        NotFound: there is none.
    """
    row = samples.find(opened, sample_id)
    harm = opened.get_one(HarmRow, row.harm_id)
    return _shown(row, harm, opened.get_one(ModeRow, row.mode_id).name)


def beside(opened: Session, sample_id: int) -> tuple[int | None, int | None]:
    """The sample before it, and the one after it."""
    older = select(func.max(GeneratedRow.id)).where(GeneratedRow.id < sample_id)
    newer = select(func.min(GeneratedRow.id)).where(GeneratedRow.id > sample_id)
    return opened.scalar(older), opened.scalar(newer)


def next_waiting(opened: Session, sample_id: int) -> int | None:
    """The next sample that waits for a person: after this one, else from the beginning."""
    waiting = select(func.min(GeneratedRow.id)).where(GeneratedRow.state == SampleState.DRAWN)
    return opened.scalar(waiting.where(GeneratedRow.id > sample_id)) or opened.scalar(waiting)


@dataclass(frozen=True, slots=True)
class Choices:
    """What can be filtered by."""

    modes: Sequence[tuple[int, str]]
    cycles: Sequence[int]
    generators: Sequence[str]


def choices(opened: Session) -> Choices:
    """Modes, cycles and generators that have samples."""
    has = select(GeneratedRow.id).where(GeneratedRow.mode_id == ModeRow.id).exists()
    modes = select(ModeRow.id, ModeRow.name).where(has).order_by(ModeRow.id.desc()).limit(OFFERED)
    cycles = (
        select(GeneratedRow.cycle_id).distinct().order_by(GeneratedRow.cycle_id.desc())
    ).limit(OFFERED)
    generators = select(GeneratedRow.generator).distinct().order_by(GeneratedRow.generator)
    return Choices(
        [(row.id, row.name) for row in opened.execute(modes)],
        opened.scalars(cycles).all(),
        opened.scalars(generators).all(),
    )


def _shown(row: GeneratedRow, harm: HarmRow, mode: str) -> Shown:
    parts = drawn.parts_of(row, harm)
    badge = BADGES.get(SampleState(row.state), "plain")
    return Shown(row, harm, mode, drawn.made_of(row), parts, samples.allowed(row), badge)

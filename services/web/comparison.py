"""Two models beside each other: what each class and each failure mode gained or lost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.db.tables import Cycle, Model, ModeRow, ModeSighting, Role
from services.web.figures import AP50_TOLERANCE

MOST = 100
"""Rows of a table; where there are more, those that changed least are left out."""


@dataclass(frozen=True, slots=True)
class Side:
    """One row: a figure of two models.

    Attributes:
        name: of the class or the mode.
        before: of the one; None where it is not known.
        after: of the other.
        tolerance: smaller changes are none.
        where: address of its page; "" for none.
        size: failures of a mode; 0 for none.
    """

    name: str
    before: float | None
    after: float | None
    tolerance: float = 0.0
    where: str = ""
    size: int = 0

    @property
    def change(self) -> float | None:
        """What was gained; None where one of both is not known."""
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def verdict(self) -> str:
        """``good``, ``bad`` or ``plain``."""
        change = self.change or 0.0
        if abs(change) <= self.tolerance:
            return "plain"
        return "good" if change > 0 else "bad"


def by_class(before: Model, after: Model) -> list[Side]:
    """AP50 on the holdout of every class that both or one of them was measured on."""
    mine, other = (
        ((model.reports or {}).get(Role.HOLDOUT) or {}).get("per_class50") or {}
        for model in (before, after)
    )
    names = dict.fromkeys((*mine, *other))
    return _worst_first(
        Side(name, mine.get(name), other.get(name), AP50_TOLERANCE) for name in names
    )


def judged_against(session: Session, cycle: Cycle | None, model: Model) -> Model | None:
    """The model that a cycle's gate held this one against, None where it did not."""
    if cycle is None or cycle.challenger_id != model.id or not cycle.decision:
        return None
    return session.get(Model, str(cycle.decision.get("against") or cycle.champion_id))


def by_mode(session: Session, challenger: Model) -> list[Side]:
    """Share of each mode's failures that is found, as the gate of its cycle asked both models."""
    seen = ModeSighting
    rows = session.execute(
        select(ModeRow.id, ModeRow.name, seen.size, seen.found_before, seen.found_after)
        .join(seen, seen.mode_id == ModeRow.id)
        .where(seen.cycle_id == challenger.cycle_id, seen.found_after.is_not(None))
    )
    return _worst_first(
        Side(name, before, after, 0.0, f"/modes/{number}", size)
        for number, name, size, before, after in rows
    )


def _worst_first(rows: Iterable[Side]) -> list[Side]:
    changed = sorted(rows, key=lambda row: -abs(row.change or 0.0))[:MOST]
    return sorted(changed, key=lambda row: (row.change is None, row.change or 0.0, row.name))

"""Cycles and models as answers, each with what it has gone on without."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy.orm import Session

from services.api.schemas import CycleOut, ModelOut, UnreadableOut
from services.cycle import unreadable
from services.db.tables import Cycle, Model


def cycles_told(session: Session, rows: Iterable[Cycle]) -> list[CycleOut]:
    """Several cycles, in three queries however many they are."""
    cycles = list(rows)
    lost = unreadable.of_cycles(session, cycles)
    return [
        CycleOut.model_validate(cycle).model_copy(
            update={"unreadable": UnreadableOut.model_validate(lost[cycle.id])}
        )
        for cycle in cycles
    ]


def cycle_told(session: Session, cycle: Cycle) -> CycleOut:
    """One cycle."""
    (told,) = cycles_told(session, [cycle])
    return told


def model_told(model: Model) -> ModelOut:
    """A model of the registry."""
    lost = UnreadableOut.model_validate(unreadable.of_model(model))
    return ModelOut.model_validate(model).model_copy(update={"unreadable": lost})

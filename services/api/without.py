"""A cycle or a model as an answer, with what it has gone on without."""

from __future__ import annotations

from sqlalchemy.orm import Session

from services.api.schemas import CycleOut, ModelOut, UnreadableOut
from services.cycle import unreadable
from services.db.tables import Cycle, Model


def cycle_told(session: Session, cycle: Cycle) -> CycleOut:
    """One cycle; of a list this would go over all units of all cycles."""
    lost = UnreadableOut.model_validate(unreadable.of_cycle(session, cycle))
    return CycleOut.model_validate(cycle).model_copy(update={"unreadable": lost})


def model_told(model: Model) -> ModelOut:
    """A model of the registry."""
    lost = UnreadableOut.model_validate(unreadable.of_model(model))
    return ModelOut.model_validate(model).model_copy(update={"unreadable": lost})

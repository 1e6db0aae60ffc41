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


def model_told(model: Model, pinned_id: str | None = None) -> ModelOut:
    """A model of the registry.

    Args:
        model: its row.
        pinned_id: of the model that is pinned.
    """
    lost = UnreadableOut.model_validate(unreadable.of_model(model))
    told = {"unreadable": lost, "pinned": model.id == pinned_id}
    return ModelOut.model_validate(model).model_copy(update=told)

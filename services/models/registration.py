"""Trained models into the registry."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from services.db.tables import Model, ModelState
from services.models import registry
from services.models.training import Trained


def register(session: Session, trained: Trained, cycle_id: int | None) -> Model:
    """Put a trained model into the registry as a challenger; twice is once."""
    number = registry.next_number(session)
    known = session.get(Model, trained.model_id)
    if known is not None:
        return known
    model = Model(
        id=trained.model_id,
        number=number,
        state=ModelState.CHALLENGER,
        folder=trained.folder,
        architecture=trained.training["architecture"],
        class_names=list(trained.class_names),
        dataset_version_id=trained.dataset_id,
        parent_id=trained.parent_id,
        cycle_id=cycle_id,
        training=trained.training,
    )
    session.add(model)
    session.flush()
    return model


def result_of(model: Model, trained: Trained) -> dict[str, Any]:
    """What the unit of a training says, whoever ran it."""
    lost = len(trained.training["unreadable"])
    return {"model": model.id, "number": model.number, "unreadable": lost}


def register_first(session: Session, trained: Trained) -> Model:
    """Register the first detector and make it the champion: there is none to compare with."""
    model = register(session, trained, None)
    if registry.champion(session) is None:
        registry.promote(session, model, "training", {"first": True})
    return model

"""Trained models into the registry."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from services.db.tables import Model, ModelState, Role
from services.models import mirrored, pins, registry
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
        reports=trained.reports,
    )
    session.add(model)
    session.flush()
    mirrored.want(session, model.id)
    return model


def result_of(model: Model, trained: Trained) -> dict[str, Any]:
    """What the unit of a training says, whoever ran it."""
    lost = len(trained.training["unreadable"])
    return {"model": model.id, "number": model.number, "unreadable": lost}


def register_first(session: Session, trained: Trained) -> Model:
    """Register a detector that was trained from the beginning; the first becomes the champion.

    One beside a champion takes its place if it knows the same classes and finds more of the
    holdout, and nobody has pinned the champion; what people were told of the champion goes for it
    too then.
    """
    model = register(session, trained, None)
    champion = registry.champion(session)
    if champion is None:
        registry.promote(session, model, "training", {"first": True})
        return model
    is_pinned = pins.pinned_id(session) == champion.id
    if champion.id != model.id and not is_pinned and _finds_more(model, champion):
        registry.promote(session, model, "training", {"again": True}, over=champion.id)
    return model


def _finds_more(model: Model, champion: Model) -> bool:
    mine, its = ((one.reports or {}).get(Role.HOLDOUT) or {} for one in (model, champion))
    if not (mine.get("objects") and its.get("objects")):
        return False
    knows = set(champion.class_names) <= set(model.class_names)
    return knows and mine["found"] / mine["objects"] > its["found"] / its["objects"]

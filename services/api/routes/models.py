"""The model registry."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy.orm import Session

from services.api.deps import ContextOf, SessionOf, ViewOf
from services.api.schemas import ModelOut, Page
from services.api.strict import StrictRoute
from services.api.without import model_told
from services.context import Context
from services.db import actors
from services.db.tables import Model
from services.models import holding, pins, registry
from services.modes import recognise

router = APIRouter(tags=["models"], route_class=StrictRoute)


@router.get("/models", response_model=Page[ModelOut])
def list_models(session: ViewOf) -> Page[ModelOut]:
    """All models, the newest first."""
    pinned_id = pins.pinned_id(session)
    return Page(items=[model_told(row, pinned_id) for row in registry.models(session)])


@router.get("/models/{name}", response_model=ModelOut)
def show_model(name: str, session: ViewOf, context: ContextOf) -> ModelOut:
    """A model by number or id, and what it cannot do."""
    return _whole(session, context, registry.find(session, name))


@router.post("/models/{name}/explain", response_model=ModelOut)
def explain_anyway(name: str, session: SessionOf, context: ContextOf) -> ModelOut:
    """Have its failures explained, though it finds less of the holdout than is set."""
    model = registry.find(session, name)
    holding.release(session, context.settings, model)
    return _whole(session, context, model)


def _whole(session: Session, context: Context, model: Model) -> ModelOut:
    told = {
        "limits": holding.limits(context.settings, model),
        "held": holding.why_held(session, context.settings, model),
    }
    return model_told(model, pins.pinned_id(session)).model_copy(update=told)


@router.post("/models/{name}/promote", response_model=ModelOut)
def promote_model(name: str, session: SessionOf) -> ModelOut:
    """Make a model the champion, whatever the gate said; the audit trail keeps who did it."""
    model = registry.find(session, name)
    registry.promote(session, model, actors.current().name, {"by": "person"})
    return model_told(model)


@router.post("/models/rollback", response_model=ModelOut)
def rollback_model(session: SessionOf, context: ContextOf) -> ModelOut:
    """Bring back the champion before this one."""
    model = registry.rollback(session, actors.current().name)
    recognise.settle(session, context.settings)
    return model_told(model)


@router.post("/models/{name}/pin", response_model=ModelOut)
def pin_model(name: str, session: SessionOf, context: ContextOf) -> ModelOut:
    """Pin the champion: until it is unpinned nothing takes its place, whatever the gate says."""
    model = registry.find(session, name)
    pins.pin(session, model)
    return _whole(session, context, model)


@router.post("/models/{name}/unpin", response_model=ModelOut)
def unpin_model(name: str, session: SessionOf, context: ContextOf) -> ModelOut:
    """Let challengers take the place of a model again."""
    model = registry.find(session, name)
    pins.unpin(session, model)
    return _whole(session, context, model)

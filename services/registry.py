"""The model registry: one champion, swapped in one transaction and swapped back as easily."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from services.db import units
from services.db.tables import (
    Audit,
    FailureRow,
    FailureState,
    Image,
    Model,
    ModelState,
    Pointer,
    Role,
)
from services.errors import Conflict, NotFound
from services.stages.requests import CHAMPION

logger = logging.getLogger(__name__)


def champion(session: Session) -> Model | None:
    """The model in use, None before the first."""
    pointer = session.get(Pointer, CHAMPION)
    return None if pointer is None else session.get(Model, pointer.target)


def require_champion(session: Session) -> Model:
    """The model in use.

    Raises:
        Conflict: there is none yet; ``e2x train`` makes one.
    """
    model = champion(session)
    if model is None:
        raise Conflict("there is no champion yet: import a seed set and run `e2x train`")
    return model


def models(session: Session) -> list[Model]:
    """All models, the newest first."""
    return list(session.scalars(select(Model).order_by(Model.number.desc())))


def find(session: Session, name: str) -> Model:
    """A model by number (``3``), by full id or by the beginning of its id.

    Raises:
        NotFound: none, or several, match.
    """
    if name.isdecimal() and len(name) < 8:
        found = list(session.scalars(select(Model).where(Model.number == int(name))))
    else:
        found = list(session.scalars(select(Model).where(Model.id.startswith(name))))
    if len(found) != 1:
        raise NotFound(f"{len(found)} models match {name!r}: see `e2x models list`")
    return found[0]


def next_number(session: Session) -> int:
    """The number of the next model."""
    return (session.scalar(select(func.max(Model.number))) or 0) + 1


def promote(
    session: Session,
    model: Model,
    actor: str,
    reason: dict[str, Any],
    cycle_id: int | None = None,
) -> None:
    """Make a model the champion and look at every field image again with it.

    Pointer, states, audit row and the new scans are one transaction, the caller's.

    Raises:
        Conflict: it is the champion already.
    """
    pointer = session.get(Pointer, CHAMPION, with_for_update=True)
    previous = None if pointer is None else pointer.target
    if previous == model.id:
        raise Conflict(f"model {model.number} is the champion already")
    _point_at(session, pointer, model.id)
    if previous is not None:
        session.get_one(Model, previous).state = ModelState.RETIRED
    model.state = ModelState.CHAMPION
    session.add(
        Audit(
            actor=actor,
            action="promote",
            subject=f"model:{model.id}",
            detail={"previous": previous, "reason": reason, "cycle": cycle_id},
        )
    )
    session.flush()
    scan_field(session, model.id, cycle_id)
    logger.info("promoted model %d", model.number)


def rollback(session: Session, actor: str) -> Model:
    """Bring back the champion before this one; the reverse of the latest promotion.

    Raises:
        Conflict: there was none.
    """
    pointer = session.get(Pointer, CHAMPION, with_for_update=True)
    if pointer is None:
        raise Conflict("there is no champion to roll back")
    previous = _previous_of(session, pointer.target)
    current = session.get_one(Model, pointer.target)
    current.state = ModelState.RETIRED
    _point_at(session, pointer, previous.id)
    previous.state = ModelState.CHAMPION
    session.add(
        Audit(
            actor=actor,
            action="rollback",
            subject=f"model:{previous.id}",
            detail={"previous": current.id},
        )
    )
    session.execute(
        update(FailureRow)
        .where(FailureRow.fixed_by == current.id)
        .values(state=FailureState.EXPLAINED, fixed_by=None)
    )
    scan_field(session, previous.id, None)  # frames that came in since
    return previous


def scan_field(session: Session, model_id: str, cycle_id: int | None) -> int:
    """Ask for a scan of every field image by this model; the number of images."""
    images = list(session.scalars(select(Image.id).where(Image.role == Role.FIELD)))
    for image_id in images:
        units.enqueue(
            session,
            "scan",
            f"scan:{image_id}:{model_id}",
            {"image": image_id, "model": model_id},
            cycle_id=cycle_id,
        )
    return len(images)


def _point_at(session: Session, pointer: Pointer | None, model_id: str) -> None:
    if pointer is None:
        session.add(Pointer(name=CHAMPION, target=model_id))
    else:
        pointer.target, pointer.version = model_id, pointer.version + 1


def _previous_of(session: Session, model_id: str) -> Model:
    latest = session.scalar(
        select(Audit)
        .where(Audit.action == "promote", Audit.subject == f"model:{model_id}")
        .order_by(Audit.id.desc())
        .limit(1)
    )
    before = None if latest is None else latest.detail.get("previous")
    if before is None:
        raise Conflict("no champion came before this one: nothing to roll back to")
    return session.get_one(Model, str(before))

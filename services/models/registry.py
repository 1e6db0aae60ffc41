"""The model registry: one champion, swapped in one transaction and swapped back as easily."""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.orm import Session

from services import units
from services.db.races import hold_name
from services.db.tables import (
    Audit,
    Cycle,
    CycleState,
    Explanation,
    FailureRow,
    FailureState,
    Image,
    Model,
    ModelState,
    Pointer,
    Role,
    Unit,
    UnitState,
)
from services.errors import ChampionChanged, Conflict, NotFound
from services.models import mirrored, pins
from services.units.requests import CHAMPION, ask_scans

logger = logging.getLogger(__name__)

NUMBERS = "model numbers"
"""Held by name while a model is given the next."""


def champion(session: Session) -> Model | None:
    """The model in use, None before the first."""
    pointer = session.get(Pointer, CHAMPION)
    return None if pointer is None else session.get(Model, pointer.target)


def require_champion(session: Session, *, hold: bool = False) -> Model:
    """The model in use.

    Args:
        session: the caller's transaction.
        hold: until that ends nobody else swaps the champion or begins a cycle.

    Raises:
        Conflict: there is none yet; ``e2x train`` or ``e2x models add`` makes one.
    """
    if hold:
        _hold_pointer(session)
    model = champion(session)
    if model is None:
        raise Conflict(
            "there is no champion yet: import a seed set and run `e2x train`, or add the "
            "detector that you have with `e2x models add`"
        )
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
        begins = Model.id.startswith(name, autoescape=True)  # % and _ would match anything
        found = list(session.scalars(select(Model).where(begins)))
    if len(found) != 1:
        raise NotFound(f"{len(found)} models match {name!r}: see `e2x models list`")
    return found[0]


def next_number(session: Session) -> int:
    """The number of the next model; nobody else takes one until the transaction ends."""
    hold_name(session, NUMBERS)
    return (session.scalar(select(func.max(Model.number))) or 0) + 1


def promote(
    session: Session,
    model: Model,
    actor: str,
    reason: dict[str, Any],
    cycle_id: int | None = None,
    *,
    over: str | None = None,
) -> None:
    """Make a model the champion and look at every field image again with it.

    Pointer, states, audit row and the new scans are one transaction, the caller's.

    Args:
        session: the caller's transaction.
        model: the new champion.
        actor: who promotes it, for the audit trail.
        reason: why, for the audit trail.
        cycle_id: the cycle that waits for the scans.
        over: id of the champion that it was compared with; None: whichever there is.

    Raises:
        Conflict: it is the champion already, or the one that is champion is pinned.
        ChampionChanged: the champion is not the one that it was compared with.
    """
    pointer = _hold_pointer(session)
    previous = None if pointer is None else pointer.target
    if previous == model.id:
        raise Conflict(f"model {model.number} is the champion already")
    if over is not None and previous != over:
        raise ChampionChanged(
            f"model {model.number} was compared with a model that is not the champion any more"
        )
    pins.refuse_swap(session)
    pointer = _point_at(session, pointer, model.id)
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
    mirrored.want(session, model.id, previous)
    _scan_anew(session, pointer, cycle_id)
    logger.info("promoted model %d", model.number)


def rollback(session: Session, actor: str) -> Model:
    """Bring back the champion before this one, and look at every field image again with it.

    The reverse of the latest promotion.

    Raises:
        Conflict: there was none, or this one is pinned.
    """
    pointer = _hold_pointer(session)
    if pointer is None:
        raise Conflict("there is no champion to roll back")
    pins.refuse_swap(session)
    previous = champion_before(session, pointer.target)
    if previous is None:
        raise Conflict("no champion came before this one: nothing to roll back to")
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
    mirrored.want(session, previous.id, current.id)
    session.execute(
        update(FailureRow)
        .where(FailureRow.fixed_by == current.id)
        .values(
            state=case((has_explanation(), FailureState.EXPLAINED), else_=FailureState.FOUND),
            fixed_by=None,
        )
    )
    _scan_anew(session, pointer, None)  # frames that came in since, and what it gets right again
    return previous


def has_explanation() -> ColumnElement[bool]:
    """Whether a failure was ever explained: some are fixed before that, and open again."""
    return select(Explanation.id).where(Explanation.failure_id == FailureRow.id).exists()


def _scan_anew(session: Session, pointer: Pointer, cycle_id: int | None) -> None:
    """Ask for a look at the whole field, in place of the looks that the last swap asked for.

    Of those that no worker has begun none is wanted any more, but by a cycle that gathers the
    failures of the model that they are about. A cycle that waits for them to end waits for the new.
    """
    session.flush()
    gathering = select(Cycle.champion_id).where(
        Cycle.state == CycleState.EXPLAINING, Cycle.champion_id.is_not(None)
    )
    stale = (
        Unit.kind == "scan",
        Unit.state == UnitState.QUEUED,
        Unit.payload["model"].as_string().not_in(gathering),
    )
    verifying = select(Cycle.id).where(Cycle.state == CycleState.VERIFYING).limit(1)
    units.cancel_all(session, *stale)
    scan_field(session, pointer, session.scalar(verifying) if cycle_id is None else cycle_id)


def scan_field(session: Session, pointer: Pointer, cycle_id: int | None) -> int:
    """Ask for a scan of every field image by the champion; the number of images."""
    images = list(session.scalars(select(Image.id).where(Image.role == Role.FIELD)))
    ask_scans(session, images, pointer, cycle_id)
    return len(images)


def _hold_pointer(session: Session) -> Pointer | None:
    """The champion's pointer as it is now, locked until the caller's transaction ends."""
    session.flush()  # what is read anew would overwrite it
    found = _locked_pointer(session)
    if found is None:  # before the first champion there is no row to lock
        hold_name(session, CHAMPION)
        found = _locked_pointer(session)
    return found


def _locked_pointer(session: Session) -> Pointer | None:
    # Locked: of two promotions at once the second must see the first one's model as the previous.
    return session.get(Pointer, CHAMPION, with_for_update=True, populate_existing=True)


def _point_at(session: Session, pointer: Pointer | None, model_id: str) -> Pointer:
    if pointer is None:
        pointer = Pointer(name=CHAMPION, target=model_id)
        session.add(pointer)
    else:
        pointer.target, pointer.version = model_id, pointer.version + 1
    session.flush()  # gives a new one its version
    return pointer


def champion_before(session: Session, model_id: str) -> Model | None:
    """The champion that this model took the place of when it was promoted last, if there was one.

    Args:
        session: to read in.
        model_id: a model that is or was champion.
    """
    latest = session.scalar(
        select(Audit)
        .where(Audit.action == "promote", Audit.subject == f"model:{model_id}")
        .order_by(Audit.id.desc())
        .limit(1)
    )
    before = None if latest is None else latest.detail.get("previous")
    return None if before is None else session.get_one(Model, str(before))

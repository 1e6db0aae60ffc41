"""The pin: while the champion has it, nothing takes its place, neither gate, training nor person.

What a person decides so is kept as a pointer beside the champion's, and is taken back as easily.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from services.accounts import audit
from services.db.tables import Model, Pointer
from services.errors import Conflict
from services.units.requests import CHAMPION

PINNED = "pinned"
"""Pointer: to the champion that stays."""


def pinned_id(session: Session) -> str | None:
    """The model that is pinned, None where none is."""
    pointer = session.get(Pointer, PINNED)
    return None if pointer is None else pointer.target


def pin(session: Session, model: Model) -> None:
    """Let nothing take the place of the champion; twice is once.

    Raises:
        Conflict: it is not the champion.
    """
    if _champion_held(session) != model.id:
        raise Conflict(f"model {model.number} is not the champion: promote it first, then pin it")
    if session.get(Pointer, PINNED, populate_existing=True) is not None:
        return
    session.add(Pointer(name=PINNED, target=model.id))
    audit.record(session, "model.pin", f"model:{model.id}", number=model.number)
    session.flush()


def unpin(session: Session, model: Model) -> None:
    """Let challengers take the place of a model again; twice is once."""
    _champion_held(session)
    pointer = session.get(Pointer, PINNED, populate_existing=True)
    if pointer is None or pointer.target != model.id:
        return
    session.delete(pointer)
    audit.record(session, "model.unpin", f"model:{model.id}", number=model.number)
    session.flush()


def refuse_swap(session: Session) -> None:
    """Refuse to swap a champion that is pinned; the caller holds the champion's pointer.

    Raises:
        Conflict: it is; says what to do.
    """
    pointer = session.get(Pointer, PINNED, populate_existing=True)
    if pointer is not None:
        number = session.get_one(Model, pointer.target).number
        raise Conflict(f"model {number} is pinned as the champion: `e2x models unpin` first")


def _champion_held(session: Session) -> str | None:
    """Id of the champion; nobody swaps it, or pins or unpins one, until the transaction ends."""
    session.flush()
    pointer = session.get(Pointer, CHAMPION, with_for_update=True, populate_existing=True)
    return None if pointer is None else pointer.target

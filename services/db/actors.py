"""Who changes something, and through which door; rows of the audit trail take it from here.

A variable of the context and no argument: what a person asks for passes through a dozen functions
that need not know, and the trail must name whoever stands at the door. Each request, command and
unit has a context of its own; handlers in threads are given a copy of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum


class Door(StrEnum):
    """Through which door somebody came."""

    CLI = "cli"
    API = "api"
    WEB = "web"
    TOOL = "tool"
    """A labelling tool that is connected, in which a person did it."""
    SERVICE = "service"
    """None: the loop did it by itself."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever changes something.

    Attributes:
        name: of the user, of the operating system's user, or of the token.
        door: through which they came.
        user_id: the account; None for those without one.
    """

    name: str
    door: Door
    user_id: int | None = None

    @property
    def is_person(self) -> bool:
        """Whether somebody asked for it, by hand or by a script."""
        return self.door is not Door.SERVICE


SERVICE = Actor("service", Door.SERVICE)
_actor: ContextVar[Actor] = ContextVar("e2x_actor", default=SERVICE)


def current() -> Actor:
    """Whoever acts now; the service itself where nobody has come."""
    return _actor.get()


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Act as somebody for the length of a block."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)

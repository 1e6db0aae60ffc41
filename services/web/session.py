"""Who looks at a page, and what that person may do.

The one place where the pages meet whatever knows people.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from services.errors import ServiceError

RANKS = ("viewer", "labeller", "curator", "admin")
"""Each may do what those before it may."""
NEEDED = {"look": "viewer", "label": "labeller", "curate": "curator", "administer": "admin"}
COOKIE = "e2x_session"


class LoginNeeded(ServiceError):
    """Nobody is signed in."""

    code = "not_allowed"
    status = 401


class Forbidden(ServiceError):
    """Signed in, but without the role that this needs."""

    code = "forbidden"
    status = 403


@dataclass(frozen=True, slots=True)
class User:
    """Who is signed in.

    Attributes:
        name: as the audit trail and answers name it.
        role: one of :data:`RANKS`.
        csrf: what every form and every changing request of this session brings.
    """

    name: str
    role: str
    csrf: str = field(repr=False)

    def may(self, what: str) -> bool:
        """Whether the role is enough for one of the kinds of :data:`NEEDED`."""
        return RANKS.index(self.role) >= RANKS.index(NEEDED[what])


class Sessions:
    """Who is signed in, in the memory of one process."""

    def __init__(self) -> None:
        self._users: dict[str, User] = {}

    def begin(self, name: str, role: str) -> str:
        """Sign somebody in; what the cookie holds."""
        key = secrets.token_urlsafe(32)
        self._users[key] = User(name, role, secrets.token_urlsafe(32))
        return key

    def find(self, key: str | None) -> User | None:
        """Who that is."""
        return None if key is None else self._users.get(key)

    def end(self, key: str | None) -> None:
        """Sign out."""
        if key is not None:
            self._users.pop(key, None)


def current_user(request: Request) -> User | None:
    """Who has sent a request, None where nobody is signed in."""
    sessions: Sessions = request.app.state.people
    return sessions.find(request.cookies.get(COOKIE))


def signed_in(request: Request) -> User:
    """Who has sent a request.

    Raises:
        LoginNeeded: nobody is signed in.
    """
    user = current_user(request)
    if user is None:
        raise LoginNeeded("sign in first")
    return user


UserOf: TypeAlias = Annotated[User, Depends(signed_in)]


def require(user: User, what: str) -> None:
    """Refuse whoever has not the role for something.

    Raises:
        Forbidden: the message names the role.
    """
    if not user.may(what):
        raise Forbidden(f"this needs the role {NEEDED[what]}; {user.name} is {user.role}")


def require_form(user: User, csrf: str) -> None:
    """Refuse a form that another site has sent in the person's name.

    Raises:
        Forbidden: it lacks the session's token.
    """
    if not secrets.compare_digest(csrf.encode(), user.csrf.encode()):
        raise Forbidden("this form is of another session: load the page again and repeat it")

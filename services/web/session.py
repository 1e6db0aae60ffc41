"""Who looks at a page, and what that person may do.

The one place where the pages meet accounts. Whether somebody may have a page at all is asked
before it, by the table of :mod:`services.web.roles`; here is what the page shows of that.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeAlias

from fastapi import Depends, Form, Request, Response

from services.accounts.identity import WHO, Identity
from services.db.tables import UserRole
from services.errors import Forbidden, NotAllowed
from services.web import paths

NEEDED = {
    "look": UserRole.VIEWER,
    "label": UserRole.LABELLER,
    "curate": UserRole.CURATOR,
    "administer": UserRole.ADMIN,
}
MAX_CSRF = 200


@dataclass(frozen=True, slots=True)
class Cookies:
    """How a browser is given its session.

    Attributes:
        name: of the cookie.
        give: sets it in an answer, to a session's id.
        take: takes it back.
        address_of: where a request comes from, as lockouts count it.
        places: to look at passwords in.
    """

    name: str
    give: Callable[[Response, str], None]
    take: Callable[[Response], None]
    address_of: Callable[[Request], str]
    places: asyncio.Semaphore


@dataclass(frozen=True, slots=True)
class User:
    """Who is signed in, for the templates."""

    who: Identity

    @property
    def name(self) -> str:
        """As the audit trail and answers name them."""
        return self.who.name

    @property
    def role(self) -> str:
        """In a word."""
        return self.who.role.value

    @property
    def csrf(self) -> str:
        """What every form and every changing request of this session brings."""
        return self.who.csrf

    def may(self, what: str) -> bool:
        """Whether the role is enough for one of the kinds of :data:`NEEDED`."""
        return self.who.role.may(NEEDED[what])


def current_user(request: Request) -> User | None:
    """Who has sent a request, None where nobody is signed in."""
    who: Identity | None = getattr(request.state, WHO, None)
    return None if who is None else User(who)


def signed_in(request: Request) -> User:
    """Who has sent a request.

    Raises:
        NotAllowed: nobody is signed in.
    """
    user = current_user(request)
    if user is None:
        raise NotAllowed("sign in first")
    return user


UserOf: TypeAlias = Annotated[User, Depends(signed_in)]


def of_our_form(user: UserOf, csrf: Annotated[str, Form(max_length=MAX_CSRF)] = "") -> User:
    """Who has sent a form of a page.

    Raises:
        Forbidden: it lacks the session's token: another site may have sent it.
    """
    right = secrets.compare_digest(csrf.encode(), user.csrf.encode())
    if user.who.via == "session" and not right:
        raise Forbidden("this form is of another session: load the page again and repeat it")
    return user


def local(address: str, otherwise: str) -> str:
    """An address that a form came with, if it is one of ours."""
    return address if paths.is_local(address) else otherwise


SenderOf: TypeAlias = Annotated[User, Depends(of_our_form)]
"""Of every route of a page that changes something."""

"""Who asks: whom a cookie, a token or the project's token stands for, and what they may."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.accounts import secrets
from services.config.settings import Settings
from services.db.actors import Actor, Door
from services.db.base import utc_now
from services.db.engine import Sessions, reading
from services.db.tables import ApiToken, LoginSession, User, UserRole

TOUCH_S = 60.0
"""When something was used last is written no more often: else every look would be a write."""
PROJECT_TOKEN = "project token"
WHO = "e2x_who"
"""Key of a request's state: the :class:`Identity` of whoever has sent it, if that is known."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody who is known.

    Attributes:
        name: of the user; of the project's token what it is.
        role: what this request may do: of a token no more than its owner may now.
        via: how they are known.
        user_id: the account; None for the project's token.
        key: of the session or token in the database.
        csrf: what a change by cookie must bring along; empty for tokens.
        seen_at: when the session or token was used last.
    """

    name: str
    role: UserRole
    via: Literal["session", "token", "project"]
    user_id: int | None = None
    key: str = ""
    csrf: str = ""
    seen_at: datetime | None = None

    @property
    def actor(self) -> Actor:
        """For the audit trail."""
        door = Door.WEB if self.via == "session" else Door.API
        return Actor(self.name, door, self.user_id)


def of_project() -> Identity:
    """Whoever has the project's token."""
    return Identity(PROJECT_TOKEN, UserRole.ADMIN, "project")


def of_scraper() -> Identity:
    """Whoever has the token that reads metrics, at the one address where it is asked for."""
    return Identity("scrape token", UserRole.VIEWER, "project")


def of_token(session: Session, token: str) -> Identity | None:
    """The owner of a personal token; None where it is none, has ended, or its owner is disabled."""
    if not secrets.is_token(token):
        return None
    found = session.execute(
        select(ApiToken, User)
        .join(User, User.id == ApiToken.user_id)
        .where(
            ApiToken.key == secrets.stored(token),
            ApiToken.revoked_at.is_(None),
            ApiToken.expires_at > utc_now(),
            User.disabled.is_(False),
        )
    ).first()
    if found is None:
        return None
    row, user = found
    role = min(UserRole(row.role), UserRole(user.role), key=lambda one: one.rank)
    return Identity(user.name, role, "token", user.id, row.key, seen_at=row.last_used_at)


def of_session(session: Session, settings: Settings, session_id: str) -> Identity | None:
    """Who is logged in under a session's id; None where it has ended."""
    now = utc_now()
    idle = timedelta(seconds=settings.accounts.session_idle_s)
    found = session.execute(
        select(LoginSession, User)
        .join(User, User.id == LoginSession.user_id)
        .where(
            LoginSession.key == secrets.stored(session_id),
            LoginSession.expires_at > now,
            LoginSession.seen_at > now - idle,
            User.disabled.is_(False),
        )
    ).first()
    if found is None:
        return None
    row, user = found
    csrf = csrf_of(session_id)
    role = UserRole(user.role)
    return Identity(user.name, role, "session", user.id, row.key, csrf, row.seen_at)


def csrf_of(session_id: str) -> str:
    """What a change by this session's cookie must bring along; another site cannot read it."""
    return secrets.derived(session_id, "csrf")


def look(
    sessions: Sessions, settings: Settings, *, token: str = "", session_id: str = ""
) -> Identity | None:
    """Whom a token stands for, or else a session."""
    with reading(sessions) as session:
        if token:
            return of_token(session, token)
        return of_session(session, settings, session_id)


def is_stale(identity: Identity) -> bool:
    """Whether it is time to write down that it was used."""
    if identity.via == "project":
        return False
    seen = identity.seen_at
    return seen is None or abs((utc_now() - seen).total_seconds()) >= TOUCH_S


def touch(sessions: Sessions, identity: Identity) -> None:
    """Write down that a session or token was used now."""
    with sessions.begin() as session:
        if identity.via == "session":
            session.execute(
                update(LoginSession)
                .where(LoginSession.key == identity.key)
                .values(seen_at=utc_now())
            )
        else:
            session.execute(
                update(ApiToken).where(ApiToken.key == identity.key).values(last_used_at=utc_now())
            )
